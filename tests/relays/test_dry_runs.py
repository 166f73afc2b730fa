"""Connection tests: requested within limits, run by one worker, recorded step by step, deleted soon."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from own_smtp.delivery.workers import dry_run_job
from own_smtp.delivery.workers.wakeup import Wakeup
from own_smtp.errors import ConflictError, LimitError, NotFoundError, SecretError
from own_smtp.operations import erasure
from own_smtp.relays import dry_runs, edits
from own_smtp.relays.dry_runs import LIFETIME, PATIENCE, Kept
from own_smtp.relays.urgent_tasks import UrgentKind, UrgentTask
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.states import PauseReason, RelayState, RelayTestState, Security
from own_smtp.storage.encryption import Vault, generate_key
from own_smtp.storage.models import AuditEntry, Relay, RelayTest
from tests.scripted import ClosedPort, ScriptedServer
from tests.servers.process import eventually
from tests.web.app import build_app
from tests.web.drafts import PASSWORD, add_relay, draft
from tests.workers import worker_for

LOGINS = {"surveys": PASSWORD}


@pytest.fixture
def server(test_authority):
    with ScriptedServer(tls=test_authority.server_context("other_ca"), credentials=LOGINS) as server:
        yield server


@pytest.fixture
def aimed(server, test_authority):
    """The target of these tests' settings, and the trusted certificate."""
    return {"host": server.host, "port": server.port, "fingerprint": test_authority.fingerprint("other_ca")}


def ask(session, thin, kept=None, *, relay=None, saves=False, tenant_id="acme", user_id="alice", **changes):
    kept = kept or Kept(draft(**changes), {"label": ["Company mail"]})
    test = dry_runs.request_run(
        session, thin.vault, thin.settings, kept, tenant_id=tenant_id, user_id=user_id, relay=relay, saves=saves
    )
    session.commit()
    return test


def run(session, thin, test):
    dry_run_job.perform_dry_run(test.id, thin)
    session.refresh(test)
    return test


def age(session, test, by):
    session.execute(update(RelayTest).where(RelayTest.id == test.id).values(created_at=test.created_at - by))
    session.commit()


def test_typed_settings_are_stored_encrypted(db_session, thin):
    """In the database neither the password nor any other typed value can be read."""
    test = ask(db_session, thin, username="somebody@acme.example")
    row = db_session.execute(select(RelayTest.__table__)).mappings().one()
    assert PASSWORD not in str(dict(row))
    assert "somebody" not in str(dict(row))
    assert dry_runs.read_settings(thin.vault, test).draft == draft(username="somebody@acme.example")


def test_settings_belong_to_their_tenant(db_session, thin):
    """A row copied to another tenant does not decrypt."""
    test = ask(db_session, thin)
    test.tenant_id = "evil"
    with pytest.raises(SecretError):
        dry_runs.read_settings(thin.vault, test)
    db_session.rollback()


def test_a_passed_test_is_recorded_step_by_step(db_session, thin, server, aimed):
    """Steps with facts and times, a transcript without credentials, the certificate, an audit entry; no mail."""
    test = run(db_session, thin, ask(db_session, thin, **aimed))
    assert test.state == RelayTestState.PASSED
    assert [step["stage"] for step in test.steps] == [
        "connect", "banner", "ehlo", "starttls", "tls", "auth", "mail", "rcpt",
    ]  # fmt: skip
    assert all(step["seconds"] >= 0 for step in test.steps)
    kept = json.dumps([test.steps, test.transcript])
    assert PASSWORD not in kept
    assert "AUTH PLAIN" in kept
    assert test.certificate["fingerprint"] == aimed["fingerprint"]
    assert server.copies == []
    entry = db_session.query(AuditEntry).one()
    assert (entry.action, entry.user_id, entry.details["result"]) == ("relay_tested", "alice", [None, "passed"])


def test_each_step_is_committed_as_it_comes(db_session, thin, server, aimed):
    """While the server delays its reply to RCPT, another session reads all earlier steps."""
    engine, seen = thin.db.engine, []

    def look(_moment):
        with engine.connect() as connection:
            seen.append([step["stage"] for step in connection.scalars(select(RelayTest.steps)).one()])
        return "250 2.1.5 ok"

    server.on("rcpt", look)
    run(db_session, thin, ask(db_session, thin, **aimed))
    assert seen[0][-1] == "mail"


