"""The connection: one deadline per phase, no unexpected reply, and certainty about unsent octets."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from own_smtp.errors import SessionError
from own_smtp.smtp.connection import Connection
from own_smtp.smtp.interruptions import ConnectionLostError, UnaskedReplyError
from own_smtp.smtp.network import Connected, Target, dial
from own_smtp.smtp.replies.parser import ReplyError
from tests.scripted import (
    CLOSE,
    GARBAGE,
    HANG,
    RESET,
    Authority,
    ClosedPort,
    Endless,
    ScriptedServer,
    SilentPort,
    Trickle,
    huge_line,
    multiline,
)

TINY = 4096
"""A receive buffer so small that a server which does not read is felt soon."""


def over(server: Any, talk: Callable[[Connection], Awaitable[Any]]) -> Any:
    """Connect, run `talk`, and close. Returns the result of `talk`."""

    async def run() -> Any:
        connected = await dial(Target(host="localhost", port=server.port, addresses=("127.0.0.1",)), 5)
        try:
            return await talk(connected.connection)
        finally:
            connected.connection.drop()

    return asyncio.run(run())


async def banner(wire: Connection, seconds: float = 0.2) -> Any:
    return await wire.read("the banner", seconds)


async def lost(wire: Connection, seconds: float = 5.0) -> SessionError:
    """Wait until the connection has failed, and return the failure."""
    with contextlib.suppress(SessionError):
        async with asyncio.timeout(seconds):
            while True:
                await wire._wait()
                wire._replies.clear()
    assert wire.failure is not None
    return wire.failure


async def until(condition: Callable[[], bool]) -> None:
    """Run the loop until the condition holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 -- nothing in the code under test is there to be waited for
            await asyncio.sleep(0)


# Deadlines


@pytest.mark.parametrize(
    "behaviour",
    [HANG, Trickle("220 " + "x" * 1000, interval=0.01), Trickle(multiline(220, *["x"] * 99), interval=0.01)],
)
def test_a_phase_has_one_deadline_as_a_whole(scripted, behaviour):
    """Single bytes now and then do not extend it."""
    scripted.on("banner", behaviour)
    with pytest.raises(ConnectionLostError, match="took too long for the banner"):
        over(scripted, banner)


def test_silence_ends_at_the_deadline():
    """The deadline also applies if no byte arrives at all."""
    with SilentPort() as port, pytest.raises(ConnectionLostError, match="too long"):
        over(port, banner)


def test_the_clock_rests_while_nothing_is_expected(scripted):
    """An idle connection outlives the deadline of its last command."""

    async def talk(wire: Connection) -> bool:
        await banner(wire, 0.1)
        wire.rest()
        await asyncio.sleep(0.2)
        wire.write(b"NOOP\r\n", replies=1)
        return (await wire.read("NOOP", 5)).is_positive

    assert over(scripted, talk)


def test_a_shorter_deadline_replaces_a_longer_one(scripted):
    """The deadline of the previous phase does not apply to this one."""
    scripted.on("noop", HANG)

    async def talk(wire: Connection) -> None:
        wire.begin("everything", 60)
        await banner(wire, 60)
        wire.write(b"NOOP\r\n", replies=1)
        await wire.read("NOOP", 0.1)

    with pytest.raises(ConnectionLostError, match="NOOP"):
        over(scripted, talk)


def test_a_longer_deadline_replaces_a_shorter_one(scripted):
    """A phase that ended in time leaves no timer that ends the next phase."""
    scripted.on("noop", Trickle("250 ok", interval=0.03))

    async def talk(wire: Connection) -> int:
        await banner(wire, 0.1)
        wire.write(b"NOOP\r\n", replies=1)
        return (await wire.read("NOOP", 5)).code

    assert over(scripted, talk) == 250


