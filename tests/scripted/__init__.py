"""A scripted SMTP server for the faults that a real one will not produce.

with ScriptedServer() as server:
    server.on("rcpt", "550 5.1.1 no such user", recipient="nobody@example.org")
    server.on("dot", (KEEP, RESET), message=3)
    ... talk to ("127.0.0.1", server.port) ...
    assert [copy.recipients for copy in server.copies] == [...]
"""

from tests.scripted.acts import (
    CLOSE,
    GARBAGE,
    HANG,
    KEEP,
    PASS,
    RESET,
    Behaviour,
    CloseAfter,
    Endless,
    Moment,
    Trickle,
    Wait,
    huge_line,
    multiline,
)
from tests.scripted.certificates import KINDS, Authority, authority
from tests.scripted.conversation import Conversation
from tests.scripted.holes import BlackHole, ClosedPort, SilentPort
from tests.scripted.server import EXTENSIONS, PHASES, Rule, ScriptedServer
from tests.scripted.values import AuthAttempt, Copy

__all__ = [
    "CLOSE",
    "EXTENSIONS",
    "GARBAGE",
    "HANG",
    "KEEP",
    "KINDS",
    "PASS",
    "PHASES",
    "RESET",
    "AuthAttempt",
    "Authority",
    "Behaviour",
    "BlackHole",
    "CloseAfter",
    "ClosedPort",
    "Conversation",
    "Copy",
    "Endless",
    "Moment",
    "Rule",
    "ScriptedServer",
    "SilentPort",
    "Trickle",
    "Wait",
    "authority",
    "huge_line",
    "multiline",
]
