"""Sessions and drains with Exim, which enforces the order of commands and limits connections and messages."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import trustme

from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.tls import verifying_context
from own_smtp.smtp.transfer.data import WELL_USED
from own_smtp.smtp.values import Credentials
from own_smtp.states import PauseReason, Security
from tests.engine import Platform, recipients_of
from tests.servers.exim import Exim
from tests.servers.process import eventually
from tests.wire_kit import TEXT, Listed, converse, envelope
from tests.workers import settled, worker_for

LOGIN = Credentials(username="survey", password="correct horse")
WRONG = Credentials(username="survey", password="battery staple")
WINDOWS = (1, 16)
"""DATA with PIPELINING, and CHUNKING with messages in flight."""

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def _exim() -> Iterator[Exim]:
    with Exim(main={"tls_resumption_hosts": "*"}) as server:
        yield server


@pytest.fixture
def exim(_exim: Exim) -> Iterator[Exim]:
    """The Exim that the tests of this file share, with an empty spool; this process trusts its authority."""
    _exim.clear()
    trust(_exim)
    yield _exim
    _exim.set_replies({})


def trust(server: Exim) -> None:
    verifying_context().load_verify_locations(cadata=server.ca_file.read_text())


def at(server: Exim, port: int) -> SimpleNamespace:
    return SimpleNamespace(host=server.host, port=port)


def add_relay(platform: Platform, server: Exim, **values) -> int:
    """Add Exim as a tenant would: STARTTLS and a username with a password."""
    secured = {"port": server.submission_port, "security": Security.STARTTLS, "username": LOGIN.username}
    return platform.add_relay(server, password=LOGIN.password, **{**secured, **values})


def states_by_number(platform: Platform) -> dict[int, str]:
    return {int(row.reference): row.state for row in platform.invitations}


def the_only_connection(server: Exim) -> socket.socket | None:
    connection = socket.create_connection(("127.0.0.1", server.plain_port))
    if connection.recv(100).startswith(b"220"):
        return connection
    connection.close()
    return None


def users(numbers) -> list[str]:
    return sorted(f"user{number}@example.org" for number in numbers)


# The set-up


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.IMPLICIT])
def test_tls_and_sign_in(exim, security):
    """STARTTLS on the submission port, TLS from the first byte on the other; the second connection resumes it."""
    port = exim.submission_port if security is Security.STARTTLS else exim.implicit_port
    verifying_context()._sessions.clear()
    for is_resumed in (False, True):
        sent = converse(at(exim, port), 3, security=security, credentials=LOGIN)
        assert sent.states == ["accepted"] * 3
        assert sent.session.connection.tls.session_reused is is_resumed
    assert recipients_of(exim.copies()) == users([1, 1, 2, 2, 3, 3])
    assert exim.logged().count("A=plain:survey") >= 6


def test_auth_login_without_plain():
    """Username and password are sent one at a time, each on request."""
    with Exim(offers_plain=False) as server:
        trust(server)
        port = at(server, server.submission_port)
        assert converse(port, 2, security=Security.STARTTLS, credentials=LOGIN).states == ["accepted"] * 2
        wrong = converse(port, security=Security.STARTTLS, credentials=WRONG)
        assert (wrong.refusal.reply.code, wrong.refusal.pause) == (535, PauseReason.CREDENTIALS)
        assert server.logged().count("A=login:survey") == 2
        assert server.logged().count("login authenticator failed") == 1


def test_a_wrong_password_is_tried_once(exim):
    """535: the relay pauses, and nothing was sent."""
    sent = converse(at(exim, exim.submission_port), security=Security.STARTTLS, credentials=WRONG)
    assert (sent.refusal.reply.code, sent.refusal.pause) == (535, PauseReason.CREDENTIALS)
    assert "Incorrect authentication data" in sent.refusal.words
    assert exim.logged().count("plain authenticator failed") == 1
    assert exim.copies() == []


def test_no_sign_in_at_all(exim):
    """530 to MAIL, and the rest of the group is refused, too: the relay pauses, no recipient is refused."""
    sent = converse(at(exim, exim.submission_port), 3, security=Security.STARTTLS)
    assert (sent.outcome().reply.code, sent.outcome().pause) == (530, PauseReason.NO_AUTH)
    assert set(sent.states) == {"queued"}
    assert exim.copies() == []


def test_a_certificate_of_an_unknown_authority():
    """No password is sent."""
    with Exim(authority=trustme.CA()) as server:
        sent = converse(at(server, server.submission_port), security=Security.STARTTLS, credentials=LOGIN)
        assert (sent.refusal.stage, sent.refusal.pause) == (Stage.TLS, PauseReason.CERTIFICATE)
        assert "A=plain" not in server.logged()


def test_a_certificate_for_another_name(exim):
    """The authority is trusted, but the host name does not match."""
    elsewhere = SimpleNamespace(host="mail.acme.example", port=exim.submission_port)
    sent = converse(elsewhere, security=Security.STARTTLS, credentials=LOGIN)
    assert (sent.refusal.stage, sent.refusal.pause) == (Stage.TLS, PauseReason.CERTIFICATE)
    assert "mail.acme.example" in sent.refusal.words
    assert exim.copies() == []


# Messages


@pytest.mark.parametrize("window", WINDOWS)
def test_texts_arrive_unchanged(exim, window):
    """Dots, long lines and large messages arrive byte for byte, by DATA and by BDAT."""
    data = b"Subject: dots\r\nMessage-ID: <1@acme.example>\r\n\r\n.\r\n..\r\n" + (b"." * 990 + b"\r\n") * 500 + b".\r\n"
    supply = Listed(*(envelope(number, data=data) for number in (1, 2, 3)))
    assert converse(at(exim, exim.plain_port), supply, window=window).states == ["accepted"] * 3
    copies = exim.copies()
    assert recipients_of(copies) == users([1, 2, 3])
    assert {copy.data for copy in copies} == {data.replace(b"\r\n", b"\n")}
    assert {copy.sender for copy in copies} == {"research@acme.example"}


@pytest.mark.parametrize("window", [*WINDOWS, 32])
def test_hundreds_over_one_connection(exim, window):
    """Exim refuses commands that come too early: each message arrives once."""
    sent = converse(at(exim, exim.plain_port), 300, window=window)
    assert sent.session.capabilities.pipelining
    assert sent.session.capabilities.chunking
    assert sent.states == ["accepted"] * 300
    assert recipients_of(exim.copies()) == users(range(1, 301))
    assert "synchronization error" not in exim.logged()


def test_dsn_parameters_and_non_ascii_addresses(exim):
    """ENVID, RET, NOTIFY and ORCPT are accepted, also in xtext, and so is SMTPUTF8."""
    messages = (
        envelope(1, recipient="a+b=c@example.org", envelope_id="key.1=2+3"),
        envelope(2, recipient="jürgen@e.org"),
    )
    sent = converse(at(exim, exim.plain_port), Listed(*messages))
    assert sent.session.capabilities.dsn
    assert sent.states == ["accepted"] * 2
    assert recipients_of(exim.copies()) == ["a+b=c@example.org", "jürgen@e.org"]


@pytest.mark.parametrize("window", WINDOWS)
def test_replies_for_each_recipient(exim, window):
    """Refused and deferred ones end with Exim's replies, and the others arrive over the same connection."""
    exim.set_replies({"user2@example.org": "550 5.1.1 No such user", "user4@example.org": "451 4.2.0 Try later"})
    sent = converse(at(exim, exim.plain_port), 6, window=window)
    assert sent.states == ["accepted", "refused", "accepted", "queued", "accepted", "accepted"]
    assert [sent.outcome(number).words for number in (2, 4)] == ["No such user", "Try later"]
    assert recipients_of(exim.copies()) == users([1, 3, 5, 6])


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    ("verb", "reply", "state"), [("deny", "554 5.7.1 No", "refused"), ("defer", "451 4.3.0 No", "queued")]
)
@pytest.mark.parametrize("when", ["predata", "data"])
def test_a_message_that_is_refused(when, verb, reply, state, window):
    """At DATA, or after its end: the messages behind it are not affected. For BDAT only the end is possible."""
    if when == "predata" and window > 1:
        pytest.skip("There is no DATA with chunks.")
    statement = f"  {verb} message = {reply}\n  condition = ${{if match{{$recipients}}{{user[35]@}}}}\n"
    with Exim(acls={when: statement}) as server:
        sent = converse(server, 6, window=window)
        assert sent.states == ["accepted", "accepted", state, "accepted", state, "accepted"]
        assert sent.outcome(3).words in reply
        assert recipients_of(server.copies()) == users([1, 2, 4, 6])


