"""Messages over a session: round trips, parameters, and the assignment of replies."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from own_smtp.errors import JournalError
from own_smtp.smtp.capabilities import Capabilities
from own_smtp.smtp.commands import dot_stuffed, mail_command, rcpt_command, why_impossible, xtext
from own_smtp.smtp.transfer.bdat import MOST_REFUSED
from own_smtp.smtp.transfer.data import WELL_USED
from own_smtp.states import PauseReason, Security
from tests.engine import recipients_of
from tests.scripted import CLOSE, EXTENSIONS, HANG, PASS, ScriptedServer
from tests.scripted.wire import Wire, readable
from tests.servers.smtp_sink import SmtpSink
from tests.wire_kit import SENDER, TEXT, Listed, converse, envelope

GATHER = 0.03
"""Seconds within which what a client sends counts as one group."""

WITHOUT = {
    "stepwise": [item for item in EXTENSIONS if item not in {"PIPELINING", "CHUNKING"}],
    "pipelined": [item for item in EXTENSIONS if item != "CHUNKING"],
    "chunked": EXTENSIONS,
}
MODES = list(WITHOUT)
WINDOW = {"chunked": 4}


def server_for(mode, **options):
    return ScriptedServer(extensions=WITHOUT[mode], **options)


class SwallowAndClose:
    """Closes after reading everything sent so far: with unread data the kernel would reset, and discard the 421."""

    def perform(self, wire: Wire) -> None:
        wire.flush()
        while readable([wire.sock], 0.05) and wire.sock.recv(1 << 16):
            pass
        CLOSE.perform(wire)


def verbs(server):
    return [line.split()[0] for line in server.commands]


# Round trips


@pytest.mark.parametrize(("mode", "each"), [("stepwise", 4), ("pipelined", 1)])
def test_round_trips_for_each_message(mode, each):
    """One with PIPELINING, one for each command without."""
    trips = []
    for count in (3, 8):
        with server_for(mode, gather=GATHER) as server:
            assert converse(server, count).states == ["accepted"] * count
        trips.append(server.round_trips)
    assert trips[1] - trips[0] == 5 * each
    assert server.violations == []


def test_round_trips_with_a_window():
    """With CHUNKING a whole window of messages is sent before the first reply."""
    with server_for("chunked", gather=GATHER) as server:
        assert converse(server, 32, window=16).states == ["accepted"] * 32
    assert server.round_trips < 32
    assert max(group.count(b"BDAT") for group in server.connections[0].record.groups) == 16
    assert server.violations == []


def test_chunks_are_not_used_for_a_window_of_one():
    """With one message in flight DATA needs no more round trips, and every server supports it."""
    with server_for("chunked") as server:
        converse(server, 2)
    assert "BDAT" not in verbs(server)


def test_nothing_stands_between_two_messages():
    """The usual conversation, command by command."""
    with server_for("pipelined") as server:
        converse(server, 2)
    assert verbs(server) == ["EHLO", "MAIL", "RCPT", "DATA", "MAIL", "RCPT", "DATA", "QUIT"]


@pytest.mark.parametrize("mode", MODES)
def test_a_connection_ends_after_its_messages(mode):
    """A connection carries no more messages than the relay allows; the rest stays with the supply."""
    with server_for(mode) as server:
        sent = converse(server, 5, most=3, window=WINDOW.get(mode, 1))
    assert sent.states == ["accepted"] * 3
    assert len(sent.supply.waiting) == 2
    assert verbs(server)[-1] == "QUIT"


@pytest.mark.servers
@pytest.mark.parametrize("options", [(), ("-e",), ("-p",), ("-8",), ("-a", "-e")])
def test_missing_extensions(options):
    """Also without EHLO, without PIPELINING and without 8BITMIME every message arrives once."""
    with SmtpSink(*options) as sink:
        assert converse(sink, 5).states == ["accepted"] * 5
        assert recipients_of(sink.copies()) == [f"user{number}@example.org" for number in range(1, 6)]


# Refusals


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("phase", "reply", "state"),
    [
        ("mail", "552 5.3.4 too large", "refused"),
        ("mail", "450 4.7.1 later", "queued"),
        ("rcpt", "550 5.1.1 nobody", "refused"),
        ("rcpt", "452 4.5.3 later", "queued"),
        ("data", "554 5.7.1 no", "refused"),
        ("data", "451 4.3.0 later", "queued"),
        ("dot", "554 5.7.1 spam", "refused"),
        ("dot", "451 4.3.0 later", "queued"),
    ],
)
@pytest.mark.parametrize("position", [1, 2, 4])
def test_a_refusal_is_about_one_message(mode, phase, reply, state, position):
    """The messages before and behind it arrive over the same connection, each once."""
    if mode == "chunked" and phase == "data":
        pytest.skip("There is no DATA with chunks.")
    with server_for(mode) as server:
        server.on(phase, reply, message=position)
        sent = converse(server, 4, window=WINDOW.get(mode, 1))
    expected = dict.fromkeys(range(1, 5), "accepted") | {position: state}
    assert {number: outcome.state for number, outcome in sent.supply.outcomes.items()} == expected
    assert sent.outcome(position).words in reply
    assert recipients_of(server.copies) == [f"user{n}@example.org" for n in range(1, 5) if n != position]
    assert len(server.connections) == 1
    assert server.violations == []
    if phase != "dot":
        assert "RSET" in verbs(server) or position == 4


@pytest.mark.parametrize("phase", ["mail", "rcpt"])
def test_a_server_that_wants_the_text_of_a_refused_message_gets_a_lone_dot(phase):
    """354 although the envelope was refused: nothing is sent, and nothing arrives (RFC 2920, 3.1)."""
    with server_for("pipelined") as server:
        server.on(phase, "550 5.6.7 no", message=2)
        server.on("data", "354 all the same", message=2)
        sent = converse(server, 3)
    assert sent.states == ["accepted", "refused", "accepted"]
    assert recipients_of(server.copies) == ["user1@example.org", "user3@example.org"]
    assert server.connections[0].record.said("C").count(b"\r\n.\r\n") == 3


@pytest.mark.parametrize("mode", MODES)
def test_a_refusal_of_the_relay_ends_the_session(mode):
    """After a reply that pauses the relay the next message is not tried."""
    with server_for(mode) as server:
        server.on("mail", "550 5.7.1 not your sender")
        sent = converse(server, 3, window=WINDOW.get(mode, 1))
    assert set(sent.states) == {"queued"}
    assert {outcome.pause for outcome in sent.supply.outcomes.values()} == {PauseReason.SENDER}
    assert len(sent.states) == 1
    assert server.copies == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("phase", ["mail", "rcpt", "data", "dot", "rset"])
@pytest.mark.parametrize("position", [1, 3])
def test_a_421_anywhere_closes_and_leaves_nothing_unknown(mode, phase, position):
    """The message is queued, those behind it are given back or queued, and nothing more is sent to the server."""
    with server_for(mode) as server:
        server.on(phase, ("421 4.3.2 closing", SwallowAndClose()), when=lambda moment: moment.message >= position)
        sent = converse(server, 4, window=WINDOW.get(mode, 1))
    accepted = [number for number, outcome in sent.supply.outcomes.items() if outcome.state == "accepted"]
    assert recipients_of(server.copies) == [f"user{number}@example.org" for number in accepted]
    assert {outcome.state for outcome in sent.supply.outcomes.values()} <= {"accepted", "queued"}
    taken = len(sent.supply.outcomes) + len(sent.supply.returned)
    assert taken + len(sent.supply.waiting) == 4


@pytest.mark.parametrize("mode", ["stepwise", "pipelined"])
@pytest.mark.parametrize(("words", "is_returned"), [("421 too many messages", True), ("421 4.7.0 too many", False)])
def test_a_421_to_a_well_used_connection(mode, words, is_returned):
    """It concerns the connection, unless its text says otherwise: the message is given back without using a retry."""
    with server_for(mode) as server:
        server.on("mail", (words, SwallowAndClose()), when=lambda moment: moment.turn > WELL_USED)
        sent = converse(server, WELL_USED + 2)
    assert sent.states == ["accepted"] * WELL_USED + ["queued"] * (not is_returned)
    assert sent.supply.returned == [WELL_USED + 1] * is_returned
    assert len(server.copies) == WELL_USED


def test_replies_after_a_421_are_read():
    """Some servers send 421 for one message only. Messages in flight behind it still end by their own replies."""
    with server_for("chunked") as server:
        server.on("mail", "421 4.7.0 try later", message=2)
        sent = converse(server, 6, window=4)
    assert sent.states == ["accepted", "queued", "accepted", "accepted", "accepted"]
    assert recipients_of(server.copies) == [f"user{number}@example.org" for number in (1, 3, 4, 5)]
    assert len(sent.supply.waiting) == 1, "nothing new is sent after it"


def test_a_refused_rset_is_about_the_connection():
    """It does not concern the sender, and nothing behind it was executed: no pause, and nothing unknown."""
    with server_for("chunked") as server:
        server.on("rset", ("554 Too many commands", SwallowAndClose()), when=lambda moment: moment.message >= 3)
        sent = converse(server, 6, window=4)
    assert set(sent.states) == {"accepted", "queued"}
    assert {outcome.pause for outcome in sent.supply.outcomes.values()} == {None}
    assert any("554 Too many commands" in outcome.words for outcome in sent.supply.outcomes.values())
    accepted = [number for number, outcome in sent.supply.outcomes.items() if outcome.state == "accepted"]
    assert recipients_of(server.copies) == [f"user{number}@example.org" for number in accepted]


def test_replies_after_a_refused_rset_are_read():
    """They count, and if the connection breaks behind them, the message may have arrived."""
    with server_for("chunked") as server:
        server.on("rset", "502 5.5.1 what", message=2)
        server.on("dot", SwallowAndClose(), message=2)
        sent = converse(server, 2, window=4)
    assert sent.states == ["accepted", "unknown"]


def test_a_connection_with_many_refusals_is_replaced():
    """Before the server's limit for RSET is reached. The other messages use the next connection."""
    with server_for("chunked") as server:
        server.on("rcpt", "550 5.1.1 no", when=lambda moment: moment.message > 2)
        sent = converse(server, 30, window=3)
        server.wait_for(lambda: server.connections[0].ended)
    assert sent.states.count("accepted") == 2
    assert MOST_REFUSED <= sent.states.count("refused") < MOST_REFUSED + 3
    assert len(sent.states) + len(sent.supply.waiting) == 30
    assert verbs(server)[-1] == "QUIT"


