"""Between the books and the wires: each invitation that comes in leaves once, at the relay's pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from own_smtp.delivery.contract import AddressedInvitation
from own_smtp.delivery.retry_policy import RetryPolicy
from own_smtp.delivery.sending.composer import Composer
from own_smtp.delivery.sending.send_queue import GIVE_BACK, SendQueue
from own_smtp.errors import ContentError, LeaseLostError
from own_smtp.outbox.journal import JournalWriter, Machine, read_journal
from own_smtp.relays.rate_limits import Pacer
from own_smtp.settings import Settings
from own_smtp.smtp.replies.outcomes import Stage, classify, interrupted
from own_smtp.smtp.values import Envelope, Identity, Limits, RelayProfile, Reply
from own_smtp.states import Security, State

NOON = 1_790_000_000.0
TAKEN = Reply(code=250, text="taken")


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


class FakeComposer(Composer):
    """Composes without a database."""

    def __init__(self) -> None:
        super().__init__(PROFILE)

    def compose(self, letter: AddressedInvitation, date: str) -> Envelope:
        return Envelope(sender="a@a.example", recipient=letter.address, data=b"\r\n", invitation_id=letter.id)

    def batch(self, batch_id: int) -> Any:
        class Batch:
            expires_at = None

        return Batch


PROFILE = RelayProfile(
    relay_id=1,
    tenant_id="acme",
    label="Acme",
    host="mail.acme.example",
    port=587,
    security=Security.STARTTLS,
    credentials=None,
    fingerprint=None,
    identity=Identity(address="a@a.example"),
    envelope_sender="a@a.example",
    ehlo_name=None,
    limits=Limits(),
    revision=1,
)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine.at(tmp_path)


@pytest.fixture
def make_feed(machine: Machine) -> Callable[..., SendQueue]:
    def make(clock: Clock | None = None, **limits: Any) -> SendQueue:
        retries = RetryPolicy.from_settings(Settings(), lambda: 0.5)
        journal = JournalWriter(machine, f"{id(limits):x}")
        return SendQueue(FakeComposer(), Pacer(Limits(**limits), None, lambda: 0.5), journal, retries, clock or Clock())

    return make


def claimed(*ids: int) -> list[AddressedInvitation]:
    return [AddressedInvitation(id_, 1, f"user{id_}@example.org", 0, None, []) for id_ in ids]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_what_is_taken_in_comes_out_in_order(make_feed: Callable[..., SendQueue]) -> None:
    """Connections get invitations in the order of their claim, until there are no more."""

    async def work() -> None:
        queue = make_feed()
        queue.fill(claimed(1, 2, 3), lambda: True)
        queue.is_dry = True
        assert [envelope.invitation_id for envelope in iter(queue.take, None)] == [1, 2, 3]
        assert await queue.next() is None

    run(work())


def test_what_is_given_back_comes_first_again_and_counts_as_untried(make_feed: Callable[..., SendQueue]) -> None:
    """A connection that was gone before it was used costs the invitation nothing."""

    async def work() -> None:
        queue = make_feed()
        queue.fill(claimed(1, 2), lambda: True)
        first = queue.take()
        assert first is not None
        queue.give_back(first)
        assert queue.settlements == []
        again = queue.take()
        assert again is not None
        assert again.invitation_id == 1

    run(work())


def test_nothing_begins_without_the_lease(make_feed: Callable[..., SendQueue]) -> None:
    """When the lease may have run out, no end of a message is written, and the invitation is released."""

    async def work() -> None:
        queue = make_feed()
        queue.fill(claimed(1, 2), lambda: False)
        envelope = queue.take()
        assert envelope is not None
        with pytest.raises(LeaseLostError):
            queue.begin(envelope)
        assert queue.is_closed
        assert sorted(queue.abandon()) == [1, 2]
        assert queue.settlements == []

    run(work())


def test_the_journal_knows_of_a_message_before_its_end_is_written(machine: Machine) -> None:
    """After `begin` and before `end`, a reader of the journal finds the message as begun."""

    async def work() -> None:
        journal = JournalWriter(machine, "journal")
        retries = RetryPolicy.from_settings(Settings(), lambda: 0.5)
        queue = SendQueue(FakeComposer(), Pacer(Limits(), None, lambda: 0.5), journal, retries, Clock())
        queue.fill(claimed(1, 2), lambda: True)
        first, second = queue.take(), queue.take()
        assert first is not None
        assert second is not None
        queue.begin(first)
        queue.begin(second)
        queue.end(first, classify(Stage.MESSAGE, TAKEN))
        journal.close(delete=False)
        findings = read_journal(machine, "journal")
        assert findings is not None
        assert findings.begun == {2}
        assert findings.ended[1].outcome.state is State.ACCEPTED

    run(work())


def test_what_broke_down_on_the_wire_is_unknown_and_the_rest_is_released(make_feed: Callable[..., SendQueue]) -> None:
    """At the end, a message that was begun and never answered is `unknown`; those not begun wait again."""

    async def work() -> None:
        queue = make_feed()
        queue.fill(claimed(1, 2, 3), lambda: True)
        first, _second = queue.take(), queue.take()
        assert first is not None
        queue.begin(first)
        assert sorted(queue.abandon()) == [2, 3]
        assert [(item.invitation_id, item.state) for item in queue.settlements] == [(1, State.UNKNOWN)]

    run(work())


def test_a_wait_that_is_not_worth_a_worker_ends_the_drain(make_feed: Callable[..., SendQueue]) -> None:
    """With one message an hour the second one does not keep a connection waiting: the feed says when to come back."""

    async def work() -> None:
        queue = make_feed(min_interval=3600.0)
        queue.fill(claimed(1, 2), lambda: True)
        assert await queue.next() is not None
        assert await queue.next() is None
        assert queue.wake_at == NOON + 3600 > NOON + GIVE_BACK

    run(work())


def test_a_short_wait_is_waited_for(make_feed: Callable[..., SendQueue]) -> None:
    """A connection that asks too early gets the message as soon as the spacing allows it."""

    async def work() -> None:
        clock = Clock()
        queue = make_feed(clock, min_interval=0.05)
        queue.fill(claimed(1, 2), lambda: True)
        assert await queue.next() is not None
        waiting = asyncio.create_task(queue.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        clock.now += 0.05
        queue.announce()
        envelope = await waiting
        assert envelope is not None
        assert envelope.invitation_id == 2

    run(work())


def test_closing_lets_those_who_wait_go(make_feed: Callable[..., SendQueue]) -> None:
    """Whoever waits for work when the feed is closed gets none."""

    async def work() -> None:
        queue = make_feed()
        waiting = asyncio.create_task(queue.next())
        await asyncio.sleep(0)
        queue.close()
        assert await waiting is None

    run(work())


def test_a_reply_about_the_relay_closes_the_feed(make_feed: Callable[..., SendQueue]) -> None:
    """A refused sender is no recipient's fault: the invitation waits, and nobody else is tried."""

    async def work() -> None:
        queue = make_feed()
        queue.fill(claimed(1, 2), lambda: True)
        envelope = queue.take()
        assert envelope is not None
        queue.end(envelope, classify(Stage.MAIL, Reply(code=553, text="not yours")))
        assert queue.pause is not None
        assert queue.take() is None
        assert [(item.state, item.first_failure_at) for item in queue.settlements] == [(State.QUEUED, None)]

    run(work())


