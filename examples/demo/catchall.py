"""A mail server on the loopback interface that stores all accepted mail, and a page that shows it.

`python -m demo.catchall --folder .demo --smtp-port 2525 --inbox-port 8025` runs both in one process until TERM.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import logging
import ssl
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from signal import SIGTERM, signal
from threading import Thread
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from werkzeug.serving import make_server

from demo.authority import CertificateFiles, ensure_certificates
from demo.inbox import create_inbox
from demo.recipients import Greylist, RecipientPolicy
from demo.store import Store

LOOPBACK = "127.0.0.1"
USERNAME = "demo"
PASSWORD = "correct horse battery staple"
"""Not a secret: it protects only a mail server that this machine alone can reach."""
GREYLIST_DELAY = 2.0
"""In seconds; real servers use minutes."""


class Handler:
    """Handles RCPT and the end of a message. aiosmtpd calls these methods by name."""

    def __init__(self, store: Store, recipients: RecipientPolicy) -> None:
        self._store = store
        self._recipients = recipients

    async def handle_RCPT(  # noqa: N802 - the name is aiosmtpd's
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Sequence[str]
    ) -> str:
        """Accept or refuse one recipient."""
        if refusal := self._recipients.refusal(envelope.mail_from or "", address):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(  # noqa: N802 - the name is aiosmtpd's
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Store the message; reply 250 only once it is on disk (RFC 5321 section 4.2.5)."""
        number = self._store.add(envelope.mail_from or "", envelope.rcpt_tos, envelope.original_content or b"")
        return f"250 2.0.0 Ok: kept as message {number}"


def authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
    """Accept the demo's account only; aiosmtpd answers any other with 535."""
    if not isinstance(data, LoginPassword):
        return AuthResult(success=False, handled=False)
    given = b"%b\0%b" % (data.login or b"", data.password or b"")
    return AuthResult(success=hmac.compare_digest(given, f"{USERNAME}\0{PASSWORD}".encode()), handled=False)


class MailServer:
    """The mail server in a thread of its own. A context manager."""

    def __init__(self, handler: Handler, certificates: CertificateFiles, port: int = 0) -> None:
        """With `port` 0 the system chooses a free one."""
        self._handler = handler
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificates.certificate, certificates.key)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="mail server", daemon=True)
        self._conversations: WeakSet[SMTP] = WeakSet()
        self._wanted_port = port
        self.port = 0
        """The port, once entered."""

    def __enter__(self) -> Self:
        listening = self._loop.create_server(self._protocol, LOOPBACK, self._wanted_port)
        self._server = self._loop.run_until_complete(listening)
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        for transport in [conversation.transport for conversation in self._conversations]:
            if transport is not None:
                transport.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _protocol(self) -> SMTP:
        conversation = SMTP(
            self._handler,
            loop=self._loop,
            hostname="localhost",
            ident="catch-all",
            tls_context=self._context,
            require_starttls=True,
            auth_required=True,
            authenticator=authenticate,
            enable_SMTPUTF8=True,
        )
        self._conversations.add(conversation)
        return conversation


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until TERM."""
    options = _options(arguments)
    # aiosmtpd uses an API that it has deprecated, and warns at every sign-in.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    store = Store(options.folder / "inbox.sqlite3")
    handler = Handler(store, RecipientPolicy(Greylist(GREYLIST_DELAY, time.monotonic)))
    inbox = make_server(LOOPBACK, options.inbox_port, create_inbox(store), threaded=True)
    signal(SIGTERM, lambda _number, _frame: sys.exit(0))
    with MailServer(handler, ensure_certificates(options.folder / "certificates"), options.smtp_port) as server:
        print(f"Mail server on {LOOPBACK}:{server.port}, inbox on http://{LOOPBACK}:{inbox.port}/", flush=True)
        inbox.serve_forever()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.catchall", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where messages and certificates are kept")
    parser.add_argument("--smtp-port", type=int, default=0, help="0 means any free port")
    parser.add_argument("--inbox-port", type=int, default=0, help="0 means any free port")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