# Limits


@pytest.mark.parametrize("window", WINDOWS)
def test_a_message_that_is_too_large(window):
    """The size limit of the server is checked before anything is sent."""
    with Exim(main={"message_size_limit": 2000}) as server:
        sent = converse(server, Listed(envelope(1, data=TEXT * 1000), envelope(2)), window=window)
        assert sent.states == ["failed", "accepted"]
        assert recipients_of(server.copies()) == users([2])


@pytest.mark.parametrize("window", WINDOWS)
def test_a_rate_limit(window):
    """450 4.7.1 to MAIL, and 503 to all commands behind it: queued, and slower."""
    limit = "  defer message = 450 4.7.1 Slow down\n  ratelimit = 3 / 1h / per_mail / strict\n"
    with Exim(acls={"mail": limit}) as server:
        sent = converse(server, 9, window=window)
        assert sent.states == ["accepted"] * 3 + ["queued"] * 6
        refused = sent.outcome(4)
        assert (refused.stage, refused.reply.code, refused.slows_down) == (Stage.MAIL, 450, True)
        assert recipients_of(server.copies()) == users([1, 2, 3])


@pytest.mark.parametrize("window", WINDOWS)
def test_a_limit_of_messages_in_a_connection(window):
    """421 to MAIL, and Exim closes: messages before it are accepted, none behind it is unknown."""
    with Exim(main={"smtp_accept_max_per_connection": 4}) as server:
        sent = converse(server, 9, window=window)
        assert set(sent.states[4:]) == {"queued"}
        assert sent.states[:4] == ["accepted"] * 4
        assert (sent.outcome(5).reply.code, sent.outcome(5).slows_down) == (421, True)
        assert recipients_of(server.copies()) == users([1, 2, 3, 4])