def test_one_greylisted_recipient_does_not_slow_the_others(make_feed: Callable[..., SendQueue]) -> None:
    """450 to one RCPT says nothing of the pace; to three in a row it does, and to MAIL at once."""

    async def work() -> None:
        later = Reply(code=450, text="greylisted", enhanced="4.7.1")
        queue = make_feed()
        queue.fill(claimed(*range(1, 20)), lambda: True)

        def end(stage: Stage, reply: Reply) -> None:
            envelope = queue.take()
            if envelope is None:
                raise AssertionError("The feed waits, although nothing should slow it down.")
            queue.end(envelope, classify(stage, reply))

        for stage, reply in [(Stage.RCPT, later), (Stage.RCPT, later), (Stage.MESSAGE, TAKEN), (Stage.RCPT, later)]:
            end(stage, reply)
        assert not queue.pacer.is_slowed
        end(Stage.MAIL, later)
        assert queue.pacer.is_slowed

    run(work())


def test_a_message_that_cannot_be_tried_again_in_time_is_given_up(make_feed: Callable[..., SendQueue]) -> None:
    """When the next attempt would lie beyond the horizon, the last failure was the last."""
    retries = RetryPolicy.from_settings(Settings(), lambda: 0.5)
    (invitation,) = claimed(1)
    outcome = interrupted(Stage.RCPT, "gone")
    assert retries.decide(invitation, outcome, NOON, None).state is State.QUEUED
    assert retries.decide(invitation, outcome, NOON, NOON + 1).state is State.FAILED


