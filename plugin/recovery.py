"""After a death: what a drain had claimed is settled from its journal, or becomes `unknown` where that is lost."""

from __future__ import annotations

import logging
from datetime import datetime

from own_smtp import ledger
from own_smtp.clock import read_clock
from own_smtp.config import Settings
from own_smtp.errors import JournalError
from own_smtp.journal import Findings, Machine, read_journal
from own_smtp.ledger import Claimed, Settlement
from own_smtp.models import Journal
from own_smtp.retries import RetryPolicy
from own_smtp.surroundings import Surroundings

log = logging.getLogger(__name__)


def recover_all(around: Surroundings) -> list[int]:
    """Settle what dead drains had claimed, and return the relays concerned.

    1. Written on this machine in this boot: the lock on its file tells whether the drain lives, the file what it did.
    2. Written on this machine in an earlier boot, or the file is gone: any claimed message may have been sent.
    3. Written on another machine: that one has the file. Only after a long silence it counts as lost.
    """
    with around.engine.connect() as connection:
        now = read_clock(connection)
        found = ledger.open_journals(connection)
        journals = [(journal, _is_silent(around.settings, journal, now)) for journal in found]
        live = {item.id for item, _silent in journals if ledger.has_live_lease(connection, item, now)}
    recovered = []
    for journal, is_silent in journals:
        if journal.machine == around.machine.name:
            if _recover_here(around, journal, may_be_new=journal.id in live):
                recovered.append(journal.relay_id)
        elif is_silent and journal.id not in live:
            _write(around, journal, None)
            recovered.append(journal.relay_id)
    return recovered


def _is_silent(settings: Settings, journal: Journal, now: datetime) -> bool:
    return journal.opened_at < now - settings.machine_grace - settings.slice


def _recover_here(around: Surroundings, journal: Journal, *, may_be_new: bool) -> bool:
    machine = around.machine
    if journal.boot != machine.boot:
        _write(around, journal, None)
        return True
    try:
        findings = read_journal(machine, journal.name)
    except JournalError as error:
        if may_be_new:
            return False  # its drain is about to delete it, having settled everything
        log.error("%s What it had claimed becomes unknown.", error)
        _write(around, journal, None)
        return True
    if findings is None:
        return False
    _write(around, journal, findings)
    return True


def _write(around: Surroundings, journal: Journal, findings: Findings | None) -> None:
    settlements = [] if findings is None else _settlements(around, findings)
    with around.engine.begin() as connection:
        if ledger.take_over_journal(connection, journal.id):
            ledger.recover(connection, journal, findings, settlements, tells_host=around.listener.wants_changes)
    log.warning("Relay %s: recovered what a dead worker had claimed.", journal.relay_id)
    if journal.machine == around.machine.name:
        _delete(around.machine, journal)


def _delete(machine: Machine, journal: Journal) -> None:
    machine.path(journal.name).unlink(missing_ok=True)


def _settlements(around: Surroundings, findings: Findings) -> list[Settlement]:
    """What the journal knows. Waits begin anew: how often an invitation had failed before, the journal does not say."""
    retries = RetryPolicy.from_settings(around.settings, around.random)
    return [
        retries.decide(_stand_in(invitation_id), ended.outcome, ended.at, None)
        for invitation_id, ended in findings.ended.items()
    ]


def _stand_in(invitation_id: int) -> Claimed:
    return Claimed(invitation_id, 0, "", "", "", None, None, 0, None)
