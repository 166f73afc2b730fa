"""Tests and confirmation mails run beside the drains, and no tenant keeps a worker from the others."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection
from typing import Any

from own_smtp.delivery.workers.drain_job import run_drains
from own_smtp.delivery.workers.wakeup import Wakeup
from own_smtp.relays import confirmations
from own_smtp.relays.urgent_tasks import MOST, PER_TENANT, UrgentKind, UrgentTask
from own_smtp.settings import Settings
from own_smtp.states import RelayState
from own_smtp.storage.models import Confirmation, Relay
from tests.engine import Platform
from tests.scripted import HANG, ScriptedServer
from tests.servers.process import eventually
from tests.workers import settled, worker_for


class HeldUp:
    """Urgent tasks of which those of some tenants last until `go_on` is set."""

    def __init__(self, waiting: dict[str, int], slow: Collection[str]) -> None:
        self._lock = threading.Lock()
        self._left = [
            UrgentTask(UrgentKind.CONFIRMATION, number, tenant)
            for tenant, count in waiting.items()
            for number in range(count)
        ]
        self._slow = slow
        self.go_on = threading.Event()
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.most_at_a_time = 0
        self.done: Counter[str] = Counter()

    def find(self, passed_over: Collection[str] = ()) -> list[UrgentTask]:
        with self._lock:
            return [task for task in self._left if task.tenant_id not in passed_over]

    def run(self, task: UrgentTask) -> None:
        tenant = task.tenant_id
        with self._lock:
            self._left.remove(task)
            self.running[tenant] += 1
            self.most[tenant] = max(self.most[tenant], self.running[tenant])
            self.most_at_a_time = max(self.most_at_a_time, self.running.total())
        if tenant in self._slow:
            assert self.go_on.wait(60)
        with self._lock:
            self.running[tenant] -= 1
            self.done[tenant] += 1


def test_a_tenant_with_many_slow_servers_leaves_room_for_the_others(platform: Platform) -> None:
    """While all that its share allows hangs, another tenant's tasks and a third one's invitations go on."""
    urgent = HeldUp({"slow": 10, "quick": 5}, slow={"slow"})
    platform.with_parts(urgent=urgent)
    with ScriptedServer() as server:
        platform.send(platform.add_relay(server), 20)

        def watch() -> None:
            try:
                eventually(lambda: urgent.done["quick"] == 5 and len(server.copies) == 20, "the others are served")
            finally:
                urgent.go_on.set()

        watching = threading.Thread(target=watch)
        watching.start()
        run_drains(platform.runtime, None)
        watching.join()
    assert platform.states() == {"accepted": 20}
    assert urgent.done == {"slow": 10, "quick": 5}
    assert urgent.most["slow"] == PER_TENANT


def test_a_worker_runs_a_bounded_number_of_urgent_tasks(platform: Platform) -> None:
    """However many tenants wait, so that its threads and connections suffice."""
    tenants = {f"tenant-{number}": 3 for number in range(3 * MOST)}
    urgent = HeldUp(tenants, slow=())
    platform.with_parts(urgent=urgent)
    run_drains(platform.runtime, None)
    assert urgent.done == tenants
    assert urgent.most_at_a_time <= MOST


def test_one_task_that_breaks_down_does_not_end_the_others(platform: Platform, caplog: Any) -> None:
    """It is logged with its traceback; the next one runs, and invitations leave."""

    class Broken(HeldUp):
        def run(self, task: UrgentTask) -> None:
            super().run(task)
            if task.tenant_id == "broken":
                raise ZeroDivisionError

    urgent = Broken({"broken": 1, "whole": 2}, slow=())
    platform.with_parts(urgent=urgent)
    with ScriptedServer() as server:
        platform.send(platform.add_relay(server), 1)
        run_drains(platform.runtime, None)
    assert urgent.done == {"broken": 1, "whole": 2}
    assert platform.states() == {"accepted": 1}
    assert "The confirmation 0 could not be completed." in caplog.text


def test_a_lost_database_does_not_end_the_drains(platform: Platform) -> None:
    """Urgent tasks cannot even be looked for: the invitations leave all the same."""

    class Unreachable(HeldUp):
        def find(self, passed_over: Collection[str] = ()) -> list[UrgentTask]:
            raise ConnectionError

    platform.with_parts(urgent=Unreachable({}, slow=()))
    with ScriptedServer() as server:
        platform.send(platform.add_relay(server), 3)
        run_drains(platform.runtime, None)
    assert platform.states() == {"accepted": 3}


def ask(platform: Platform, server: ScriptedServer, tenant: str, count: int) -> list[int]:
    """Save unconfirmed servers of a tenant, and ask for the confirmation mail of each."""
    relays = [
        platform.add_relay(server, tenant_id=tenant, state=RelayState.UNCONFIRMED, confirmation_address=None)
        for _relay in range(count)
    ]
    own = platform.own_smtp
    with platform.app.app_context():
        session = own.db.session()
        asked = [
            confirmation.id
            for relay in relays
            for confirmation in confirmations.request_confirmation(
                session, own.settings, session.get_one(Relay, relay), user_id=f"somebody of {tenant}"
            )
        ]
        session.commit()
    return asked


def test_due_mails_are_found_tenant_by_tenant(platform: Platform, scripted: ScriptedServer) -> None:
    """A few of each, the first of each before the second ones; tenants that have their share are passed over."""
    many, few = ask(platform, scripted, "many", 10), ask(platform, scripted, "few", 1)
    found = platform.runtime.urgent.find()
    assert [task.id for task in found] == [many[0], few[0], many[1]]
    assert platform.runtime.urgent.find({"many"}) == [UrgentTask(UrgentKind.CONFIRMATION, few[0], "few")]


def test_one_worker_serves_all_while_servers_are_slow(platform: Platform, redis_url: str) -> None:
    """Ten servers of one tenant never greet. Another tenant's confirmation and a third one's invitations leave."""
    with ScriptedServer() as slow, ScriptedServer() as quick:
        slow.on("banner", HANG)
        ask(platform, slow, "slow", 10)
        [number] = ask(platform, quick, "quick", 1)
        platform.send(platform.add_relay(quick), 20)
        with worker_for(platform, redis_url):
            assert settled(platform) == {"accepted": 20}
            eventually(
                lambda: any(row.id == number and row.sent_at for row in platform.rows(Confirmation)), "it is confirmed"
            )
            # One job for each at most, however often the dispatcher found it in the meantime.
            assert (Wakeup(Settings(redis_url=redis_url)).depth() or 0) <= 12
            assert sum(row.sent_at is None for row in platform.rows(Confirmation)) == 10