@pytest.mark.parametrize(
    ("replies", "state"),
    [
        ({"mail": "450 4.7.1 no", "rcpt": "250 ok", "bdat": "250 ok"}, "unknown"),
        ({"mail": "354 what", "rcpt": "250 ok", "dot": "250 ok"}, "unknown"),
        ({"rcpt": "354 what"}, "unknown"),
        ({"rcpt": "550 5.1.1 no", "dot": "250 ok"}, "refused"),
        ({"mail": "552 5.3.4 no", "dot": "250 ok"}, "refused"),
        ({"dot": "354 what"}, "unknown"),
    ],
)
def test_a_server_that_contradicts_itself(replies, state):
    """With messages in flight, one that was refused and then accepted may have arrived: its outcome is unknown."""
    with server_for("chunked") as server:
        for phase, reply in replies.items():
            server.on(phase, reply)
        assert converse(server, 1, window=4).states == [state]


def test_a_lone_dot_is_not_sent_after_an_accepted_recipient():
    """It would deliver an empty mail. The connection ends instead."""
    with server_for("pipelined") as server:
        server.on("mail", "552 5.3.4 too large")
        server.on("rcpt", "250 2.1.5 ok")
        server.on("data", "354 go ahead")
        sent = converse(server, 2)
    assert sent.states == ["refused"]
    assert b"\r\n.\r\n" not in server.connections[0].record.said("C")