# Hostile servers


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (Endless(b"220-more\r\n"), "does not end"),
        (Endless(b"220 more\r\n"), "unexpected reply"),
        (Endless(b"x"), "no SMTP reply"),
        (Endless(b"\r\n"), "no SMTP reply"),
        (huge_line(220), "does not end"),
        (multiline(220, *["x" * 4000] * 20), "does not end"),
        (GARBAGE, "no SMTP reply"),
        (b"220-first\r\n250 second\r\n", "different codes"),
    ],
)
def test_input_beyond_the_limits_ends_the_connection(scripted, behaviour, error):
    """At once, and in bounded memory."""
    scripted.on("banner", behaviour)
    tracemalloc.start()
    try:
        assert error in str(over(scripted, lost))
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_an_extra_reply_ends_the_connection(scripted):
    """The expected reply can be read, and then nothing more."""
    scripted.on("noop", "250 asked\n250 not asked")

    async def talk(wire: Connection) -> tuple[str, SessionError | None]:
        await banner(wire)
        wire.write(b"NOOP\r\n", replies=1)
        reply = await wire.read("NOOP", 5)
        with pytest.raises(UnaskedReplyError):
            await wire.read("more", 5)
        return reply.text, wire.failure

    text, failure = over(scripted, talk)
    assert (text, failure.reply.text) == ("asked", "not asked")


def test_an_unexpected_421_is_kept(scripted):
    """The next write raises it as the reason why nothing can be sent."""

    async def talk(wire: Connection) -> SessionError:
        await banner(wire)
        scripted.connections[0].interject("421 4.3.2 going down")
        failure = await lost(wire)
        with pytest.raises(UnaskedReplyError):
            wire.write(b"NOOP\r\n", replies=1)
        return failure

    assert over(scripted, talk).reply.code == 421


def test_half_an_unexpected_reply_is_not_completed_by_the_next(scripted):
    """An incomplete `25`, sent without a command, must not become part of the reply to the next command."""

    async def talk(wire: Connection) -> None:
        await banner(wire)
        scripted.connections[0].interject(b"25")
        await until(lambda: not wire.is_quiet)
        wire.write(b"NOOP\r\n", replies=1)

    with pytest.raises(ConnectionLostError, match="unexpected reply"):
        over(scripted, talk)


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_a_reply_before_the_end_counts(scripted, end):
    """An expected reply that arrived is read, whatever happened right behind it."""
    scripted.on("quit", ("221 bye", end))

    async def talk(wire: Connection) -> int:
        await banner(wire)
        wire.write(b"QUIT\r\n", replies=1)
        code = (await wire.read("QUIT", 5)).code
        await lost(wire)
        return code

    assert over(scripted, talk) == 221


def test_an_incomplete_reply_is_not_a_reply(scripted):
    """Half a line and the end of the connection are not a reply."""
    scripted.on("noop", (b"250 2.0.0 acc", CLOSE))

    async def talk(wire: Connection) -> None:
        await banner(wire)
        wire.write(b"NOOP\r\n", replies=1)
        await wire.read("NOOP", 5)

    with pytest.raises(ConnectionLostError):
        over(scripted, talk)


# What never left


async def flood(wire: Connection, message: bytes, after: bytes) -> tuple[bool, bool]:
    """Write to a server that does not read; return whether the message, and its first octet, never left."""
    await banner(wire)
    start = wire.position
    wire.write(message + after, replies=1)
    end = start + len(message)
    with pytest.raises(ConnectionLostError, match="too long"):
        await wire.read("the reply", 0.2)
    return wire.never_left(end), wire.never_left(start + 1)


@pytest.fixture(params=["plain", "tls"])
def deaf(request, trusted: Authority):
    """A server that sends its banner and then reads nothing, and the function that connects to it."""
    tls = trusted.server_context() if request.param == "tls" else None
    with ScriptedServer(tls=tls, implicit_tls=tls is not None, receive_buffer=TINY) as server:
        server.on("banner", ("220 ready", HANG))
        yield server, secure(trusted) if tls else None


def secure(trusted: Authority) -> ssl.SSLContext:
    return trusted.client_context()


def over_either(
    deaf: tuple[ScriptedServer, ssl.SSLContext | None], talk: Callable[[Connection], Awaitable[Any]]
) -> Any:
    server, context = deaf

    async def upgraded(wire: Connection) -> Any:
        if context is not None:
            await wire.upgrade(context, "localhost", 5)
        return await talk(wire)

    return over(server, upgraded)


def test_buffered_octets_cannot_have_arrived(deaf):
    """A message whose end was not passed to the kernel was certainly not accepted; its beginning may have arrived."""
    ended, begun = over_either(deaf, lambda wire: flood(wire, b"x" * 30_000_000, b""))
    assert ended
    assert not begun