# Limits and the server's pace


def test_what_was_not_written_yet_holds_up_the_next_one(make_feed: Callable[..., SendQueue]) -> None:
    """A process that stands still between taking a message and writing it gives out no second one too early."""

    async def work() -> None:
        clock = Clock()
        queue = make_feed(clock, min_interval=0.5)
        queue.fill(claimed(1, 2, 3), lambda: True)
        assert queue.take() is not None
        clock.now += 0.5
        assert queue.take() is None  # nothing else ran: nobody knows when the first one was written
        clock.now += 0.5
        assert queue.take() is not None

    run(work())


def test_a_message_counts_from_the_turn_in_which_it_was_written(make_feed: Callable[..., SendQueue]) -> None:
    """When the event loop goes on, the message has left, and the spacing runs from there."""

    async def work() -> None:
        clock = Clock()
        queue = make_feed(clock, min_interval=0.5)
        queue.fill(claimed(1, 2), lambda: True)
        assert queue.take() is not None
        clock.now += 0.2
        await asyncio.sleep(0)
        assert queue.pacer.next_at(clock.now) == pytest.approx(NOON + 0.7, abs=1e-6)

    run(work())


BUSY = classify(Stage.MAIL, Reply(code=450, text="busy", enhanced="4.7.1"))


async def slow_down(queue: SendQueue, clock: Clock, seconds: int) -> None:
    """Let the server refuse one probe after the other for so long."""
    for _ in range(200):
        if clock.now >= NOON + seconds:
            return
        clock.now = max(clock.now, queue.pacer.next_at(clock.now))
        probe = queue.take()
        assert probe is not None
        await asyncio.sleep(0)  # it is written
        queue.end(probe, BUSY)
    raise AssertionError("The waits do not grow.")


def test_while_a_probe_is_under_way_its_answer_is_waited_for(make_feed: Callable[..., SendQueue]) -> None:
    """The next wait is long, but the answer may end it; when it does not, the drain is not kept waiting."""

    async def work() -> None:
        clock = Clock()
        queue = make_feed(clock)
        queue.fill(claimed(*range(1, 100)), lambda: True)
        await slow_down(queue, clock, 40)
        clock.now = queue.pacer.next_at(clock.now)
        probe = queue.take()
        assert probe is not None
        waiting = asyncio.create_task(queue.next())
        await asyncio.sleep(0)
        assert not queue.is_closed
        queue.end(probe, classify(Stage.MESSAGE, TAKEN))
        clock.now += 1.5  # longer than the first spacing after it
        assert await waiting is not None
        assert not queue.is_resting
        await slow_down(queue, clock, 200)
        assert await queue.next() is None
        assert queue.is_resting
        assert queue.wake_at == queue.pacer.next_at(clock.now) > clock.now + GIVE_BACK

    run(work())


def test_what_was_sent_before_the_request_does_not_end_the_wait(make_feed: Callable[..., SendQueue]) -> None:
    """Of four messages under way one is refused for the pace: that the others are taken says nothing of the next."""

    async def work() -> None:
        clock = Clock()
        queue = make_feed(clock)
        queue.fill(claimed(1, 2, 3, 4, 5, 6), lambda: True)
        sent = [envelope for _ in range(4) if (envelope := queue.take()) is not None]
        queue.end(sent[0], BUSY)
        queue.end(sent[1], classify(Stage.MESSAGE, TAKEN))
        assert queue.pacer.is_waiting
        queue.end(sent[2], BUSY)  # one more of them asks for the same
        queue.end(sent[3], classify(Stage.MESSAGE, TAKEN))
        assert queue.pacer.is_waiting
        clock.now += 0.6
        probe = queue.take()
        assert probe is not None
        queue.end(probe, classify(Stage.MESSAGE, TAKEN))
        assert not queue.pacer.is_waiting

    run(work())


def test_the_third_recipient_in_a_row_that_is_put_off_is_about_the_pace(make_feed: Callable[..., SendQueue]) -> None:
    """Greylisting puts off one or two; a message that is taken begins the count anew."""

    async def work() -> None:
        later = classify(Stage.RCPT, Reply(code=450, text="later", enhanced="4.7.1"))
        taken = classify(Stage.MESSAGE, TAKEN)
        queue = make_feed()
        queue.fill(claimed(*range(1, 20)), lambda: True)
        for outcome, is_slowed in [(later, False), (later, False), (taken, False), (later, False), (later, False)]:
            envelope = queue.take()
            assert envelope is not None
            queue.end(envelope, outcome)
            assert queue.pacer.is_slowed == is_slowed
        envelope = queue.take()
        assert envelope is not None
        queue.end(envelope, later)
        assert queue.pacer.is_slowed

    run(work())


