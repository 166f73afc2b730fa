"""The audit log of a tenant, on a page and as CSV."""

from __future__ import annotations

from collections.abc import Iterator

from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from own_smtp.current import extension
from own_smtp.hooks.events import Action
from own_smtp.i18n import format_utc, gettext
from own_smtp.reporting import audit_log
from own_smtp.reporting.audit_log import AuditLine
from own_smtp.reporting.audit_texts import Names
from own_smtp.reporting.exports import BEGINNING, csv_row
from own_smtp.web import user_names
from own_smtp.web.access import current_actor, requires
from own_smtp.web.pages import blueprint, db_session, download, id_argument, render


@blueprint.get("/audit")
@requires(Action.EDIT)
def show_audit() -> ResponseReturnValue:
    """Show the changes and the persons who made them, newest first."""
    found = audit_log.lines(db_session(), current_actor().tenant_id, _names(), before=id_argument("before"))
    return render("audit.html", lines=found, page=audit_log.PAGE, change_text=audit_log.change_text)


@blueprint.get("/audit.csv")
@requires(Action.EDIT)
def download_audit() -> ResponseReturnValue:
    """Return the whole log for a spreadsheet, times in UTC."""
    tenant_id, names = current_actor().tenant_id, _names()

    def write(session: Session) -> Iterator[str]:
        return _rows(audit_log.all_lines(session, tenant_id, names))

    return download(write, "own-smtp-audit.csv", "text/csv")


def _rows(found: Iterator[AuditLine]) -> Iterator[str]:
    heads = [
        gettext("When"),
        gettext("Who"),
        gettext("What"),
        gettext("Server"),
        gettext("Project"),
        gettext("Changes"),
    ]
    yield BEGINNING + csv_row(heads)
    for line in found:
        changes = "; ".join(audit_log.change_text(change) for change in line.changes)
        yield csv_row([format_utc(line.at), line.who, line.what, line.server, line.project, changes])


def _names() -> Names:
    actor = current_actor()
    return Names(
        relays=audit_log.relay_names(db_session(), actor.tenant_id),
        projects={item.project_id: item.title for item in extension().host.projects(actor.tenant_id)},
        name_of=user_names.name_of,
    )