def test_octets_passed_to_the_kernel_may_have_arrived(deaf):
    """A small message left this process although the server read nothing: nothing is certain."""
    assert over_either(deaf, lambda wire: flood(wire, b"x" * 1000, b"")) == (False, False)


def test_octets_behind_a_message_do_not_count_for_it(deaf):
    """Only the envelope of the next message may be left in the buffer."""
    ended, _begun = over_either(deaf, lambda wire: flood(wire, b"x" * 1000, b"y" * 30_000_000))
    assert not ended


def test_room_means_that_everything_left(deaf):
    """A server that does not read blocks the sender until the deadline."""

    async def talk(wire: Connection) -> None:
        await banner(wire)
        wire.begin("the message text", 0.2)
        wire.write(b"x" * 30_000_000, replies=0)
        await wire.has_room()

    with pytest.raises(ConnectionLostError, match="the message text"):
        over_either(deaf, talk)


def test_nothing_leaves_after_a_failure():
    """Data that was buffered at the deadline is discarded, not sent when the server reads again."""
    with ScriptedServer(receive_buffer=TINY) as server:
        server.on("banner", ("220 ready", HANG))

        async def talk(wire: Connection) -> int:
            with contextlib.suppress(ConnectionLostError):
                await flood(wire, b"x" * 30_000_000, b"")
            assert wire._raw is not None
            return wire._raw.get_write_buffer_size()

        assert over(server, talk) == 0


def test_writing_to_a_lost_connection_raises(scripted):
    """The writer learns at once that the data is never sent."""
    scripted.on("noop", RESET)

    async def talk(wire: Connection) -> None:
        await banner(wire)
        wire.write(b"NOOP\r\n", replies=1)
        await lost(wire)
        wire.write(b"NOOP\r\n", replies=1)

    with pytest.raises(ConnectionLostError):
        over(scripted, talk)


# Opening, upgrading, telling about itself


def test_the_next_address_is_tried(scripted):
    """The first address that accepts the connection is used, and reported."""
    target = Target(host="mail.example", port=scripted.port, addresses=("127.0.0.9", "127.0.0.1"))

    async def run() -> Connected:
        connected = await dial(target, 5)
        connected.connection.drop()
        return connected

    assert asyncio.run(run()).address == "127.0.0.1"


def test_no_address_answers():
    """The last failure is raised."""
    with ClosedPort() as port, pytest.raises(ConnectionRefusedError):
        asyncio.run(dial(Target(host="x", port=port.port, addresses=("127.0.0.1", "127.0.0.2")), 5))


def test_a_handshake_that_hangs_ends_in_time(trusted):
    """The TLS handshake has a deadline like every phase."""
    with ScriptedServer(tls=trusted.server_context(), implicit_tls=True) as server:
        server.on("tls", HANG)
        with pytest.raises(ConnectionAbortedError):
            over(server, lambda wire: wire.upgrade(trusted.client_context(), "localhost", 0.2))


def test_plain_text_before_tls_is_not_accepted(trusted):
    """A server that sends plain text where TLS had to begin is refused."""
    with ScriptedServer() as server:

        async def talk(wire: Connection) -> None:
            await wire._wait()
            await wire.upgrade(trusted.client_context(), "localhost", 5)

        with pytest.raises(ReplyError, match="plain text"):
            over(server, talk)


def test_its_repr_shows_its_state(scripted):
    """For logs: its phase, and whether it is usable."""

    async def talk(wire: Connection) -> tuple[str, str, str]:
        fresh = repr(wire)
        await banner(wire)
        address = wire.local_address
        wire.drop()
        return fresh, address, repr(wire)

    fresh, address, gone = over(scripted, talk)
    assert "1 owed" in fresh
    assert address == "127.0.0.1"
    assert "lost" in gone


def test_an_unconnected_connection_is_unusable():
    """It has neither TLS nor a transport."""

    async def run() -> None:
        wire = Connection(asyncio.get_running_loop())
        assert wire.tls is None
        with pytest.raises(ConnectionLostError):
            wire.write(b"NOOP\r\n", replies=1)
        wire.drop()

    asyncio.run(run())
