"""Refused, closed, silent or unknown targets: over HTTP, with real sockets, they all look the same to a tenant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import pytest

from own_smtp.delivery.workers import confirmation_mails, dry_run_job
from own_smtp.relays import confirmations
from own_smtp.settings import INTERACTIVE
from own_smtp.smtp.dry_run import run_dry_run
from own_smtp.storage.models import Confirmation, RelayTest
from tests.scripted import BlackHole, ClosedPort
from tests.web.drafts import add_relay

IMPATIENT = replace(INTERACTIVE, connect=1)
REFUSED = "10.1.2.3"
"""A private address, which the platform does not allow."""
INTERNAL = "ip6-localhost"
"""A name that the machine resolves to an address that the platform does not allow."""
MISSING = "no-such-server.invalid"
"""A name that does not exist (RFC 6761, 6.4)."""


@dataclass(frozen=True, slots=True)
class Target:
    host: str
    port: int


@pytest.fixture
def targets() -> Iterator[list[Target]]:
    with ClosedPort() as closed, BlackHole() as filtered:
        yield [
            Target(closed.host, closed.port),
            Target(filtered.host, filtered.port),
            Target(REFUSED, 587),
            Target(INTERNAL, 587),
            Target(MISSING, 587),
        ]


def _normal(text: str, target: Target) -> str:
    """Remove differences between any two servers: the name, the port, the ids and the times."""
    text = text.replace(target.host, "HOST").replace(str(target.port), "PORT")
    text = re.sub(r"(servers/|tests/|test=)\d+", r"\1ID", text)
    return re.sub(r"\d{1,2}:\d\d(:\d\d[\d.+:]*)?", "TIME", text)


def test_a_test_says_the_same_and_takes_as_long(web_app, web, thin, db_session, targets, monkeypatch):
    """The page of a test, its status for the script and the stored rows: all five are alike, and none is faster."""
    monkeypatch.setattr(dry_run_job, "run_dry_run", partial(run_dry_run, deadlines=IMPATIENT))
    asked = []
    for target in targets:
        relay = add_relay(db_session, thin, host=target.host, port=target.port)
        web.post(f"/own-smtp/servers/{relay.id}/test")
        asked.append((target, relay.id, thin.jobs[-1][1]))

    def run(test_id: int) -> None:
        with web_app.app_context():
            dry_run_job.perform_dry_run(test_id, thin)

    with ThreadPoolExecutor(len(targets)) as workers:
        list(workers.map(run, [test_id for *_rest, test_id in asked]))
    db_session.expire_all()
    pages, answers, kept = set(), set(), set()
    for target, _relay_id, test_id in asked:
        pages.add(_normal(web.get(f"/own-smtp/tests/{test_id}").text, target))
        answers.add(_normal(web.get(f"/own-smtp/tests/{test_id}/status").text, target))
        test = db_session.get_one(RelayTest, test_id)
        kept.add((test.state, test.stage, test.code, test.pause_reason, str(test.steps), str(test.transcript)))
        assert (test.finished_at - test.started_at).total_seconds() >= IMPATIENT.connect
    assert [len(seen) for seen in (pages, answers, kept)] == [1, 1, 1]
    assert "This server cannot be reached from here." in pages.pop()


def test_a_confirmation_mail_says_the_same_and_is_tried_again_alike(
    web_app, web, thin, db_session, targets, monkeypatch
):
    """The page of a server and its status for the script: each mail is retried, after the same time."""
    monkeypatch.setattr(confirmation_mails, "INTERACTIVE", IMPATIENT)
    asked = []
    for target in targets:
        relay = add_relay(db_session, thin, host=target.host, port=target.port)
        confirmation, *_others = confirmations.request_confirmation(db_session, thin.settings, relay, user_id="alice")
        db_session.commit()
        asked.append((target, relay.id, confirmation.id))

    def send(confirmation_id: int) -> None:
        with web_app.app_context():
            confirmation_mails.send_confirmation_mail(confirmation_id, thin)

    with ThreadPoolExecutor(len(targets)) as workers:
        list(workers.map(send, [confirmation_id for *_rest, confirmation_id in asked]))
    db_session.expire_all()
    pages, kept = set(), set()
    for target, relay_id, confirmation_id in asked:
        pages.add(_normal(web.get(f"/own-smtp/servers/{relay_id}").text, target))
        mail = db_session.get_one(Confirmation, confirmation_id)
        kept.add((mail.stage, mail.code, mail.pause_reason, mail.next_attempt_at is not None))
        waited = mail.next_attempt_at - mail.created_at - confirmations.RETRIES[0]
        assert waited.total_seconds() >= IMPATIENT.connect
    assert kept == {("connect", None, None, True)}
    assert len(pages) == 1