# Whose reply is whose

REPLIES = {
    "mail": ["250 2.1.0 {}", "450 4.7.1 {}", "552 5.3.4 {}"],
    "rcpt": ["250 2.1.5 {}", "451 4.2.0 {}", "550 5.1.1 {}"],
    "data": ["354 {}", "354 {}", "451 4.3.0 {}", "554 5.7.1 {}"],
    "dot": ["250 2.0.0 {}", "250 2.0.0 {}", "452 4.3.1 {}", "554 5.7.1 {}", "250-one\n250 {}"],
}
SCRIPTS = st.lists(st.fixed_dictionaries({phase: st.sampled_from(said) for phase, said in REPLIES.items()}), max_size=8)


@pytest.mark.parametrize("mode", MODES)
@given(scripts=SCRIPTS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_replies_are_never_mixed_up(mode, scripts):
    """For any replies each message ends by its own reply, and arrives if that says so."""

    def answer(moment):
        script = scripts[moment.message - 1]
        is_nested = moment.phase == "rcpt" and script["mail"][0] != "2"
        return PASS if is_nested else script[moment.phase].format(f"m{moment.message}.")

    with server_for(mode) as server:
        for phase in REPLIES:
            server.on(phase, answer)
        sent = converse(server, len(scripts), window=WINDOW.get(mode, 1))
    assert sent.supply.outcomes.keys() == set(range(1, len(scripts) + 1))
    for number, outcome in sent.supply.outcomes.items():
        assert f"m{number}." in outcome.words
    accepted = [number for number, outcome in sent.supply.outcomes.items() if outcome.state == "accepted"]
    assert [copy.recipients for copy in server.copies] == [(f"user{number}@example.org",) for number in accepted]
    assert server.violations == []


# Refused before the end of the text

LARGE = TEXT + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 130_000
"""9 MB."""


class ReadSome:
    """Reads part of the text, and hides it from the rest of the conversation."""

    def perform(self, wire: Wire) -> None:
        wire.read_exact(200_000)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("security", [Security.NONE, Security.IMPLICIT])
@pytest.mark.parametrize("end", [HANG, CLOSE])
@pytest.mark.parametrize(("reply", "state"), [("552 5.3.4 too large", "refused"), ("452 4.3.1 no room", "queued")])
def test_a_refusal_within_a_large_text_counts(trusted, mode, security, end, reply, state):
    """It is read while the text is written, and decides; the rest is not sent (RFC 1870, 6.1)."""
    tls = {"tls": trusted.server_context(), "implicit_tls": True} if security is Security.IMPLICIT else {}
    with server_for(mode, receive_buffer=4096, **tls) as server:
        server.on("body", (ReadSome(), reply.encode() + b"\r\n", end))
        supply = Listed(envelope(1, data=LARGE))
        fingerprint = trusted.fingerprint() if tls else None
        sent = converse(server, supply, window=WINDOW.get(mode, 1), security=security, fingerprint=fingerprint)
    assert sent.states == [state]
    assert sent.outcome().said == reply
    assert sent.outcome().pause is None
    assert len(server.connections[0].record.said("C")) < 5_000_000


@pytest.mark.parametrize("mode", MODES)
def test_an_acceptance_within_a_large_text_does_not_count(mode):
    """An incomplete message cannot have been accepted: it is retried."""
    with server_for(mode, receive_buffer=4096) as server:
        server.on("body", (ReadSome(), b"354 go on\r\n", HANG))
        sent = converse(server, Listed(envelope(1, data=LARGE)), window=WINDOW.get(mode, 1))
    assert set(sent.states) <= {"queued", "unknown"}


# Servers that offer CHUNKING and do not mean it


class Repeating(Listed):
    """A supply in which a message may be begun again, after BDAT was refused for it."""

    def begin(self, message) -> None:
        if message.invitation_id not in self.begun:
            super().begin(message)


@pytest.mark.parametrize("reply", ["503 5.5.1 bad sequence", "504 5.5.4 not here"])
def test_a_server_that_refuses_bdat_gets_data(reply):
    """Over the same connection, and without further BDAT on it; no message is refused because of it."""
    with server_for("chunked") as server:
        server.on("dot", reply, when=lambda _moment: not server.connections[-1].commands[-1].startswith("DATA"))
        supply = Repeating(*map(envelope, range(1, 11)))
        sent = converse(server, supply, window=4)
    assert sent.states == ["accepted"] * 10
    assert recipients_of(server.copies) == sorted(f"user{number}@example.org" for number in range(1, 11))
    assert verbs(server).count("BDAT") == 1
    assert len(server.connections) == 1
    assert server.violations == []
    assert sent.session.refuses_bdat


def test_a_server_that_does_not_know_bdat_is_disconnected():
    """It has interpreted the message as commands: further replies do not count, and no second one was in flight."""
    with server_for("chunked") as server:
        server.on("dot", "500 5.5.1 what is that?")
        sent = converse(server, Repeating(*map(envelope, range(1, 5))), window=4)
    assert sent.states == ["queued"]
    assert sent.session.refuses_bdat
    assert len(sent.supply.waiting) == 3


def test_a_connection_lost_on_the_way_to_data_loses_nothing():
    """Messages that were refused by BDAT are queued, not lost and not unknown."""
    with server_for("chunked") as server:
        server.on("dot", ("503 5.5.1 bad sequence", CLOSE))
        sent = converse(server, Repeating(envelope(1)), window=4)
    assert sent.states == ["queued"]


# When nothing may be sent


@pytest.mark.parametrize("mode", MODES)
def test_a_message_that_must_not_begin_does_not_arrive(mode):
    """A message that the supply prevents is not sent; replies to earlier ones are read to the end."""

    def prevent(message):
        if message.invitation_id == 3:
            raise JournalError("The disk is full.")

    supply = Listed(*map(envelope, range(1, 6)), may_begin=prevent)
    with server_for(mode) as server, pytest.raises(JournalError):
        converse(server, supply, window=WINDOW.get(mode, 1))
    server.wait_for(lambda: server.connections[0].ended)
    assert supply.states == ["accepted", "accepted"]
    assert recipients_of(server.copies) == ["user1@example.org", "user2@example.org"]


# What is impossible here


@pytest.mark.parametrize(
    ("message", "extensions", "why"),
    [
        (envelope(1, data=TEXT * 100), ["SIZE 1000"], "2600 octets"),
        (envelope(1, recipient="müller@example.org"), ["8BITMIME"], "SMTPUTF8"),
        (envelope(1, data="Subject: ü\r\n\r\n".encode()), ["SMTPUTF8"], "8BITMIME"),
        (envelope(1, recipient="a@b.example>\r\nRCPT TO:<c@d.example"), EXTENSIONS, "characters"),
        (envelope(1, sender="a@b.example\0"), EXTENSIONS, "characters"),
    ],
)
@pytest.mark.parametrize("window", [1, 4])
def test_an_impossible_message_fails_without_a_byte(message, extensions, why, window):
    """The next message is sent as if it had not existed."""
    with ScriptedServer(extensions=[*extensions, "PIPELINING"]) as server:
        sent = converse(server, Listed(message, envelope(2)), window=window)
    assert (sent.outcome(1).state, sent.outcome(1).stage) == ("failed", "local")
    assert why in sent.outcome(1).words
    assert recipients_of(server.copies) == ["user2@example.org"]
    assert server.messages == 1


# Parameters and text

ALL = Capabilities(sized=True, eight_bit=True, smtputf8=True, dsn=True)


@pytest.mark.parametrize(
    ("message", "capabilities", "mail", "rcpt"),
    [
        (envelope(), Capabilities(), f"MAIL FROM:<{SENDER}>", "RCPT TO:<user1@example.org>"),
        (envelope(), ALL, f"MAIL FROM:<{SENDER}> SIZE=26", "RCPT TO:<user1@example.org>"),
        (envelope(sender=""), Capabilities(), "MAIL FROM:<>", "RCPT TO:<user1@example.org>"),
        (
            envelope(envelope_id="k=1.7"),
            ALL,
            f"MAIL FROM:<{SENDER}> SIZE=26 RET=HDRS ENVID=k+3D1.7",
            "RCPT TO:<user1@example.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;user1@example.org",
        ),
        (
            envelope(recipient="a+b=c@example.org", envelope_id="k"),
            Capabilities(dsn=True),
            f"MAIL FROM:<{SENDER}> RET=HDRS ENVID=k",
            "RCPT TO:<a+b=c@example.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a+2Bb+3Dc@example.org",
        ),
        (
            envelope(recipient="müller@example.org", envelope_id="k"),
            ALL,
            f"MAIL FROM:<{SENDER}> SIZE=26 SMTPUTF8 RET=HDRS ENVID=k",
            "RCPT TO:<müller@example.org>",
        ),
        (
            envelope(data="Subject: u\r\n\r\nü\r\n".encode()),
            ALL,
            f"MAIL FROM:<{SENDER}> SIZE=18 BODY=8BITMIME",
            "RCPT TO:<user1@example.org>",
        ),
        (
            envelope(data="Reply-To: ü@example.org\r\n\r\nu\r\n".encode()),
            ALL,
            f"MAIL FROM:<{SENDER}> SIZE=31 BODY=8BITMIME SMTPUTF8",
            "RCPT TO:<user1@example.org>",
        ),
    ],
)
def test_the_envelopes_commands(message, capabilities, mail, rcpt):
    """A parameter is used exactly if the server offers its extension and the message needs it."""
    assert why_impossible(message, capabilities) is None
    assert mail_command(message, capabilities).decode() == f"{mail}\r\n"
    assert rcpt_command(message, capabilities).decode() == f"{rcpt}\r\n"


@given(st.text(st.characters(codec="ascii"), max_size=100))
def test_xtext_can_be_decoded(text):
    """It has only characters that a parameter may have, and decoding restores the text (RFC 3461, 4)."""
    encoded = xtext(text)
    assert re.fullmatch(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*", encoded)
    assert re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), encoded) == text


