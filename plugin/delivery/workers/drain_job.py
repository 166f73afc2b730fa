"""A job that drains: puts together what sends and what keeps the records, in one process or in two."""

from __future__ import annotations

import gc

from own_smtp.delivery.bookkeeping.bookkeeper import DatabaseBookkeeper
from own_smtp.delivery.bookkeeping.channel import ProcessChannel, ThreadChannel
from own_smtp.delivery.sending import event_loop
from own_smtp.delivery.sending.multi_drain import MultiDrain
from own_smtp.runtime import Runtime
from own_smtp.states import Route

LITTLE_GARBAGE = 20_000
"""Objects by which a sending process may grow before it looks for garbage: a message leaves next to none."""


def run_drains(runtime: Runtime, relay_id: int | None, route: Route = Route.RELAY) -> set[int]:
    """Run a worker's job to its end, in a thread without an event loop. Return relays that are due again."""
    channel = ThreadChannel(DatabaseBookkeeper(runtime), runtime.engine)
    return event_loop.run(MultiDrain(runtime, channel).run(relay_id, route))


def run_drains_forked(runtime: Runtime, relay_id: int | None, route: Route = Route.RELAY) -> set[int]:
    """Do the same with the records in a process of their own. For a process that does nothing else, without threads."""
    # What is there by now stays: looking through it again and again for garbage would cost a tenth of the time.
    gc.freeze()
    gc.set_threshold(LITTLE_GARBAGE)
    channel = ProcessChannel(DatabaseBookkeeper(runtime), runtime.engine)
    return event_loop.run(MultiDrain(runtime, channel).run(relay_id, route))
