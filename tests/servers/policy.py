"""A policy service that decides on Postfix's replies by a function."""

import socketserver
import threading
from collections.abc import Callable, Mapping

Policy = Callable[[Mapping[str, str]], str]
"""Takes the attributes of Postfix's policy protocol (`protocol_state`: RCPT, DATA or END-OF-MESSAGE; `sender`,
`recipient`, `sasl_username` ...) and returns an action: `DUNNO`, `450 4.2.0 Greylisted`, `550 5.1.1 Unknown` ..."""


class PolicyServer(socketserver.ThreadingTCPServer):
    """Answers Postfix's questions (SMTPD_POLICY_README) by a function, which a test may replace at any time."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, decide: Policy) -> None:
        super().__init__(("127.0.0.1", 0), PolicyHandler)
        self.decide = decide
        self.port = int(self.server_address[1])
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self.shutdown()
        self.server_close()


class PolicyHandler(socketserver.StreamRequestHandler):
    """One connection of an smtpd process, with one question after the other."""

    server: PolicyServer

    def handle(self) -> None:
        attributes: dict[str, str] = {}
        for line in self.rfile:
            name, _, value = line.decode().rstrip("\n").partition("=")
            if name:
                attributes[name] = value
                continue
            self.wfile.write(f"action={self.server.decide(attributes)}\n\n".encode())
            attributes = {}
