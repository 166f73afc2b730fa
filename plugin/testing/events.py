"""Checks of a host's handling of events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import DateTime, Table, select
from sqlalchemy.orm import Session

from own_smtp.current import KEY
from own_smtp.hooks.events import InvitationStatus, PlatformMail, RelayAlert, RelayChange
from own_smtp.states import AlertCause, RelayState, State
from own_smtp.testing.case import Case, Problems


def check_platform_mail(case: Case) -> Problems:
    """The host accepts a mail, or leaves it to Flask-Mail."""
    if not case.app.testing:
        return  # it might really be sent
    mail = PlatformMail(recipient="nobody@example.com", subject="A test", text="A test of own_smtp.testing.")
    answer = case.hook.own_smtp_send_platform_mail(mail=mail)
    if answer is not None and not isinstance(answer, bool):
        yield f"it returned {answer!r}; return True when the mail is sent, and None to leave it to Flask-Mail."


def check_changes(case: Case) -> Problems:
    """Status events are stored and committed, and repeated or late ones do no harm."""
    session = case.app.extensions[KEY].db.session()
    events = _events(case)
    case.hook.own_smtp_invitations_changed(changes=events)
    session.flush()
    written = _rows(case, session)
    session.rollback()
    kept = _rows(case, session)
    if tables := _differences(written, kept):
        yield f"it did not commit what it wrote to {tables}."
    for what, again in (("repeated", events[-1:]), ("late", events[:1])):
        case.hook.own_smtp_invitations_changed(changes=again)
        if tables := _differences(kept, _rows(case, session)):
            yield f"{what} events change {tables}; compare changed_at with that of the previous event."
            return


def _events(case: Case) -> list[InvitationStatus]:
    """Return possible events about the references over time, oldest first."""
    projects = case.projects(case.tenant_id)
    now = datetime.now(UTC)
    return [
        InvitationStatus(
            tenant_id=case.tenant_id,
            project_id=projects[0].project_id if projects else "1",
            batch_id=1,
            reference=reference,
            address="nobody@example.com",
            state=state,
            changed_at=now + timedelta(seconds=seconds),
            attempts=seconds + 1,
            message_id="<test@example.com>",
            reply_text="A test of own_smtp.testing.",
        )
        for seconds, state in enumerate((State.QUEUED, State.UNKNOWN, State.ACCEPTED))
        for reference in case.references
    ]


def _rows(case: Case, session: Session) -> dict[str, list[str]]:
    """Return the rows of the host's tables without times: these may record the last event."""
    tables: dict[str, Table] = case.app.extensions[KEY].db.metadata.tables
    return {name: _content(session, table) for name, table in tables.items()}


def _content(session: Session, table: Table) -> list[str]:
    columns = [column for column in table.columns if not isinstance(column.type, DateTime)]
    return sorted(repr(tuple(row)) for row in session.execute(select(*columns))) if columns else []


def _differences(one: dict[str, list[str]], other: dict[str, list[str]]) -> str:
    return ", ".join(sorted(name for name, rows in one.items() if rows != other[name]))


def check_relay_change(case: Case) -> Problems:
    """Every relay change can be delivered."""
    for state in RelayState:
        reason = "535 5.7.8 Authentication failed" if state is RelayState.PAUSED else None
        change = RelayChange(relay_id=1, tenant_id=case.tenant_id, label="Acme", state=state, reason=reason)
        case.hook.own_smtp_relay_changed(change=change)
    yield from ()


def check_relay_alert(case: Case) -> Problems:
    """Every relay alert can be delivered."""
    for cause in AlertCause:
        for is_over in (False, True):
            at = datetime(2026, 1, 1, tzinfo=UTC)
            alert = RelayAlert(relay_id=1, tenant_id=case.tenant_id, label="Acme", cause=cause, at=at, is_over=is_over)
            case.hook.own_smtp_relay_alert(alert=alert)
    yield from ()
