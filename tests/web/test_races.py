"""Several people, or several clicks, at the same moment: over HTTP, on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, build_opener

import pytest
from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from own_smtp.hooks.events import Invitation, InvitationBatch, Tenant
from own_smtp.outbox import actions
from own_smtp.outbox.leases import lock_leases
from own_smtp.relays import confirmations, dry_runs, lifecycle
from own_smtp.relays.dry_runs import Kept
from own_smtp.relays.store import PASSWORD_FIELD, load_profile
from own_smtp.states import TEST_PROJECT, PauseReason, RelayState
from own_smtp.storage.encryption import new_token
from own_smtp.storage.engine import begin_read_committed
from own_smtp.storage.models import Base, Batch, Confirmation, PolicyValue, Relay, RelayTest
from tests.engine import CONTENT
from tests.servers.process import eventually
from tests.web.app import ThinExtension, build_app
from tests.web.drafts import TYPED, add_relay, draft, send_mail
from tests.web.test_views_admin import OPEN

pytestmark = pytest.mark.exhaustive

ROUNDS = 40
"""Without the locks one round in two or three fails."""


class _Here(HTTPRedirectHandler):
    """Does not follow redirects: the response to the click itself counts."""

    def redirect_request(self, *_arguments: object) -> None:
        return None


@dataclass
class Site:
    """The pages on a threaded server."""

    thin: ThinExtension
    address: str
    within: Callable[[], Any]

    def press(self, *presses: tuple[str, dict[str, str]]) -> list[int]:
        """Post all of these at the same moment, and return the status codes."""
        together = threading.Barrier(len(presses))

        def post(press: tuple[str, dict[str, str]]) -> int:
            path, typed = press
            together.wait()
            try:
                with build_opener(_Here).open(self.address + path, urlencode(typed).encode(), timeout=60) as answer:
                    return int(answer.status)
            except HTTPError as answer:
                return answer.code

        with ThreadPoolExecutor(len(presses)) as people:
            return list(people.map(post, presses))

    def count(self, model: type[Base], *where: Any) -> int:
        """Return the number of rows."""
        with self.session() as session:
            return session.scalar(select(func.count()).select_from(model).where(*where)) or 0

    def waits_for_a_lock(self) -> bool:
        """Whether a transaction waits for another one. SQLite does not report it, and has one writer in any case."""
        queries = {
            "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
            # Not `innodb_trx`: it returns old data when queried more often than ten times a second.
            "mariadb": "SELECT variable_value FROM information_schema.global_status"
            " WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'",
        }
        with self.session() as session:
            query = queries.get(session.get_bind().dialect.name.replace("mysql", "mariadb"))
            return query is None or int(session.scalar(text(query)) or 0) > 0

    def session(self) -> Session:
        """Return a session besides those of the pages."""
        with self.within():
            return Session(self.thin.db.engine, expire_on_commit=False)


@pytest.fixture
def site(migrated_url: str) -> Iterator[Site]:
    app = build_app(migrated_url, tests_per_tenant=5, test_mails_per_tenant=3, relays_per_tenant=9)
    thin = cast("ThinExtension", app.extensions["own_smtp"])
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Site(thin, f"http://127.0.0.1:{server.server_port}/own-smtp", app.app_context)
    server.shutdown()
    thread.join()
    server.server_close()
    with app.app_context():
        thin.db.engine.dispose()


def failures(codes: list[int]) -> list[int]:
    """Return the responses that no person should ever see."""
    return [code for code in codes if code >= 500]


def test_an_edit_and_the_link_at_one_moment_leave_nothing_active_that_nobody_confirmed(site: Site) -> None:
    """In any order: the new server and the new sender require a new link, and no person sees an error."""
    found: Counter[str] = Counter()
    for number in range(ROUNDS):
        token = new_token()
        with site.session() as session:
            relay = add_relay(session, site.thin)
            confirmations.request_confirmation(session, site.thin.settings, relay, user_id=f"user {number}")
            send_mail(session, relay, token)
            session.commit()
        codes = site.press(
            (f"/confirm/{token}", {}),
            (
                f"/servers/{relay.id}/edit",
                TYPED | {"host": "mail.evil.example", "sender_address": "boss@victim.example"},
            ),
        )
        with site.session() as session:
            after = session.get_one(Relay, relay.id)
            session.delete(session.merge(after))
            session.query(Confirmation).filter_by(relay_id=relay.id).delete()
            session.commit()
        found.update(["error"] * len(failures(codes)))
        found["wrong"] += (after.host, after.state) != ("mail.evil.example", RelayState.UNCONFIRMED)
    assert found == {"wrong": 0}


def test_two_edits_at_one_moment_leave_one_of_them(site: Site) -> None:
    """The password typed for one server is never stored with another, and a drain notices both edits."""
    wrong = 0
    with site.session() as session:
        relay = add_relay(session, site.thin, active=True)
    for number in range(ROUNDS):
        with site.session() as session:
            before = session.get_one(Relay, relay.id).revision
        edits = [{"host": f"{name}{number}.example", "password": f"for {name}{number}.example"} for name in "ab"]
        codes = site.press(*((f"/servers/{relay.id}/edit", TYPED | edit) for edit in edits))
        with site.session() as session:
            after = session.get_one(Relay, relay.id)
        password = site.thin.vault.decrypt(after.password or "", tenant_id="acme", field=PASSWORD_FIELD)
        is_good = password == f"for {after.host}" and after.revision == before + 2
        wrong += bool(failures(codes)) or not is_good
    assert wrong == 0


def test_tests_are_counted_one_after_the_other(site: Site) -> None:
    """Twelve clicks at a limit of five create five tests."""
    with site.session() as session:
        relay = add_relay(session, site.thin)
    codes = site.press(*[(f"/servers/{relay.id}/test", {})] * 12)
    assert (site.count(RelayTest), failures(codes)) == (5, [])


def test_confirmation_mails_are_counted_one_after_the_other(site: Site) -> None:
    """Six clicks within a minute send one mail."""
    with site.session() as session:
        relay = add_relay(session, site.thin)
    codes = site.press(*[(f"/servers/{relay.id}/confirmation", {})] * 6)
    assert (site.count(Confirmation), len(site.thin.jobs), failures(codes)) == (1, 1, [])


def test_servers_are_counted_one_after_the_other(site: Site) -> None:
    """Of seven simultaneous saves with room for two, two succeed."""
    with site.session() as session:
        for number in range(7):
            add_relay(session, site.thin, label=f"Server {number}")
    codes = site.press(*[("/servers/new", TYPED)] * 7)
    assert (site.count(Relay), sorted(codes)) == (9, [302] * 2 + [409] * 5)


def test_a_test_is_saved_once(site: Site) -> None:
    """Eight clicks on "save" after a test create one server, from the test's page and from the form."""
    with site.session() as session:
        wanted = {"kept": Kept(draft(), {}), "tenant_id": "acme", "user_id": "alice", "relay": None}
        test_ids = [
            dry_runs.request_run(session, site.thin.vault, site.thin.settings, **wanted).id for _page in range(2)
        ]
        session.commit()
    for saved, path in enumerate((f"/tests/{test_ids[0]}/save", f"/servers/new?test={test_ids[1]}"), start=1):
        codes = site.press(*[(path, TYPED)] * 8)
        assert (site.count(Relay), failures(codes)) == (saved, [])