def test_a_connection_at_its_message_limit():
    """421 at Exim's limit per connection: the next message is given back for a new connection, untried."""
    with Exim(main={"smtp_accept_max_per_connection": WELL_USED + 1}) as server:
        sent = converse(server, WELL_USED + 3)
        assert sent.states == ["accepted"] * (WELL_USED + 1)
        assert sent.supply.returned == [WELL_USED + 2]
        assert len(sent.supply.waiting) == 1
        assert recipients_of(server.copies()) == users(range(1, WELL_USED + 2))


def test_a_limit_of_connections_of_a_host():
    """421 instead of a banner: queued, and slower."""
    with Exim(main={"smtp_accept_max_per_host": 1}) as server:
        # Exim may not have noticed yet that those who asked whether it is ready are gone.
        with eventually(lambda: the_only_connection(server), "Exim takes a connection"):
            sent = converse(server, 1)
        assert (sent.refusal.stage, sent.refusal.reply.code, sent.refusal.slows_down) == (Stage.BANNER, 421, True)
        assert server.copies() == []


@pytest.mark.parametrize("window", WINDOWS)
def test_many_unknown_mailboxes_on_one_connection(exim, window):
    """Exim closes after too many RSET: this pauses nothing, and leaves nothing unknown. With messages in flight the
    limit is not reached.
    """
    dead = range(3, 30)
    exim.set_replies(dict.fromkeys(users(dead), "550 5.1.1 No such user"))
    before = exim.logged().count("too many nonmail commands")
    sent = converse(at(exim, exim.plain_port), 40, window=window)
    assert sent.states[:2] == ["accepted"] * 2
    assert set(sent.states[2:]) == {"refused"}
    assert len(sent.states) >= 2 + 8
    assert {outcome.pause for outcome in sent.supply.outcomes.values()} == {None}
    assert len(sent.states) + len(sent.supply.returned) + len(sent.supply.waiting) == 40
    assert recipients_of(exim.copies()) == users([1, 2])
    assert exim.logged().count("too many nonmail commands") == before + (window == 1)


