"""Each page in each of its states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from playwright.sync_api import Page
from sqlalchemy.orm import Session

from own_smtp.hooks.events import Tenant
from own_smtp.relays import confirmations, lifecycle, project_routes
from own_smtp.smtp.certificates import Certificate
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.server_info import ServerInfo
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import AlertCause, BatchState, PauseReason, State
from own_smtp.storage.encryption import new_token
from own_smtp.storage.models import Alert, Attempt, Batch, BatchTotals, HourlyStat, Invitation, Lease, Relay
from tests.stored_totals import count_anew
from tests.web.app import ThinExtension
from tests.web.drafts import add_relay, send_mail
from tests.web.trials import send_test_mail, tests_in_all_states

REFUSED = Outcome(
    state=State.QUEUED,
    stage=Stage.AUTH,
    reply=Reply(code=535, text="Authentication failed", enhanced="5.7.8"),
    pause=PauseReason.CREDENTIALS,
)
HOURS = [{"days": [0, 1, 2, 3, 4], "start": "08:00", "end": "18:00"}]
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


LEAVE = "project-leave"
"""A page that only a button leads to."""


def go_on(page: Page, name: str) -> None:
    """Press the buttons that lead from a page's address to the page itself."""
    if name == LEAVE:
        page.get_by_label("platform").or_(page.get_by_label("Plattform")).first.check()
        page.locator("main form button").last.click()
        page.wait_for_selector("input[name=waiting]")


def pages_in_all_states(session: Session, thin: ThinExtension) -> dict[str, str]:
    """Fill the database; return each page's address by name."""
    active = add_relay(session, thin, active=True, label="Active", per_day=2000, min_interval=2, sending_windows=HOURS)
    session.add(_troubled(active.id))
    session.add(Alert(relay_id=active.id, cause=AlertCause.UNREACHABLE, raised_at=LONG_AGO, told_at=LONG_AGO))
    paused = add_relay(session, thin, active=True, label="Paused")
    lifecycle.pause(session, paused.id, PauseReason.CREDENTIALS, "535 5.7.8 Authentication failed", None)
    waiting, failed, sent = (_waiting(session, thin, label) for label in ("Waiting", "Failed", "Sent"))
    send_mail(session, failed, new_token(), REFUSED)
    token = new_token()
    send_mail(session, sent, token)
    project_routes.choose_route(session, "acme", "p1", active, user_id="alice")
    batch = fill_outbox(session, active)
    tally(session, batch, LONG_AGO, (State.ACCEPTED, 250, 1), (State.REFUSED, 550, 2))
    send_test_mail(session, thin, active)
    quick = add_relay(session, thin, active=True, label="Quick", per_minute=30)
    busy = add_relay(session, thin, active=True, label="Company mail", per_minute=30)
    held, running, million = fill_outbox(session, paused), fill_outbox(session, busy), fill_outbox(session, quick)
    _hold(held)
    _run(session, busy, running)
    session.add(Lease(relay_id=quick.id, expires_at=datetime(2030, 1, 1, tzinfo=UTC), pace={"seen": 0.5}))
    _fill(session, million)
    _crowd(session, thin)
    session.commit()
    states = {"active": active, "paused": paused, "waiting": waiting, "failed": failed, "sent": sent}
    pages = {f"relay-{name}": f"/servers/{relay.id}" for name, relay in states.items()}
    return {
        "overview": "/",
        "relay-new": "/servers/new",
        "relay-preset": "/servers/new?preset=microsoft-365",
        **pages,
        "relay-edit": f"/servers/{active.id}/edit",
        "suggestions": f"/servers/{active.id}/suggestions",
        **tests_in_all_states(session, thin, active),
        "relay-delete-busy": f"/servers/{active.id}/delete",
        "relay-delete": f"/servers/{paused.id}/delete",
        "project": "/projects/p1/settings",
        "report": "/projects/p1/report",
        "batch": f"/projects/p1/batches/{batch.id}",
        "batch-paused": f"/projects/p1/batches/{held.id}",
        "batch-running": f"/projects/p1/batches/{running.id}",
        "batch-million": f"/projects/p1/batches/{million.id}",
        "relay-health": f"/servers/{quick.id}",
        "relay-running": f"/servers/{busy.id}",
        "log": f"/projects/p1/log?batch={batch.id}",
        "log-filtered": "/projects/p1/log?state=refused&state=unknown&order=oldest",
        "log-wrong": "/projects/p1/log?reply=abc&since=2026-02-02&until=2026-01-01",
        "log-empty": "/projects/p2/log",
        "relay-log": f"/servers/{active.id}/log",
        "report-empty": "/projects/p2/report",
        "known": "/projects/p1/known",
        "audit": "/audit",
        "policy": "/platform/policy",
        "tenants": "/platform/tenants?page=2",
        "all-relays": "/platform/servers",
        LEAVE: "/projects/p1/settings",
        "confirm": f"/confirm/{token}",
        "confirm-unknown": "/confirm/unknown",
        "not-found": "/servers/999",
    }