def test_a_failure_keeps_the_servers_reply(db_session, thin, server, aimed):
    """Stage, code and text; a password that the server echoes is removed."""
    server.on("auth", f"535 5.7.8 no {PASSWORD} here")
    test = run(db_session, thin, ask(db_session, thin, **aimed))
    assert (test.state, test.stage, test.code, test.enhanced) == (RelayTestState.FAILED, Stage.AUTH, 535, "5.7.8")
    assert test.pause_reason == PauseReason.CREDENTIALS
    assert PASSWORD not in test.error


def test_a_test_is_run_once(db_session, thin, server, aimed):
    """However often its job is delivered, there is one connection: a password must not be tried twice."""
    test = ask(db_session, thin, **aimed)
    for _ in range(3):
        dry_run_job.perform_dry_run(test.id, thin)
    assert len(server.connections) == 1


def test_an_expired_test_is_not_run(db_session, thin, server, aimed):
    """After two minutes the person has gone: neither a late job nor the dispatcher runs it."""
    test = ask(db_session, thin, **aimed)
    assert [task.id for task in dry_runs.unstarted(db_session)] == [test.id]
    age(db_session, test, PATIENCE)
    assert dry_runs.unstarted(db_session) == []
    assert run(db_session, thin, test).state == RelayTestState.WAITING
    assert server.connections == []


def test_the_stored_password_is_used_if_none_was_typed(db_session, thin, aimed):
    """A saved server is tested with its own password, which the test does not store."""
    relay = add_relay(db_session, thin, **aimed)
    test = ask(db_session, thin, Kept(dry_runs.draft_of(relay), None), relay=relay)
    assert dry_runs.read_settings(thin.vault, test).draft.password is None
    assert run(db_session, thin, test).state == RelayTestState.PASSED


@pytest.mark.parametrize("change", [{"host": "elsewhere.example"}, {"deleted_at": True}, {"username": "other"}])
def test_a_stored_password_never_reaches_another_server(db_session, thin, server, aimed, change):
    """If the server is changed or deleted between click and job, its password is not used."""
    relay = add_relay(db_session, thin, **aimed)
    test = ask(db_session, thin, Kept(dry_runs.draft_of(relay), None), relay=relay)
    for name, value in change.items():
        setattr(relay, name, relay.created_at if value is True else value)
    db_session.commit()
    assert run(db_session, thin, test).stage == Stage.LOCAL
    assert server.attempts == []


def test_a_lost_key_is_reported(db_session, thin, aimed):
    """If the settings cannot be decrypted, the test fails, and nothing breaks."""
    test = ask(db_session, thin, **aimed)
    thin.vault = Vault.from_keys([generate_key("another")])
    assert run(db_session, thin, test).pause_reason == PauseReason.SECRET_UNREADABLE


def test_old_tests_are_deleted_with_their_settings(db_session, thin):
    """After an hour nothing of them is left."""
    old, young = ask(db_session, thin), ask(db_session, thin)
    age(db_session, old, LIFETIME + timedelta(seconds=1))
    assert dry_runs.sweep(db_session) == 1
    db_session.commit()
    assert db_session.scalars(select(RelayTest.id)).all() == [young.id]


def test_a_deleted_server_and_a_deleted_tenant_leave_no_settings(db_session, thin):
    """Passwords are deleted at once, not after an hour; a deleted server's tests still count."""
    relay = add_relay(db_session, thin)
    test = ask(db_session, thin, relay=relay)
    ask(db_session, thin)
    kept = ask(db_session, thin, tenant_id="evil")
    edits.delete(db_session, relay, user_id="alice")
    db_session.commit()
    db_session.refresh(test)
    assert (test.settings, db_session.query(RelayTest).count()) == (None, 3)
    erasure.erase_records(db_session.connection(), "acme", None)
    db_session.commit()
    assert db_session.scalars(select(RelayTest.id)).all() == [kept.id]


def test_a_test_is_visible_only_to_its_requester(db_session, thin):
    """Not to colleagues, not to another tenant's people."""
    test = ask(db_session, thin)
    assert dry_runs.get_run(db_session, "acme", "alice", test.id) is test
    for tenant_id, user_id in (("acme", "bob"), ("evil", "alice")):
        with pytest.raises(NotFoundError):
            dry_runs.get_run(db_session, tenant_id, user_id, test.id)