# Whole drains


@pytest.mark.parametrize("window", WINDOWS)
def test_a_drain_over_several_connections(make_platform, exim, window):
    """STARTTLS and sign-in on each: every invitation arrives once, with its own Message-ID."""
    platform = make_platform(window=window)
    relay = add_relay(platform, exim, max_connections=4)
    platform.send(relay, 400)
    platform.drain(relay)
    assert platform.states() == {"accepted": 400}
    copies = exim.copies()
    assert recipients_of(copies) == users(range(1, 401))
    assert len({copy.message["Message-ID"] for copy in copies}) == 400
    assert {row.server.partition(" ")[0] for row in platform.attempts} == {"localhost"}


@pytest.mark.parametrize("window", WINDOWS)
def test_a_list_with_unknown_mailboxes(make_platform, exim, window):
    """Every tenth mailbox is unknown, and Exim closes connections over it: the others arrive once, in one drain."""
    dead = set(range(5, 400, 10))
    exim.set_replies(dict.fromkeys(users(dead), "550 5.1.1 No such user"))
    platform = make_platform(window=window)
    relay = add_relay(platform, exim, max_connections=2)
    platform.send(relay, 400)
    platform.drain(relay)
    found = states_by_number(platform)
    assert {number for number, state in found.items() if state == "refused"} == dead
    assert platform.states() == {"accepted": 360, "refused": 40}
    assert recipients_of(exim.copies()) == users(set(range(1, 401)) - dead)
    assert platform.relay(relay).state == "active"


@pytest.mark.parametrize("window", WINDOWS)
def test_temporary_refusals_are_retried(make_platform, exim, window):
    """Greylisting: the second attempt arrives, and messages accepted at once are not sent again."""
    later = (2, 5, 6)
    exim.set_replies(dict.fromkeys(users(later), "451 4.7.1 Greylisted"))
    platform = make_platform(window=window)
    relay = add_relay(platform, exim)
    platform.send(relay, 8)
    platform.drain(relay)
    assert platform.states() == {"accepted": 5, "queued": 3}
    exim.set_replies({})
    platform.drain_again(relay)
    assert platform.states() == {"accepted": 8}
    assert recipients_of(exim.copies()) == users(range(1, 9))
    assert len(platform.attempts) == 11


def test_limits_of_exim_are_respected(make_platform):
    """Few messages per connection, few connections: within a few drains all arrive, each once."""
    with Exim(main={"smtp_accept_max_per_connection": 5, "smtp_accept_max_per_host": 2}) as server:
        trust(server)
        platform = make_platform()
        relay = add_relay(platform, server, max_connections=4)
        platform.send(relay, 40)
        platform.drain(relay)
        for _more in range(20):
            if platform.states() == {"accepted": 40}:
                break
            eventually(server.is_idle, "Exim forgot the connections")
            platform.drain_again(relay)
        assert platform.states() == {"accepted": 40}
        assert recipients_of(server.copies()) == users(range(1, 41))
        assert platform.relay(relay).state == "active"


@pytest.mark.parametrize("window", WINDOWS)
def test_exim_killed_again_and_again(make_platform, redis_url, window):
    """During a drain: none is lost, none arrives twice, and no more are unknown than were in flight."""
    connections, kills, many = 2, 3, 300
    platform = make_platform(window=window)
    with Exim() as server:
        relay = platform.add_relay(server, max_connections=connections)
        with worker_for(platform, redis_url, window=window):
            for kill in range(kills):
                there = len(server.copies())
                platform.send(relay, users(range(kill * many, (kill + 1) * many)))
                eventually(lambda there=there: len(server.copies()) > there + 20, "some more arrived")
                server.kill()
                server.start()
            states = settled(platform)
        copies = recipients_of(server.copies())
    assert set(states) <= {"accepted", "unknown"}
    assert sum(states.values()) == kills * many
    assert states.get("unknown", 0) <= kills * connections * window
    assert len(copies) == len(set(copies))
    assert {row.address for row in platform.invitations if row.state == "accepted"} <= set(copies)