# When more is claimed


def test_more_is_wanted_when_half_of_the_last_claim_has_left(make_feed: Callable[..., SendQueue]) -> None:
    """Whoever claims is woken just then; nothing is wanted once nothing more is due, or the end has come."""

    async def work() -> None:
        queue = make_feed()
        queue.fill(claimed(1, 2, 3, 4), lambda: True)
        queue.full.clear()
        assert queue.take() is not None
        assert not queue.wants_more
        assert not queue.full.is_set()
        assert queue.take() is not None
        assert queue.wants_more
        assert queue.full.is_set()
        queue.is_dry = True
        assert not queue.wants_more
        queue.is_dry = False
        queue.close()
        assert not queue.wants_more

    run(work())


def test_a_reserve_is_kept_however_little_was_claimed(make_feed: Callable[..., SendQueue]) -> None:
    """Two connections' worth of invitations is not waited out to the half."""

    async def work() -> None:
        queue = make_feed()
        queue.fill(claimed(1, 2, 3), lambda: True, reserve=2)
        assert not queue.wants_more
        assert queue.take() is not None
        assert queue.wants_more

    run(work())


def test_connections_get_all_that_is_here_before_they_end(make_feed: Callable[..., SendQueue]) -> None:
    """That nothing more is due ends nobody's work while something waits; that nothing waits ends it only then."""

    async def work() -> None:
        queue = make_feed()
        waiting = asyncio.create_task(queue.next())
        await asyncio.sleep(0)
        assert not queue.is_exhausted
        queue.fill(claimed(1, 2), lambda: True)
        queue.is_dry = True
        async with asyncio.timeout(5):
            assert await waiting is not None
        assert not queue.is_exhausted
        assert await queue.next() is not None
        assert queue.is_exhausted

    run(work())


def test_the_end_is_told_to_all_who_wait_for_it(make_feed: Callable[..., SendQueue]) -> None:
    """Those who write and claim too; nobody is told to come back later, where nothing rests."""

    async def work() -> None:
        queue = make_feed(min_interval=3600.0)
        queue.fill(claimed(1, 2), lambda: True)
        queue.full.clear()
        assert queue.take() is not None
        queue.full.clear()
        queue.close()
        assert queue.closed.is_set()
        assert queue.full.is_set()
        assert queue.wake_at is None

    run(work())


def test_a_message_that_cannot_be_made_fails_and_the_next_one_leaves(
    make_feed: Callable[..., SendQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is settled at once, and not left in hand until the drain ends."""
    compose = FakeComposer.compose

    def fail(composer: FakeComposer, letter: AddressedInvitation, date: str) -> Envelope:
        if letter.id == 1:
            raise ContentError("No such placeholder.")
        return compose(composer, letter, date)

    monkeypatch.setattr(FakeComposer, "compose", fail)
    queue = make_feed()
    queue.fill(claimed(1, 2), lambda: True)
    envelope = queue.take()
    assert envelope is not None
    assert envelope.invitation_id == 2
    assert [item.state for item in queue.settlements] == [State.FAILED]
    assert queue.unfinished == 1


def test_what_one_connection_gives_back_another_gets(make_feed: Callable[..., SendQueue]) -> None:
    """Also one that waits already."""

    async def work() -> None:
        queue = make_feed()
        queue.fill(claimed(1), lambda: True)
        first = queue.take()
        assert first is not None
        waiting = asyncio.create_task(queue.next())
        await asyncio.sleep(0)
        queue.give_back(first)
        async with asyncio.timeout(5):
            assert (await waiting) == first
        assert queue.abandon() == [1]
        assert (queue.unfinished, queue.abandon()) == (0, [])

    run(work())


def test_an_accepted_message_is_never_recorded_as_anything_else(
    make_feed: Callable[..., SendQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even for a moment: a crash would send it twice."""
    recorded: list[State] = []
    monkeypatch.setattr(JournalWriter, "end", lambda _writer, _id, outcome, _now: recorded.append(outcome.state))
    queue = make_feed()
    queue.fill(claimed(1), lambda: True)
    envelope = queue.take()
    assert envelope is not None
    queue.end(envelope, classify(Stage.MESSAGE, TAKEN))
    assert recorded == [State.ACCEPTED]