def test_a_tenants_tests_are_limited(db_session, thin):
    """The next one is refused with a reason; other tenants are not affected, and after an hour it works again."""
    thin.change_settings(tests_per_tenant=2)
    first = ask(db_session, thin)
    ask(db_session, thin)
    with pytest.raises(ConflictError, match="Too many tests"):
        ask(db_session, thin)
    ask(db_session, thin, tenant_id="evil")
    age(db_session, first, timedelta(hours=1, seconds=1))
    ask(db_session, thin)


def test_a_target_that_is_tested_very_often_locks_nobody_out(db_session, thin):
    """Each tenant must wait between its own tests of it, and never for another tenant's."""
    thin.change_settings(tests_per_target=2)
    first = ask(db_session, thin)
    ask(db_session, thin, tenant_id="evil")
    ask(db_session, thin, tenant_id="third")
    with pytest.raises(LimitError, match="in 5 minutes"):
        ask(db_session, thin)
    ask(db_session, thin, port=465)
    first.created_at -= dry_runs.BRAKE
    ask(db_session, thin)


def test_a_person_leaves_some_tests_to_colleagues(db_session, thin):
    """The limit of one person is below that of the tenant."""
    thin.change_settings(tests_per_person=1, tests_per_tenant=2)
    ask(db_session, thin)
    with pytest.raises(LimitError):
        ask(db_session, thin)
    ask(db_session, thin, user_id="bob")
    with pytest.raises(LimitError):
        ask(db_session, thin, user_id="carol")


def test_a_new_password_is_saved_when_it_was_accepted(db_session, thin, aimed, server):
    """An active server stays active; the typed settings are deleted, and a drain is enqueued."""
    relay = add_relay(db_session, thin, active=True, password="old", **aimed)
    new = replace(dry_runs.draft_of(relay), password=PASSWORD)
    test = run(db_session, thin, ask(db_session, thin, Kept(new, {}), relay=relay, saves=True))
    db_session.refresh(relay)
    assert (relay.state, test.settings, thin.woken) == (RelayState.ACTIVE, None, [relay.id])
    assert test.saved_at is not None
    again = ask(db_session, thin, Kept(dry_runs.draft_of(relay), None), relay=relay)
    assert run(db_session, thin, again).state == RelayTestState.PASSED


def test_a_new_password_that_was_refused_is_not_saved(db_session, thin, aimed):
    """The old one stays, and the typed settings are kept for another attempt."""
    relay = add_relay(db_session, thin, active=True, **aimed)
    stored = relay.password
    new = replace(dry_runs.draft_of(relay), password="battery staple")
    test = run(db_session, thin, ask(db_session, thin, Kept(new, {}), relay=relay, saves=True))
    db_session.refresh(relay)
    assert (test.state, relay.password, relay.state) == (RelayTestState.FAILED, stored, RelayState.ACTIVE)
    assert test.settings is not None


def test_a_new_password_resumes_a_server_paused_for_the_old_one(db_session, thin, aimed):
    """The host is notified."""
    relay = add_relay(db_session, thin, active=True, password="old", **aimed)
    relay.state, relay.pause_reason = RelayState.PAUSED, PauseReason.CREDENTIALS
    db_session.commit()
    new = replace(dry_runs.draft_of(relay), password=PASSWORD)
    run(db_session, thin, ask(db_session, thin, Kept(new, {}), relay=relay, saves=True))
    db_session.refresh(relay)
    assert relay.state == RelayState.ACTIVE
    assert [change.state for change in thin.host.changes] == ["active"]


def test_nothing_is_saved_over_another_persons_change(db_session, thin, aimed):
    """If another person changed the server meanwhile, a test of a password does not revert that."""
    relay = add_relay(db_session, thin, active=True, **aimed)
    new = replace(dry_runs.draft_of(relay), password=PASSWORD)
    test = ask(db_session, thin, Kept(new, {}), relay=relay, saves=True)
    relay.sender_address = "other@acme.example"
    db_session.commit()
    assert run(db_session, thin, test).saved_at is None
    assert db_session.get_one(Relay, relay.id).sender_address == "other@acme.example"


@pytest.mark.usefixtures("brief_connect")
def test_a_closed_port_is_stored_like_a_refused_target(db_session, thin):
    """The stored result does not distinguish it from a target that the platform refuses."""
    with ClosedPort() as closed:
        first = run(db_session, thin, ask(db_session, thin, host=closed.host, port=closed.port))
        second = run(db_session, thin, ask(db_session, thin, host="10.1.2.3", port=closed.port))
    for test in (first, second):
        assert (test.stage, [step["stage"] for step in test.steps], test.transcript) == ("connect", [], [])
    assert first.error.split(" ", 1)[1] == second.error.split(" ", 1)[1]