def _crowd(session: Session, thin: ThinExtension) -> None:
    """Add more tenants than a form can show, some with names that are long or right-to-left."""
    names = {f"t{number:04}": f"Institute {number}" for number in range(5000)}
    names["t0050"] = (
        "Gemeinnützige Gesellschaft für angewandte Befragungsforschung und Donaudampfschifffahrtsstatistik mbH"
    )
    names["t0051"] = "المركز الوطني للاستطلاعات"
    names["t0052"] = "Without_any_place_to_break_" * 4
    thin.host.tenants = {key: Tenant(tenant_id=key, name=name) for key, name in names.items()}
    thin.policy.choose(session, add={"t0003", "t0050", "t0051", "t0052"}, by="alice")


def _troubled(relay_id: int) -> Lease:
    """Return the lease of a relay that worked once and is unreachable now."""
    ends_at = LONG_AGO + timedelta(days=90)
    certificate = Certificate(
        fingerprint="ab" * 32,
        subject="CN=mail.acme.example",
        issuer="CN=Acme Issuing CA 7,O=Acme Research and Statistics International",
        names=("mail.acme.example",),
        starts_at=LONG_AGO,
        ends_at=ends_at,
    )
    facts = ServerInfo(
        server="mail.acme.example [192.0.2.25]",
        offers=("STARTTLS", "AUTH LOGIN PLAIN", "PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "SIZE 36700160"),
        protocol="TLSv1.3",
        cipher="TLS_AES_256_GCM_SHA384",
        certificate=certificate,
    )
    return Lease(
        relay_id=relay_id,
        failing_since=LONG_AGO,
        pace={"learned": 3.5, "seen": 0.4},
        last_error="connect: mail.acme.example cannot be reached.",
        last_error_at=LONG_AGO,
        error_count=12,
        error_since=LONG_AGO,
        **facts.columns(LONG_AGO),
    )


def _waiting(session: Session, thin: ThinExtension, label: str) -> Relay:
    relay = add_relay(session, thin, label=label)
    confirmations.request_confirmation(session, thin.settings, relay, user_id="alice")
    session.commit()
    return relay


def fill_outbox(session: Session, relay: Relay) -> Batch:
    """Add one invitation in each state, and one more refused one."""
    batch = Batch(
        tenant_id="acme",
        project_id="p1",
        relay_id=relay.id,
        kind="invitation",
        message_key="k",
        message_domain="acme.example",
        content={"subject": "Your opinion"},
        expires_at=datetime(2030, 1, 1, tzinfo=UTC),
    )
    session.add(batch)
    session.flush()
    for number, state in enumerate((*State, State.REFUSED)):
        _add_invitation(session, batch, state, number)
    count_anew(session)
    session.commit()
    return batch


def _hold(batch: Batch) -> None:
    """Make it wait for its server, late, with a platform fallback to come."""
    batch.state, batch.expires_at, batch.fallback_at = BatchState.OPEN, LONG_AGO, datetime(2030, 1, 1, tzinfo=UTC)


def _run(session: Session, relay: Relay, batch: Batch) -> None:
    """Make it a large batch that has been sending for three hours, thirty a minute: the relay's limit."""
    now = datetime.now(UTC)
    begun = now - timedelta(minutes=175)
    relay.confirmed_at = begun - timedelta(days=40)
    project_routes.choose_route(session, "acme", "p2", relay, user_id="alice")
    session.add(
        Lease(
            relay_id=relay.id,
            expires_at=datetime(2030, 1, 1, tzinfo=UTC),
            pace={"seen": 0.5},
            last_success_at=now,
            drains=9,
        )
    )
    batch.taken_count, batch.created_at, batch.expires_at = 12_400, begun, begun + timedelta(days=5)
    kept = session.get_one(BatchTotals, batch.id)
    kept.accepted, kept.refused = 5200, 38
    left, at = kept.accepted, begun
    while at < now:
        hour = at.replace(minute=0, second=0, microsecond=0)
        following = min(hour + timedelta(hours=1), now)
        count = min(left, round((following - at).total_seconds() / 2)) if following < now else left
        tally(session, batch, hour, (State.ACCEPTED, 250, count))
        left, at = left - count, following
    tally(session, batch, begun, (State.REFUSED, 550, 30), (State.REFUSED, 554, 8), (State.UNKNOWN, 0, 1))
    for number in range(30):
        address = f"participant{number}@example.org"
        added = Invitation(batch_id=batch.id, reference=f"lately-{number}", address=address, state=State.ACCEPTED)
        session.add(added)
        session.flush()
        at = now - timedelta(seconds=2 * number)
        taken = {"stage": "message", "code": 250, "enhanced": "2.0.0", "text": f"Ok: queued as 4F{number:02}C"}
        session.add(Attempt(invitation_id=added.id, relay_id=relay.id, at=at, state=State.ACCEPTED, **taken))


def _fill(session: Session, batch: Batch) -> None:
    """Make it a million over thirty days, with weekends, a bad day and an empty day."""
    batch.taken_count = 1_000_000
    kept = session.get_one(BatchTotals, batch.id)
    kept.accepted, kept.refused = 788_000, 6000
    today = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0)
    for days in set(range(30)) - {11}:
        at = today - timedelta(days=days)
        count = 4_000 if at.weekday() > 4 else 45_000 - 300 * days
        bad = 20_000 if days == 5 else 120 + 17 * (days % 4)
        tally(session, batch, at, (State.ACCEPTED, 250, count - bad), (State.QUEUED, 421, bad))
        tally(session, batch, at, (State.REFUSED, 550, count // 150), (State.REFUSED, 552, count // 900))
    tally(session, batch, today, (State.UNKNOWN, 0, 3))


def tally(session: Session, batch: Batch, at: datetime, *figures: tuple[State, int, int]) -> None:
    """Store an hour's attempts: state, reply code and number of each."""
    for state, code, count in figures:
        if count:
            kept = HourlyStat(relay_id=batch.relay_id, batch_id=batch.id, hour=at, state=state, code=code, count=count)
            session.add(kept)


def _add_invitation(session: Session, batch: Batch, state: State, number: int) -> None:
    address = f"{state}.someone.with.a.long.name@department.of.statistics.example.org"
    invitation = Invitation(batch_id=batch.id, reference=f"{batch.id}-{number}", address=address, state=state)
    session.add(invitation)
    session.flush()
    attempt = Attempt(
        invitation_id=invitation.id,
        relay_id=batch.relay_id,
        at=LONG_AGO,
        state=state,
        stage="rcpt",
        code=550,
        enhanced="5.1.1",
        text="<someone>: Recipient address rejected: User unknown in virtual mailbox table " + "x" * 200,
    )
    session.add(attempt)
