"""The page that lists what can be known of invitations, and why no more."""

from __future__ import annotations

from flask.typing import ResponseReturnValue

from own_smtp.hooks.events import Action
from own_smtp.reporting import reports
from own_smtp.reporting.known_statuses import KNOWLEDGE, STATUSES, TABLE, WAYS
from own_smtp.web.access import current_actor, current_project, requires
from own_smtp.web.pages import blueprint, db_session, render


@blueprint.get("/projects/<path:project_id>/known")
@requires(Action.VIEW)
def show_known(project_id: str) -> ResponseReturnValue:
    """Show the table of what can be known, with the project's routes marked."""
    return render(
        "known.html",
        project=current_project(),
        used=reports.ways_of(db_session(), current_actor().tenant_id, project_id),
        ways=WAYS,
        statuses=STATUSES,
        knowledge=KNOWLEDGE,
        table=TABLE,
    )
