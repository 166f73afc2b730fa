"""What RQ calls in a worker's process, inside the application context that the worker was started in."""

from __future__ import annotations

from own_smtp.current import extension
from own_smtp.delivery.workers import confirmation_mails, dry_run_job
from own_smtp.delivery.workers.drain_job import run_drains_forked
from own_smtp.operations.relay_alerts import look_after
from own_smtp.states import Route


def drain(relay_id: int) -> None:
    """Deliver what is due for a relay, and wake a worker for what is due again."""
    own_smtp = extension()
    own_smtp.job_started(relay_id)
    for due_again in run_drains_forked(own_smtp.runtime, relay_id):
        own_smtp.enqueue_drain(due_again)


def fall_back(relay_id: int) -> None:
    """Deliver by the platform's own mail what its project does not let wait for the relay any longer."""
    run_drains_forked(extension().runtime, relay_id, Route.PLATFORM)


def send_confirmation(confirmation_id: int) -> None:
    """Send the mail with the link that activates a relay."""
    confirmation_mails.send_confirmation_mail(confirmation_id, extension())


def run_test(test_id: int) -> None:
    """Try settings that somebody typed, step by step, while the page shows it."""
    dry_run_job.perform_dry_run(test_id, extension())


def look_after_relays() -> None:
    """Alert the owners of relays of what is wrong, and of what is right again."""
    look_after(extension().runtime)
