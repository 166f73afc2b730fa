"""Unread downloads hold no connection, and simultaneous changes neither omit nor duplicate rows."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.client import HTTPResponse
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from flask import Flask
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session
from werkzeug.serving import WSGIRequestHandler, make_server

from own_smtp.hooks.events import StatusFilter
from own_smtp.outbox.query import LogScope
from own_smtp.reporting import delivery_log
from own_smtp.states import State
from own_smtp.storage.audit import AuditAction
from own_smtp.storage.models import AuditEntry, Batch, BatchTotals, Invitation
from tests.web.app import build_app
from tests.web.drafts import add_relay

ACME = LogScope(tenant_id="acme")
CLIENTS, POOL, ROWS = 20, 5, 3000
SMALL = 4096
"""Socket buffer in octets: small, so that a client that does not read blocks the server at once."""


class _SmallBuffers(WSGIRequestHandler):
    def setup(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        super().setup()

    def log(self, *_arguments: object) -> None: ...


def _fill(session: Session, relay_id: int, rows: int, states: tuple[State, ...] = (State.QUEUED,)) -> int:
    batch = Batch(
        tenant_id="acme",
        project_id="p1",
        relay_id=relay_id,
        kind="invitation",
        message_key="k",
        message_domain="acme.example",
        content={},
        taken_count=rows,
    )
    session.add(batch)
    session.flush()
    session.add(BatchTotals(batch_id=batch.id))
    values = [
        {"batch_id": batch.id, "reference": str(n), "address": f"kim{n}@example.org", "state": states[n % len(states)]}
        for n in range(rows)
    ]
    session.execute(insert(Invitation), values)
    entry = {"tenant_id": "acme", "action": AuditAction.RELAY_CHANGED, "details": {"label": [None, "x" * 50]}}
    session.execute(insert(AuditEntry), [entry] * rows)
    session.commit()
    return batch.id


@pytest.fixture
def small_pool(migrated_url: str) -> Iterator[Flask]:
    """The pages with few database connections, for which a page waits half a minute at most."""
    options = {} if migrated_url.startswith("sqlite") else {"pool_size": POOL, "max_overflow": 0, "pool_timeout": 30}
    app = build_app(migrated_url, engine_options=options)
    thin = app.extensions["own_smtp"]
    with app.app_context():
        _fill(thin.db.session(), add_relay(thin.db.session(), thin, active=True).id, ROWS)
    yield app
    with app.app_context():
        thin.db.engine.dispose()


def _ask(address: str, path: str) -> socket.socket:
    """Request a file, and read nothing of it."""
    parts = urlsplit(address)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    client.settimeout(60)
    client.connect((parts.hostname, parts.port))
    client.sendall(f"GET /own-smtp{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    return client


def _begin(client: socket.socket) -> HTTPResponse:
    response = HTTPResponse(client)
    response.begin()
    return response


@pytest.mark.servers
@pytest.mark.parametrize("migrated_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("path", ["/projects/p1/log/invitations.jsonl", "/audit.csv"])
def test_clients_that_do_not_read_hold_no_connection(small_pool, path):
    """Twenty of them stop in the middle of a file, and five connections are enough for them and for the pages."""
    server = make_server("127.0.0.1", 0, small_pool, threaded=True, request_handler=_SmallBuffers)
    with ExitStack() as stack:
        stack.callback(server.server_close)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        address = f"http://127.0.0.1:{server.port}"
        clients = [stack.enter_context(_ask(address, path)) for _ in range(CLIENTS)]
        begun = [_begin(client) for client in clients]
        assert [response.status for response in begun] == [200] * CLIENTS
        with urlopen(f"{address}/own-smtp/") as page:  # noqa: S310  # our own address
            assert page.status == 200
        files = [response.read() for response in begun]
        assert len({file.count(b"\n") for file in files}) == 1
        if path.endswith("jsonl"):
            found = [json.loads(line)["reference"] for line in files[0].splitlines()]
            assert sorted(found, key=int) == [str(number) for number in range(ROWS)]


@pytest.mark.parametrize("oldest_first", [True, False])
@pytest.mark.parametrize("states", [frozenset(), frozenset({State.QUEUED})])
def test_what_happens_meanwhile_leaves_nothing_out_and_doubles_nothing(small_pool, monkeypatch, oldest_first, states):
    """Invitations that are tried, deferred or accepted while a file is read are in it once, on each database."""
    monkeypatch.setattr(delivery_log, "CHUNK", 7)
    thin = small_pool.extensions["own_smtp"]
    with small_pool.app_context():
        session = thin.db.session()
        relay_id = session.scalars(select(Batch.relay_id)).first()
        batch_id = _fill(session, relay_id, 60)
        there = set(session.scalars(select(Invitation.id).where(Invitation.batch_id == batch_id)))
        wanted = StatusFilter(batch_id=batch_id, oldest_first=oldest_first, states=states)
        seen = []
        moment = datetime.now(UTC)
        for number, line in enumerate(delivery_log.stream(session, ACME, wanted)):
            seen.append(line.status.invitation_id)
            session.rollback()
            changed = sorted(there)[(number * 7) % 60]
            later = moment + timedelta(minutes=number if number % 2 else -number)
            state = State.ACCEPTED if number % 3 else State.QUEUED
            with thin.db.engine.begin() as other:
                other.execute(
                    update(Invitation).where(Invitation.id == changed).values(next_attempt_at=later, state=state)
                )
    assert len(seen) == len(set(seen))
    assert set(seen) == there
