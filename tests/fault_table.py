"""The faults of one session and their outcomes, for tests of sessions and of whole drains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from own_smtp.settings import Deadlines
from own_smtp.states import Security
from tests.engine import SHORT
from tests.scripted import (
    CLOSE,
    GARBAGE,
    HANG,
    KEEP,
    RESET,
    Authority,
    Behaviour,
    CloseAfter,
    Endless,
    ScriptedServer,
    Trickle,
    huge_line,
)

PASSWORD = "correct horse"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One row. The fault happens once, at the first message or connection; afterwards the server works."""

    phase: str
    behaviour: Behaviour
    state: str
    """Of the invitation after the first drain."""
    copies: int = 1
    """What the server holds after recovery."""
    pause: str | None = None
    code: int | None = None
    """Of the reply that is kept."""
    certificate: str | None = None
    """With one there are STARTTLS and a login."""
    starttls: bool = True
    """Whether the server offers it."""
    large: bool = False
    """Whether the message is larger than what systems buffer."""
    receive_buffer: int | None = None
    deadlines: Mapping[str, float] = field(default_factory=dict)

    @property
    def limits(self) -> Deadlines:
        return replace(SHORT, **self.deadlines)

    def server(self, authority: Authority, **options: Any) -> ScriptedServer:
        """Return a server with this fault."""
        tls = authority.server_context(self.certificate) if self.certificate and self.starttls else None
        server = ScriptedServer(tls=tls, credentials={"user": PASSWORD}, receive_buffer=self.receive_buffer, **options)
        if self.behaviour is not KEEP:
            server.on(self.phase, self.behaviour, times=1)
        return server

    @property
    def security(self) -> Security:
        return Security.STARTTLS if self.certificate else Security.NONE


def _secure(phase: str, behaviour: Behaviour, state: str = "queued", **more: Any) -> Fault:
    return Fault(phase=phase, behaviour=behaviour, state=state, **{"certificate": "good"} | more)


def _plain(phase: str, behaviour: Behaviour, state: str = "queued", **more: Any) -> Fault:
    return Fault(phase=phase, behaviour=behaviour, state=state, **more)


