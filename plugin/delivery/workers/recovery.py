"""Settles the claims of dead drains from their journals; where a journal is lost they become `unknown`."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy.exc import InterfaceError, OperationalError

from own_smtp.delivery.retry_policy import RetryPolicy
from own_smtp.errors import JournalError
from own_smtp.outbox import actions, leases
from own_smtp.outbox.closing import recover
from own_smtp.outbox.journal import Machine, read_journal
from own_smtp.outbox.journal_lines import Findings
from own_smtp.outbox.settlements import finish_batches
from own_smtp.outbox.values import Claimed, Settlement
from own_smtp.runtime import Runtime
from own_smtp.settings import Settings
from own_smtp.states import Route
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Journal

log = logging.getLogger(__name__)

LEFTOVERS_KEPT = timedelta(days=30)


def recover_all(runtime: Runtime) -> list[int]:
    """Settle the claims of dead drains, and return the relays concerned.

    1. Written on this machine in this boot: the lock on its file tells whether the drain lives, the file what it did.
    2. Written on this machine in an earlier boot, or the file is gone: any claimed message may have been sent.
    3. Written on another machine: that one has the file. Only after a long silence it counts as lost.

    A drain whose lease is kept alive is never taken for dead without its lock: the folder may be shared by machines.
    """
    with runtime.engine.connect() as connection:
        now = read_clock(connection)
        found = leases.open_journals(connection)
        journals = [(journal, _is_silent(runtime.settings, journal, now)) for journal in found]
        live = {item.id for item, _silent in journals if leases.has_live_lease(connection, item, now)}
    _delete_leftovers(runtime.machine, {journal.name for journal in found})
    return [
        journal.relay_id
        for journal, is_silent in journals
        if _try_to_recover(runtime, journal, is_live=journal.id in live, is_silent=is_silent)
    ]


def _delete_leftovers(machine: Machine, known: set[str]) -> None:
    """Delete files that processes left which died between their last commit and the deletion.

    Only after a long time: a file may belong to another platform's database that uses the same folder.
    """
    oldest = time.time() - LEFTOVERS_KEPT.total_seconds()
    for path in machine.folder.glob("*.journal"):
        with suppress(FileNotFoundError):
            if path.stem not in known and path.stat().st_mtime < oldest:
                path.unlink()


def _try_to_recover(runtime: Runtime, journal: Journal, *, is_live: bool, is_silent: bool) -> bool:
    try:
        return _recover_one(runtime, journal, is_live=is_live, is_silent=is_silent)
    except (OperationalError, InterfaceError):
        raise  # the database cannot be reached: the other relays would fail as well
    except Exception:  # one relay that cannot be settled must not hold up the others
        log.exception("Relay %s cannot be recovered; trying again soon.", journal.relay_id, extra=_about(journal))
        return False


def _recover_one(runtime: Runtime, journal: Journal, *, is_live: bool, is_silent: bool) -> bool:
    machine = runtime.machine
    if journal.machine != machine.name:
        return is_silent and not is_live and _write(runtime, journal, None)
    if journal.boot != machine.boot:
        return not is_live and _write(runtime, journal, None)
    try:
        findings = read_journal(machine, journal.name)
    except JournalError as error:
        # With a live lease, its drain is about to delete the file, having settled everything.
        return not is_live and _write(runtime, journal, None, str(error))
    return findings is not None and _write(runtime, journal, findings)


def _is_silent(settings: Settings, journal: Journal, now: datetime) -> bool:
    return journal.opened_at < now - settings.machine_grace - settings.slice


def _write(runtime: Runtime, journal: Journal, findings: Findings | None, problem: str = "") -> bool:
    settlements = [] if findings is None else _settlements(runtime, findings, Route(journal.route))
    with runtime.engine.begin() as connection:
        if not leases.take_over_journal(connection, journal):
            return False  # settled meanwhile, by its drain or by another worker
        recover(connection, journal, findings, settlements, tells_host=runtime.listener.wants_changes)
        actions.sweep_cancelled(connection, journal.relay_id)
        finish_batches(connection, journal.relay_id)
    if findings is None:
        text = "Relay %s: the claims of a dead worker are unknown now. %s"
        log.error(text, journal.relay_id, problem, extra=_about(journal))
    else:
        log.warning("Relay %s: recovered the claims of a dead worker.", journal.relay_id, extra=_about(journal))
    if journal.machine == runtime.machine.name:
        runtime.machine.path(journal.name).unlink(missing_ok=True)
    return True


def _settlements(runtime: Runtime, findings: Findings, route: Route) -> list[Settlement]:
    """Return the outcomes in the journal. Retries begin anew: it does not say how often an invitation had failed."""
    retries = RetryPolicy.from_settings(runtime.settings, runtime.random, route)
    return [
        retries.decide(_stand_in(invitation_id), ended.outcome, ended.at, None)
        for invitation_id, ended in findings.ended.items()
    ]


def _stand_in(invitation_id: int) -> Claimed:
    return Claimed(invitation_id, 0, "", "", "", None, None, 0, None)


def _about(journal: Journal) -> dict[str, int]:
    return {"relay_id": journal.relay_id}
