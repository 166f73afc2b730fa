"""The server's side of one SMTP session: a well-behaved server, with points where the script intervenes."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tests.scripted import auth
from tests.scripted.acts import KEEP, PASS, Moment, Trickle, crlf, multiline
from tests.scripted.judge import judge_command, judge_message, judge_parameters
from tests.scripted.values import AuthAttempt, Transaction
from tests.scripted.wire import Gone, Record, Wire

if TYPE_CHECKING:
    from tests.scripted.server import ScriptedServer

PATH = re.compile(r"^(?:FROM|TO):\s*<([^>]*)>\s*(.*)$", re.IGNORECASE | re.DOTALL)


class Conversation:
    """One connection, from its banner to its end."""

    def __init__(self, server: ScriptedServer, wire: Wire, number: int) -> None:
        self.server = server
        self.wire = wire
        self.number = number
        self.commands: list[str] = []
        """Every command line, without its line end."""
        self.ended: str | None = None
        """Why the connection is over; `None` while it is not."""
        self.turn = 0
        self.user: str | None = None
        self.transaction: Transaction | None = None

    @property
    def record(self) -> Record:
        return self.wire.record

    @property
    def is_encrypted(self) -> bool:
        return isinstance(self.wire.sock, ssl.SSLSocket)

    def run(self) -> None:
        """Serve until the connection is over."""
        try:
            self._begin()
            while True:
                self._serve(self.wire.read_line())
        except (Gone, OSError) as error:
            self.ended = f"{type(error).__name__}: {error}"
        finally:
            self.wire.release()
            self.server.notify()

    def interject(self, behaviour: object) -> None:
        """From a test: do this as soon as the connection waits for the client, for example send an unexpected 421."""
        self.wire.interject(lambda: self._interjected(behaviour))

    def _interjected(self, behaviour: object) -> None:
        self._perform(behaviour, self._moment("interjection", ""), "", None)
        self.wire.flush()

    # The script

    def _do(self, phase: str, default: object, then: Callable[[], None] | None = None, *, line: str = "") -> str:
        """Do what the script says at this phase, and return the last whole reply given.

        `then` is what a positive reply leads to; it happens before the reply is sent, so that whoever reads the reply
        finds the deed done.
        """
        moment = self._moment(phase, line)
        return self._perform(self.server.behaviour(moment), moment, default, then)

    def _perform(self, behaviour: object, moment: Moment, default: object, then: Callable[[], None] | None) -> str:
        verdict = ""
        for scripted in _flat(behaviour, moment):
            step = default if scripted is PASS else scripted
            said = step.text if isinstance(step, Trickle) else step
            is_positive = isinstance(said, str) and said[:1] in {"2", "3"}
            if then and (is_positive or step is KEEP):
                then()
            verdict = said if isinstance(said, str) else verdict
            self._say(step)
        return verdict

    def _say(self, step: object) -> None:
        if isinstance(step, str):
            self.wire.queue(crlf(step) if step else b"")
        elif isinstance(step, bytes):
            self.wire.send(step)
        elif step is not KEEP:
            step.perform(self.wire)  # type: ignore[attr-defined]  # an Act: `Behaviour` allows nothing else here

    def _moment(self, phase: str, line: str) -> Moment:
        asked = self.transaction.asked if self.transaction else []
        return Moment(
            phase=phase,
            connection=self.number,
            message=self.server.messages,
            turn=self.turn,
            recipients=tuple(asked[-1:] if phase == "rcpt" else asked),
            line=line,
            arrived=self.wire.arrived,
        )

    # Commands

    def _begin(self) -> None:
        self._do("connect", KEEP)
        if self.server.implicit_tls:
            self._tls()
        self._do("banner", f"220 {self.server.name} ESMTP scripted")

    def _serve(self, raw: bytes) -> None:
        line = raw.decode("utf-8", "surrogateescape").rstrip("\r\n")
        verb, _, rest = line.partition(" ")
        self.commands.append(line)
        is_utf8 = self.transaction is not None and self.transaction.is_utf8
        behind = b"" if verb.upper() == "BDAT" else bytes(self.wire.buffer)
        self._complain(judge_command(raw, verb.upper(), behind=behind, offered=self._offered(), is_utf8=is_utf8))
        handler = getattr(self, f"_on_{verb.lower()}", None)
        if handler is None:
            self._do("other", "500 5.5.2 what is that?", line=line)
        else:
            handler(rest.strip(), line)

    def _offered(self) -> set[str]:
        offers = self.server.offers(encrypted=self.is_encrypted)
        return {item.split()[0].upper() for item in offers}

    def _complain(self, complaints: Iterable[str]) -> None:
        self.server.violations.extend(complaints)

    def _on_ehlo(self, _rest: str, line: str) -> None:
        self.transaction = None
        offers = self.server.offers(encrypted=self.is_encrypted)
        self._do("ehlo", multiline(250, self.server.name, *offers), line=line)

    def _on_helo(self, _rest: str, line: str) -> None:
        self.transaction = None
        self._do("helo", f"250 {self.server.name}", line=line)

    def _on_starttls(self, _rest: str, line: str) -> None:
        default = "220 2.0.0 go ahead" if "STARTTLS" in self._offered() else "502 5.5.1 not here"
        if self._do("starttls", default, line=line).startswith("220"):
            self.wire.flush()
            self.wire.buffer.clear()
            self._tls()
            self.user, self.transaction = None, None

    def _tls(self) -> None:
        context = self.server.tls
        self._do("tls", KEEP, (lambda: self.wire.start_tls(context)) if context else None)

    def _on_auth(self, rest: str, line: str) -> None:
        mechanism, _, initial = rest.partition(" ")
        if self._do("auth_start", "", line=line)[:1] in {"4", "5"}:
            return
        answers = auth.exchange(mechanism.upper(), initial.strip(), self._ask)
        if answers is None:
            self._do("auth_cancelled", "501 5.7.0 cancelled", line=line)
        else:
            self._decide(mechanism.upper(), *answers, line)

    def _ask(self, prompt: str) -> str | None:
        self.wire.queue(crlf(f"334 {auth.encoded(prompt)}"))
        answer = self.wire.read_line().decode("ascii", "surrogateescape").strip()
        return None if answer == "*" else auth.decoded(answer)

    def _decide(self, mechanism: str, username: str, password: str, line: str) -> None:
        self.server.attempts.append(
            AuthAttempt(
                connection=self.number,
                mechanism=mechanism,
                username=username,
                password=password,
                encrypted=self.is_encrypted,
            )
        )
        is_right = self.server.credentials is None or self.server.credentials.get(username) == password
        default = "235 2.7.0 welcome" if is_right else "535 5.7.8 wrong user name or password"
        self._do("auth", default, lambda: setattr(self, "user", username), line=line)

    def _on_mail(self, rest: str, line: str) -> None:
        self.turn += 1
        self.server.count_message()
        path = PATH.match(rest)
        if path is None or self.transaction:
            self._do("mail", "503 5.5.1 nested MAIL" if path else "501 5.5.4 MAIL FROM:<address>", line=line)
            return
        sender, parameters = path.groups()
        self._complain(judge_parameters(parameters, self._offered()))
        transaction = Transaction(sender=sender, parameters=parameters)
        self._do("mail", "250 2.1.0 sender ok", lambda: setattr(self, "transaction", transaction), line=line)

    def _on_rcpt(self, rest: str, line: str) -> None:
        path = PATH.match(rest)
        if self.transaction is None or path is None:
            self._do("rcpt", "503 5.5.1 MAIL first" if path else "501 5.5.4 RCPT TO:<address>", line=line)
            return
        transaction, (address, parameters) = self.transaction, path.groups()
        transaction.asked.append(address)
        self._complain(judge_parameters(parameters, self._offered()))
        self._do("rcpt", "250 2.1.5 recipient ok", lambda: transaction.add(address, parameters), line=line)

    def _on_data(self, _rest: str, line: str) -> None:
        ready = self.transaction is not None and self.transaction.recipients
        default = "354 go ahead" if ready else "503 5.5.1 no valid recipients"
        if not self._do("data", default, line=line).startswith("354"):
            return
        self._do("body", KEEP)
        raw = self._read_message()
        # Every line that starts with a dot lost one (RFC 5321, 4.5.2).
        self._finish((b"\r\n" + raw).replace(b"\r\n.", b"\r\n")[2:], by_bdat=False)

    def _read_message(self) -> bytes:
        """Read up to the final dot, which is not returned."""
        first = self.wire.read_exact(3)
        if first == b".\r\n":
            return b""
        self.wire.buffer[:0] = first
        return self.wire.read_until(b"\r\n.\r\n")[:-3]

    def _on_bdat(self, rest: str, line: str) -> None:
        size, _, last = rest.partition(" ")
        if not size.isdecimal():
            self._do("bdat", "501 5.5.4 BDAT size [LAST]", line=line)
            return
        self._do("body", KEEP)
        # The octets come whatever the answer will be (RFC 3030, 2).
        data = self.wire.read_exact(int(size))
        transaction = self.transaction
        if transaction is None or not transaction.recipients or transaction.failed:
            self._do("bdat", "503 5.5.1 no transaction for this chunk", line=line)
            return
        transaction.chunks += data
        if last.strip().upper() == "LAST":
            self._finish(bytes(transaction.chunks), by_bdat=True)
        elif self._do("bdat", f"250 2.0.0 {size} octets", line=line)[:1] != "2":
            transaction.failed = True

    def _finish(self, data: bytes, *, by_bdat: bool) -> None:
        transaction = self.transaction
        ready = transaction is not None and bool(transaction.recipients)
        if transaction is not None and ready:
            self._complain(judge_message(data, is_8bit=transaction.is_8bit))
        default = f"250 2.0.0 queued as {self.server.messages:06d}" if ready else "554 5.5.1 no valid recipients"
        self._do("dot", default, lambda: self._keep(data, by_bdat=by_bdat))
        self.transaction = None

    def _keep(self, data: bytes, *, by_bdat: bool) -> None:
        if self.transaction is not None and self.transaction.recipients:
            circumstances = {"connection": self.number, "encrypted": self.is_encrypted, "user": self.user}
            self.server.keep(self.transaction.copy(data, by_bdat=by_bdat, **circumstances))

    def _on_rset(self, _rest: str, line: str) -> None:
        self.transaction = None
        self._do("rset", "250 2.0.0 forgotten", line=line)

    def _on_noop(self, _rest: str, line: str) -> None:
        self._do("noop", "250 2.0.0 ok", line=line)

    def _on_quit(self, _rest: str, line: str) -> None:
        self._do("quit", "221 2.0.0 bye", line=line)
        self.wire.end()
        raise Gone("QUIT")


def _flat(behaviour: object, moment: Moment) -> list[object]:
    """Return a behaviour's steps, with functions of the moment replaced by what they return."""
    if isinstance(behaviour, tuple):
        return [step for item in behaviour for step in _flat(item, moment)]
    if callable(behaviour):
        return _flat(behaviour(moment), moment)
    return [behaviour]