# Workers


def on(platform, server, **values):
    """Request a test of a server on a platform."""
    kept = Kept(draft(host=server.host, port=server.port, security=Security.NONE, username=None, **values), {})
    own = platform.own_smtp
    with platform.app.app_context():
        session = own.db.session()
        test = dry_runs.request_run(
            session, own.vault, own.settings, kept, tenant_id="acme", user_id="alice", relay=None
        )
        session.commit()
        return test.id


def state_of(platform, test_id):
    return next(row.state for row in platform.rows(RelayTest) if row.id == test_id)


def test_an_error_before_the_session_ends_a_test(platform, scripted, monkeypatch):
    """For any exception the waiting page gets a text, which does not quote the typed settings."""

    def broken(*_arguments, **_keywords):
        raise ZeroDivisionError("a canary")

    number = on(platform, scripted)
    monkeypatch.setattr(dry_runs, "profile_of_draft", broken)
    platform.runtime.urgent.run(UrgentTask(UrgentKind.TEST, number, "acme"))
    [test] = platform.rows(RelayTest)
    assert (test.state, test.stage) == (RelayTestState.FAILED, Stage.LOCAL)
    assert test.error == "The test could not be run: ZeroDivisionError"


def test_a_lost_job_is_found_again(platform, scripted, monkeypatch):
    """If Redis lost it, the dispatcher enqueues it again, and deletes old tests."""
    wanted, old = on(platform, scripted), on(platform, scripted)
    with platform.engine.begin() as connection:
        long_ago = platform.rows(RelayTest)[0].created_at - LIFETIME - timedelta(seconds=1)
        connection.execute(update(RelayTest).where(RelayTest.id == old).values(created_at=long_ago))
    enqueued = []
    monkeypatch.setattr(platform.own_smtp.wakeup, "enqueue", lambda *job: enqueued.append(job) is None)
    platform.own_smtp.dispatcher.look()
    assert enqueued == [("run_test", wanted)]
    assert [row.id for row in platform.rows(RelayTest)] == [wanted]


def test_a_busy_worker_runs_tests_meanwhile(platform, scripted):
    """It finds the test among the urgent tasks, and runs it once."""
    number = on(platform, scripted)
    [task] = platform.runtime.urgent.find()
    assert task == UrgentTask(UrgentKind.TEST, number, "acme")
    platform.runtime.urgent.run(task)
    assert platform.runtime.urgent.find() == []
    assert state_of(platform, number) == RelayTestState.PASSED


def test_a_real_worker_takes_the_job(platform, scripted, redis_url):
    """Through Redis: the job is on the worker's queue, contains only a number, and precedes others."""
    platform.own_smtp.settings = replace(platform.own_smtp.settings, redis_url=redis_url)
    wakeup = Wakeup(platform.own_smtp.settings)
    number = on(platform, scripted)
    wakeup.enqueue("drain", 1)
    wakeup.enqueue("run_test", number)
    assert [job.func_name for job in wakeup.queue.jobs] == [
        "own_smtp.delivery.workers.jobs.run_test",
        "own_smtp.delivery.workers.jobs.drain",
    ]
    with worker_for(platform, redis_url):
        eventually(lambda: state_of(platform, number) == RelayTestState.PASSED, "the test is run")
    assert scripted.copies == []


def test_limits_and_their_end_on_each_database(migrated_url):
    """Counting, claiming once and deleting work the same on SQLite, PostgreSQL and MariaDB."""
    app = build_app(migrated_url)
    thin = app.extensions["own_smtp"]
    thin.change_settings(tests_per_tenant=2)
    with app.app_context():
        session = thin.db.session()
        old, young = ask(session, thin), ask(session, thin)
        with pytest.raises(ConflictError):
            ask(session, thin)
        session.rollback()
        age(session, old, LIFETIME + timedelta(seconds=1))
        assert [task.id for task in dry_runs.unstarted(session)] == [young.id]
        assert dry_runs.claim_run(session, young.id) is not None
        assert dry_runs.claim_run(session, young.id) is None
        assert (dry_runs.sweep(session), dry_runs.sweep(session)) == (1, 0)
        session.commit()
        ask(session, thin)
        session.close()
        thin.db.engine.dispose()
