"""What RQ calls in a worker's process, inside the application context that the worker was started in.

A job names what it was enqueued for, and does that first. Its process then goes on with whatever else is due, drains
and urgent tasks alike, so that neither kind keeps all workers from the other.
"""

from __future__ import annotations

from own_smtp.current import extension
from own_smtp.delivery.workers.drain_job import run_drains_forked
from own_smtp.operations.relay_alerts import send_alerts
from own_smtp.states import Route


def drain(relay_id: int) -> None:
    """Deliver what is due for a relay, and wake a worker for what is due again."""
    _work(relay_id)


def fall_back(relay_id: int) -> None:
    """Deliver by the platform's own mail what its project does not let wait for the relay any longer."""
    _work(relay_id, Route.PLATFORM)


def send_confirmation(_confirmation_id: int) -> None:
    """Send the mail with the link that activates a relay, unless a busy worker has sent it by now."""
    _work(None)


def run_test(_test_id: int) -> None:
    """Try settings that somebody typed, step by step, while the page shows it; unless a busy worker did it by now."""
    _work(None)


def _work(relay_id: int | None, route: Route = Route.RELAY) -> None:
    own_smtp = extension()
    for due_again in run_drains_forked(own_smtp.runtime, relay_id, route):
        own_smtp.enqueue_drain(due_again)


def look_after_relays() -> None:
    """Alert the owners of relays of what is wrong, and of what is right again."""
    send_alerts(extension().runtime)
