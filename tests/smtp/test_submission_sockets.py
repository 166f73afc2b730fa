"""No socket is left open after a single message, however the session ends."""

from __future__ import annotations

import gc
import warnings

import pytest

from own_smtp.settings import Deadlines
from own_smtp.smtp.network import NetworkPolicy
from own_smtp.smtp.submission import submit
from own_smtp.states import Security
from tests.scripted import ScriptedServer
from tests.scripted.acts import CLOSE, GARBAGE, HANG, RESET
from tests.wire_kit import envelope, profile_for

BRISK = Deadlines(connect=2, banner=0.1, command=0.1, data=0.1, body=0.1, final_dot=0.1, quit=0.1)
PHASES = ("connect", "tls", "banner", "ehlo", "starttls", "mail", "rcpt", "data", "dot", "quit")


@pytest.mark.parametrize("act", [CLOSE, RESET, HANG, GARBAGE], ids=["close", "reset", "silence", "garbage"])
@pytest.mark.parametrize("phase", PHASES)
def test_no_socket_outlives_the_message(test_authority, phase, act):
    """If the server closes, falls silent or sends nonsense in any stage, the connection is closed with the outcome."""
    gc.collect()  # Python 3.13 tells of what other tests left, too
    large = envelope(data=b"Subject: x\r\n\r\n" + 40_000 * b"All work and no play.\r\n")
    with ScriptedServer(tls=test_authority.server_context()) as server, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        server.on(phase, act)
        profile = profile_for(server, security=Security.STARTTLS, fingerprint=test_authority.fingerprint())
        submit(profile, large, policy=NetworkPolicy.trusting(), deadlines=BRISK)
        gc.collect()
    assert [str(warning.message) for warning in caught if is_about_sockets(warning)] == []


def is_about_sockets(warning):
    return issubclass(warning.category, ResourceWarning) and "database" not in str(warning.message)