def test_test_mails_are_counted_one_after_the_other(site: Site) -> None:
    """Eight clicks at a limit of three send three."""
    with site.session() as session:
        relay = add_relay(session, site.thin, active=True)
    codes = site.press(*[(f"/servers/{relay.id}/test-mail", {})] * 8)
    assert (site.count(Batch, Batch.project_id == TEST_PROJECT), failures(codes)) == (3, [])


def test_a_project_is_switched_by_two_people(site: Site) -> None:
    """Both choices apply, one after the other: no person sees an error."""
    with site.session() as session:
        relay = add_relay(session, site.thin, active=True)
    for _round in range(5):
        codes = site.press(*[("/projects/p1/settings", {"route": str(relay.id)})] * 4)
        assert failures(codes) == []


def test_a_server_is_not_deleted_under_a_send_that_is_not_committed(site: Site) -> None:
    """The click waits for the platform's transaction and finds its invitations: none is lost."""
    with site.session() as session:
        relay = add_relay(session, site.thin, active=True)
        profile = load_profile(session.connection(), relay.id, site.thin.vault)
        assert profile is not None
    batch = InvitationBatch(
        tenant_id="acme",
        project_id="p1",
        content=CONTENT,
        invitations=[Invitation(reference="1", address="a@b.example")],
    )
    with site.session() as sending, ThreadPoolExecutor(1) as people:
        actions.add(sending.connection(), batch, profile, fallback_after=None)
        pressed = people.submit(site.press, (f"/servers/{relay.id}/delete", {}))
        eventually(lambda: pressed.running() and site.waits_for_a_lock(), "the press waits")
        sending.commit()
        assert pressed.result()[0] in {409, 422}  # the page asks, or is told to ask
    assert site.count(Relay, Relay.deleted_at.is_(None)) == 1