FAULTS: dict[str, Fault] = {
    # The banner
    "banner silent": _plain("banner", HANG, deadlines={"banner": 0.2}),
    "banner one byte a while": _plain("banner", Trickle("220 " + "x" * 500), deadlines={"banner": 0.2}),
    "banner endless": _plain("banner", Endless()),
    "banner an endless line": _plain("banner", Endless(b"x")),
    "banner garbage": _plain("banner", GARBAGE),
    "banner closed": _plain("banner", CLOSE),
    "banner reset": _plain("banner", RESET),
    "banner 421": _plain("banner", "421 4.3.2 busy", code=421),
    "banner 450": _plain("banner", "450 later", code=450),
    "banner 554": _plain("banner", "554 5.7.1 go away", copies=0, pause="blocked", code=554),
    "banner torn": _plain("banner", (b"22", CLOSE)),
    "ehlo silent": _plain("ehlo", HANG, deadlines={"command": 0.2}),
    "ehlo huge": _plain("ehlo", huge_line()),
    "ehlo 421": _plain("ehlo", "421 4.3.2 busy", code=421),
    "ehlo 550": _plain("ehlo", "550 5.7.1 who are you", copies=0, pause="blocked", code=550),
    # TLS
    "starttls absent": _secure("starttls", KEEP, starttls=False, copies=0, pause="no_tls"),
    "starttls 454": _secure("starttls", "454 4.7.0 not now", code=454),
    "starttls 502": _secure("starttls", "502 5.5.1 never", copies=0, pause="no_tls", code=502),
    "starttls closed": _secure("starttls", CLOSE),
    "handshake hangs": _secure("tls", HANG, deadlines={"command": 0.3}),
    "handshake reset": _secure("tls", RESET),
    "handshake garbage": _secure("tls", GARBAGE),
    "starttls with a reply behind it": _secure("starttls", "220 go\n250 AUTH PLAIN"),
    "certificate expired": _secure("tls", KEEP, certificate="expired", copies=0, pause="certificate"),
    "certificate for another name": _secure("tls", KEEP, certificate="wrong_name", copies=0, pause="certificate"),
    "certificate of another authority": _secure("tls", KEEP, certificate="other_ca", copies=0, pause="certificate"),
    # AUTH
    "auth 535": _secure("auth", "535 5.7.8 wrong", copies=0, pause="credentials", code=535),
    "auth 534": _secure("auth", "534 5.7.9 app password", copies=0, pause="credentials", code=534),
    "auth 454": _secure("auth", "454 4.7.0 too many logins", code=454),
    "auth 421": _secure("auth", "421 4.7.0 too many connections", code=421),
    "auth dropped": _secure("auth", CLOSE),
    "auth silent": _secure("auth", HANG, deadlines={"command": 0.3}),
    "auth wants more": _secure("auth", "334 ", copies=0, pause="no_auth"),
    # MAIL
    "mail 450": _plain("mail", "450 4.7.1 slow down", code=450),
    "mail 421": _plain("mail", "421 4.7.0 too many messages", code=421),
    "mail 550": _plain("mail", "550 5.7.1 not your sender", copies=0, pause="sender", code=550),
    "mail 553": _plain("mail", "553 5.7.1 not owned by user", copies=0, pause="sender", code=553),
    "mail 552": _plain("mail", "552 5.3.4 too large", "refused", copies=0, code=552),
    "mail dropped": _plain("mail", CLOSE),
    "mail silent": _plain("mail", HANG, deadlines={"command": 0.2, "final_dot": 0.3}),
    "mail garbage": _plain("mail", GARBAGE),
    "mail 354": _plain("mail", "354 what"),
    # RCPT
    "rcpt 450": _plain("rcpt", "450 4.2.0 greylisted", code=450),
    "rcpt 451": _plain("rcpt", "451 4.3.0 later", code=451),
    "rcpt 452": _plain("rcpt", "452 4.5.3 too many", code=452),
    "rcpt 550": _plain("rcpt", "550 5.1.1 nobody", "refused", copies=0, code=550),
    "rcpt 552": _plain("rcpt", "552 5.2.2 full", code=552),
    "rcpt relay denied": _plain("rcpt", "554 5.7.1 Relay access denied", copies=0, pause="no_auth", code=554),
    "rcpt sender rejected": _plain("rcpt", "553 5.7.1 Sender address rejected", copies=0, pause="sender", code=553),
    "rcpt 421": _plain("rcpt", "421 4.3.2 closing", code=421),
    "rcpt dropped": _plain("rcpt", CLOSE),
    "rcpt reset": _plain("rcpt", RESET),
    "rcpt silent": _plain("rcpt", HANG, deadlines={"command": 0.2, "final_dot": 0.3}),
    # DATA
    "data 451": _plain("data", "451 4.3.0 later", code=451),
    "data 554": _plain("data", "554 5.7.1 no", "refused", copies=0, code=554),
    "data 421": _plain("data", "421 4.3.2 closing", code=421),
    "data 250": _plain("data", "250 what"),
    "data dropped": _plain("data", CLOSE),
    "data silent": _plain("data", HANG, deadlines={"data": 0.2}),
    # The text
    "body reset": _plain("body", CloseAfter(1000, reset=True), large=True),
    "body closed": _plain("body", CloseAfter(100_000), large=True),
    "body not read": _plain("body", HANG, large=True, receive_buffer=4096, deadlines={"body": 0.3}),
    "body 421 in the middle": _plain(
        "body", (b"421 4.3.2 closing\r\n", HANG), large=True, receive_buffer=4096, deadlines={"body": 0.3}
    ),
    "body 552 in the middle": _plain(
        "body",
        (b"552 5.3.4 too much\r\n", HANG),
        "refused",
        copies=0,
        code=552,
        large=True,
        receive_buffer=4096,
        deadlines={"body": 30.0},
    ),
    "body 452 in the middle": _plain(
        "body", (b"452 4.3.1 no room\r\n", CLOSE), code=452, large=True, receive_buffer=4096
    ),
    # The end of the message
    "dot 450": _plain("dot", "450 4.2.0 later", code=450),
    "dot 451": _plain("dot", "451 4.3.0 later", code=451),
    "dot 421": _plain("dot", "421 4.3.2 closing", code=421),
    "dot 554": _plain("dot", "554 5.7.1 spam", "refused", copies=0, code=554),
    "dot 354": _plain("dot", "354 what", "unknown"),
    "dot closed, taken": _plain("dot", (KEEP, CLOSE), "unknown"),
    "dot closed, not taken": _plain("dot", CLOSE, "unknown", copies=0),
    "dot reset, taken": _plain("dot", (KEEP, RESET), "unknown"),
    "dot reset, not taken": _plain("dot", RESET, "unknown", copies=0),
    "dot silent, taken": _plain("dot", (KEEP, HANG), "unknown", deadlines={"final_dot": 0.2}),
    "dot silent, not taken": _plain("dot", HANG, "unknown", copies=0, deadlines={"final_dot": 0.2}),
    "dot torn, taken": _plain("dot", (KEEP, b"250 2.0.0 que", CLOSE), "unknown"),
    "dot torn and silent": _plain("dot", (KEEP, b"25", HANG), "unknown", deadlines={"final_dot": 0.2}),
    "dot garbage, taken": _plain("dot", (KEEP, GARBAGE), "unknown"),
    "dot one byte a while": _plain("dot", Trickle("250 " + "x" * 500), "unknown", deadlines={"final_dot": 0.2}),
    "dot endless": _plain("dot", (KEEP, Endless(b"250-more\r\n")), "unknown"),
    # After it
    "250 and closed": _plain("dot", ("250 2.0.0 queued", CLOSE), "accepted", code=250),
    "250 and reset": _plain("dot", ("250 2.0.0 queued", RESET), "accepted", code=250),
    "250 and garbage": _plain("dot", ("250 2.0.0 queued", GARBAGE), "accepted", code=250),
    "250 and another 250": _plain("dot", "250 2.0.0 queued\n250 2.0.0 again", "accepted", code=250),
    "quit reset": _plain("quit", RESET, "accepted", code=250),
    "quit silent": _plain("quit", HANG, "accepted", code=250, deadlines={"quit": 0.1}),
    "quit 500": _plain("quit", "500 what", "accepted", code=250),
}

SETUP_PHASES = {"banner", "ehlo", "starttls", "tls", "auth"}
