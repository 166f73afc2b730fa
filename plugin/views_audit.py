"""The audit log of a tenant, on a page and as CSV."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Response, stream_with_context
from flask.typing import ResponseReturnValue

from own_smtp import audit_lines, people
from own_smtp.access import current_actor, requires
from own_smtp.audit_lines import Line, Names
from own_smtp.current import extension
from own_smtp.hooks.events import Action
from own_smtp.pages import asked_id, blueprint, db_session, render
from own_smtp.spreadsheets import BEGINNING, csv_row
from own_smtp.texts import format_utc, gettext


@blueprint.get("/audit")
@requires(Action.EDIT)
def show_audit() -> ResponseReturnValue:
    """Show who changed what, newest first."""
    found = audit_lines.lines(db_session(), current_actor().tenant_id, _names(), before=asked_id("before"))
    return render("audit.html", lines=found, page=audit_lines.PAGE, change_text=audit_lines.change_text)


@blueprint.get("/audit.csv")
@requires(Action.EDIT)
def download_audit() -> ResponseReturnValue:
    """Return the whole log for a spreadsheet, times in UTC."""
    found = audit_lines.all_lines(db_session(), current_actor().tenant_id, _names())
    headers = {"Content-Disposition": 'attachment; filename="own-smtp-audit.csv"'}
    return Response(stream_with_context(_rows(found)), mimetype="text/csv", headers=headers)


def _rows(found: Iterator[Line]) -> Iterator[str]:
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
        changes = "; ".join(audit_lines.change_text(change) for change in line.changes)
        yield csv_row([format_utc(line.at), line.who, line.what, line.server, line.project, changes])


def _names() -> Names:
    actor = current_actor()
    return Names(
        relays=audit_lines.relay_names(db_session(), actor.tenant_id),
        projects={item.project_id: item.title for item in extension().host.projects(actor.tenant_id)},
        name_of=people.name_of,
    )