TEXTS = st.lists(st.sampled_from([b".", b"..", b"\r\n", b"\r\n.\r\n", b"x", b"DATA", b"\r\n.."]), max_size=30).map(
    b"".join
)


@given(TEXTS.map(lambda text: text + b"\r\n"))
def test_dot_stuffing_can_be_reversed(text):
    """No line of the stuffed text is a lone dot, and removing the dots restores the text."""
    stuffed = dot_stuffed(text)
    assert b"\r\n.\r\n" not in b"\r\n" + stuffed
    assert (b"\r\n" + stuffed).replace(b"\r\n.", b"\r\n")[2:] == text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("body", [b".", b"..", b".\r\n.", b"a\r\n.\r\nb", b"\r\n.\r\n", (b"." * 700 + b"\r\n") * 100])
def test_dots_arrive_unchanged(mode, body):
    """A message of dots is one message, byte for byte, also if it is written in pieces."""
    data = b"Subject: dots\r\n\r\n" + body + b"\r\n"
    with server_for(mode) as server:
        assert converse(server, Listed(envelope(1, data=data), envelope(2)), window=WINDOW.get(mode, 1)).states == [
            "accepted",
            "accepted",
        ]
    assert [copy.data for copy in server.copies] == [data, TEXT]


@pytest.mark.parametrize("mode", MODES)
def test_a_large_message_arrives_whole(mode):
    """Several megabytes, written at the server's speed."""
    data = b"Subject: large\r\n\r\n" + b"." * 70 + b"\r\n" + b"x" * 70 * 60_000
    data = re.sub(rb"(x{70})", rb"\1\r\n", data)
    with server_for(mode) as server:
        sent = converse(server, Listed(envelope(1, data=data), envelope(2)), window=WINDOW.get(mode, 1))
    assert sent.states == ["accepted", "accepted"]
    assert [copy.data for copy in server.copies] == [data, TEXT]
