"""Finds work that no job was enqueued for: due invitations, dead drains, unreported changes, unsent mails, due probes.

Every worker has one. They need not agree: a job that is enqueued twice finds the lease taken.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from own_smtp.delivery.bookkeeping.status_events import notify_overdue_changes
from own_smtp.delivery.due import find_due, find_fallbacks
from own_smtp.delivery.workers.recovery import recover_all
from own_smtp.delivery.workers.wakeup import Wakeup
from own_smtp.errors import JournalError
from own_smtp.operations.erasure import finish_erasures
from own_smtp.operations.relay_alerts import has_alerts
from own_smtp.operations.retention import Purge
from own_smtp.outbox import actions
from own_smtp.relays import confirmations, dry_runs, lifecycle
from own_smtp.runtime import Runtime
from own_smtp.states import RelayState
from own_smtp.storage import periodic
from own_smtp.storage.clock import db_now
from own_smtp.storage.models import Relay
from own_smtp.storage.periodic import PeriodicTasks

log = logging.getLogger(__name__)

AT_A_TIME = 200
WATCH_EVERY = timedelta(minutes=1)
PURGE_EVERY = timedelta(days=1)
PURGE_STEPS = 40
"""Steps of a purge between two rounds, so that due invitations do not wait for deletions."""
PATIENCE = 2.0
"""Seconds to wait for the host to take overdue changes; after that the round goes on beside it."""


class Dispatcher:
    """Makes a round of all duties at intervals. `session` gives the host's session inside an application context."""

    def __init__(self, runtime: Runtime, wakeup: Wakeup, session: Callable[[], Session]) -> None:
        self._runtime = runtime
        self._session = session
        self._wakeup = wakeup
        self._tasks = PeriodicTasks(runtime.engine, runtime.clock)
        self._stop = threading.Event()
        self._notifier: threading.Thread | None = None

    def run(self, parent: int) -> None:
        """Make rounds until asked to stop, or until the worker `parent` is gone."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda _signal, _frame: self._stop.set())
        interval = self._runtime.settings.dispatch_interval.total_seconds()
        while not self._stop.is_set() and os.getppid() == parent:
            self.look()
            self._stop.wait(interval)

    def look(self) -> None:
        """Make one round. A duty that fails does not keep the others from being done."""
        duties: tuple[Callable[[], object], ...] = (
            self._show_life,
            self._check_journal,
            self._recover,
            self._expire,
            self._end_deleted,
            self._probe,
            self._send_confirmations,
            self._look_after_tests,
            self._wake_due,
            self._fall_back,
            self._notify_overdue,
            self._finish_forgetting,
            self._purge,
            self._watch,
        )
        for duty in duties:
            if not self._try(duty):
                return

    @staticmethod
    def _try(duty: Callable[[], object]) -> bool:
        """Do it, and return whether the database could be reached."""
        try:
            duty()
        except (OperationalError, InterfaceError) as error:
            log.warning("The database cannot be reached (%s); looking again soon.", type(error).__name__)
            return False
        except Exception:  # one relay's bad data must not keep all the others waiting for ever
            log.exception("A duty failed; it is tried again in the next round.")
        return True

    def _check_journal(self) -> None:
        """Write a journal as a drain does, and record a failure for the health check."""
        try:
            self._runtime.machine.ensure_usable()
        except JournalError as error:
            if self._tasks.take(periodic.NO_JOURNAL, periodic.LOOK_EVERY):
                log.error("Nothing can be sent from this machine: %s", error)

    def _recover(self) -> None:
        recover_all(self._runtime)

    def _expire(self) -> None:
        with self._runtime.engine.connect() as connection:
            overdue = actions.expired_batches(connection)
        for batch_id in overdue:
            with self._runtime.engine.begin() as connection:
                actions.expire_batch(connection, batch_id)

    def _end_deleted(self) -> None:
        """Fail the waiting invitations of deleted relays: no drain will ever settle them."""
        with self._runtime.engine.connect() as connection:
            orphaned = actions.orphaned_relays(connection)
        for relay_id in orphaned:
            with self._runtime.engine.begin() as connection:
                actions.end_deleted(connection, relay_id)

    def _probe(self) -> None:
        """Try relays again whose pause was temporary."""
        with self._runtime.engine.begin() as connection:
            due = connection.scalars(
                select(Relay.id)
                .where(Relay.state == RelayState.PAUSED, Relay.probe_at <= db_now())
                .order_by(Relay.id)
                .limit(AT_A_TIME)
            ).all()
            for relay_id in due:
                lifecycle.probe(connection, relay_id)

    def _send_confirmations(self) -> None:
        with self._runtime.context():
            for task in confirmations.unsent(self._session()):
                self._wakeup.enqueue("send_confirmation", task.id)

    def _look_after_tests(self) -> None:
        """Enqueue tests whose jobs were lost, and delete old ones with their settings."""
        with self._runtime.context():
            session = self._session()
            if dry_runs.sweep(session):
                session.commit()
            for task in dry_runs.unstarted(session):
                self._wakeup.enqueue("run_test", task.id)
            session.rollback()

    def _wake_due(self) -> None:
        for relay_id in find_due(self._runtime, AT_A_TIME):
            if not self._wakeup.enqueue_drain(relay_id):
                return

    def _fall_back(self) -> None:
        for relay_id in find_fallbacks(self._runtime, AT_A_TIME):
            self._wakeup.enqueue("fall_back", relay_id)

    def _notify_overdue(self) -> None:
        """Runs in a thread of its own: a hook that hangs holds up nothing else."""
        if self._notifier is None or not self._notifier.is_alive():
            self._notifier = threading.Thread(target=self._notify, name="own-smtp-notifier", daemon=True)
            self._notifier.start()
        self._notifier.join(PATIENCE)

    def _notify(self) -> None:
        self._try(lambda: notify_overdue_changes(self._runtime))

    def _show_life(self) -> None:
        self._tasks.take(periodic.LOOK, periodic.LOOK_EVERY)

    def _finish_forgetting(self) -> None:
        finish_erasures(self._runtime.engine)

    def _purge(self) -> None:
        """Once a day for all machines: delete old rows, a few in each round."""
        engine = self._runtime.engine
        if self._tasks.take(periodic.PURGE, PURGE_EVERY):
            with engine.connect() as connection:
                settings = self._runtime.policy.in_force(connection)
            ages = {"content": settings.keep_content, "recipients": settings.keep_recipients}
            if not Purge(engine, self._runtime.vault, **ages).run(PURGE_STEPS).is_done:
                self._tasks.do_again(periodic.PURGE)

    def _watch(self) -> None:
        """Once a minute for all machines: enqueue the job that sends alerts: the platform's mail may be slow."""
        if self._tasks.take(periodic.ALERTS, WATCH_EVERY) and has_alerts(self._runtime):
            self._wakeup.enqueue("look_after_relays")