def test_people_and_drains_that_act_on_the_same_servers_never_wait_in_a_circle(site: Site) -> None:
    """Edits, pauses, links, tests and moves beside drains that settle: no deadlock, and no error page."""
    site.thin.change_settings(tests_per_tenant=1000, tests_per_person=1000)
    with site.session() as session:
        one, other = (add_relay(session, site.thin, active=True, label=label).id for label in ("one", "other"))
    is_over = threading.Event()

    def drain(relay_id: int) -> int:
        turns = 0
        while not is_over.is_set():
            with site.session() as session:
                connection = begin_read_committed(session)  # as the workers' engine does
                lock_leases(connection, [relay_id])
                lifecycle.pause(connection, relay_id, PauseReason.QUOTA, "452 enough", None)
                lifecycle.probe(connection, relay_id)
                lifecycle.pass_probe(connection, relay_id)
                session.commit()
            turns += 1
        return turns

    codes: Counter[int] = Counter()
    with ThreadPoolExecutor(2) as workers:
        drains = [workers.submit(drain, relay_id) for relay_id in (one, other)]
        try:
            for number in range(8):
                edit = TYPED | {"label": f"Server {number}", "is_default": "y"}
                presses = [
                    (f"/servers/{relay_id}/{page}", typed)
                    for relay_id in (one, other)
                    for page, typed in (("edit", edit), ("pause", {}), ("resume", {}), ("test", {}))
                ]
                codes.update(site.press(*presses, ("/projects/p1/settings", {"route": str((one, other)[number % 2])})))
        finally:
            is_over.set()
        assert all(running.result() > 0 for running in drains)
    assert set(codes) <= {302}


def test_two_administrators_choose_tenants_at_one_moment(site: Site) -> None:
    """Neither choice is lost, and neither of them sees an error."""
    site.thin.host.tenants = {name: Tenant(tenant_id=name, name=name) for name in "abcd"}
    site.thin.change_settings(allowed_tenants=frozenset())
    codes, lost = [], 0
    for _round in range(ROUNDS // 4):
        presses = [("/platform/tenants", {"shown": name, "chosen": name}) for name in "abcd"]
        codes += site.press(*presses)
        with site.session() as session:
            lost += 4 - len(site.thin.policy.chosen(session))
            session.execute(delete(PolicyValue))
            session.commit()
    assert (failures(codes), lost) == ([], 0)


def test_two_administrators_save_the_policy_at_one_moment(site: Site) -> None:
    """One of them comes last, and neither sees an error."""
    codes = []
    for number in range(ROUNDS // 4):
        typed = [OPEN | {"ceiling_connections": str(2 + 4 * number + other)} for other in range(4)]
        codes += site.press(*(("/platform/policy", one) for one in typed))
    assert set(codes) == {302}
