"""Runs what somebody waits for in front of a page, beside a worker's drains."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

from own_smtp.current import Extension
from own_smtp.delivery.workers import confirmation_mails, dry_run_job
from own_smtp.relays import confirmations, dry_runs
from own_smtp.relays.urgent_tasks import UrgentKind, UrgentTask, UrgentTasks


class WorkerUrgentTasks(UrgentTasks):
    """The urgent tasks of one application. `context` makes the application context that each call runs in."""

    def __init__(self, extension: Extension, context: Callable[[], AbstractContextManager[object]]) -> None:
        self._extension = extension
        self._context = context

    def find(self, passed_over: Collection[str] = ()) -> list[UrgentTask]:
        with self._context():
            session = self._extension.db.session()
            return [*dry_runs.unstarted(session, passed_over), *confirmations.unsent(session, passed_over)]

    def run(self, task: UrgentTask) -> None:
        with self._context():
            if task.kind is UrgentKind.TEST:
                dry_run_job.perform_dry_run(task.id, self._extension)
            else:
                confirmation_mails.send_confirmation_mail(task.id, self._extension)
