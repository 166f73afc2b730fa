"""The page of one batch, with its buttons: pause, resume, cancel, send again."""

from __future__ import annotations

from collections.abc import Callable

from flask import redirect, url_for
from flask.typing import ResponseReturnValue

from own_smtp.current import Extension, extension
from own_smtp.errors import ConflictError
from own_smtp.forms.retry import RetryForm
from own_smtp.hooks.events import Action
from own_smtp.i18n import gettext, ngettext
from own_smtp.operations import batch_service
from own_smtp.operations.acts import Acting
from own_smtp.outbox.query import LogScope
from own_smtp.reporting import hourly_stats, reports
from own_smtp.reporting.chart_texts import code_lines, sending_picture
from own_smtp.reporting.failure_causes import Causes, causes_of
from own_smtp.reporting.progress import Progress, pieces_of, progress_of
from own_smtp.reporting.reports import BatchSummary
from own_smtp.reporting.state_counts import ANY_ROUTE_LABELS, status_sentence
from own_smtp.states import RETRYABLE, BatchState, State
from own_smtp.web.access import acting, current_actor, current_project, requires
from own_smtp.web.pages import ButtonForm, blueprint, check_button, db_session, note, render, tenant

AGAIN = (State.REFUSED, State.FAILED, State.UNKNOWN, State.CANCELLED)
"""The final states that a person may send again, in the order in which the page offers them."""
assert set(AGAIN) == RETRYABLE | {State.UNKNOWN}


@blueprint.get("/projects/<path:project_id>/batches/<int:batch_id>")
@requires(Action.VIEW)
def show_batch(project_id: str, batch_id: int) -> ResponseReturnValue:
    """Show one batch and the possible acts."""
    batch = _batch(project_id, batch_id)
    return _page(batch, _retry_form(batch))


@blueprint.get("/projects/<path:project_id>/batches/<int:batch_id>/status")
@requires(Action.VIEW)
def batch_status(project_id: str, batch_id: int) -> ResponseReturnValue:
    """Return whether the page would look different now; the page's script polls it."""
    batch = _batch(project_id, batch_id)
    return {"version": _version(batch, _progress(batch))}


@blueprint.post("/projects/<path:project_id>/batches/<int:batch_id>/pause")
@requires(Action.ENABLE)
def pause_batch(project_id: str, batch_id: int) -> ResponseReturnValue:
    """Pause a batch; its waiting invitations stay queued."""
    return _change(project_id, batch_id, batch_service.pause)


@blueprint.post("/projects/<path:project_id>/batches/<int:batch_id>/resume")
@requires(Action.ENABLE)
def resume_batch(project_id: str, batch_id: int) -> ResponseReturnValue:
    """Resume a batch."""
    return _change(project_id, batch_id, batch_service.resume)


@blueprint.post("/projects/<path:project_id>/batches/<int:batch_id>/cancel")
@requires(Action.ENABLE)
def cancel_batch(project_id: str, batch_id: int) -> ResponseReturnValue:
    """Cancel a batch's waiting invitations."""
    return _change(project_id, batch_id, batch_service.cancel)


@blueprint.post("/projects/<path:project_id>/batches/<int:batch_id>/retry")
@requires(Action.ENABLE)
def retry_batch(project_id: str, batch_id: int) -> ResponseReturnValue:
    """Send invitations in the selected final states again."""
    batch = _batch(project_id, batch_id)
    form = _retry_form(batch)
    if form is None:
        raise ConflictError(gettext("There is nothing to send again."))
    if not form.validate_on_submit():
        return _page(batch, form), 422
    queued = batch_service.retry(extension(), acting(), batch_id, form.states.data)
    note(ngettext("%(num)s invitation is sent again.", "%(num)s invitations are sent again.", queued))
    return _back_to(project_id, batch_id)


def _change(project_id: str, batch_id: int, change: Callable[[Extension, Acting, int], object]) -> ResponseReturnValue:
    _batch(project_id, batch_id)
    check_button()
    change(extension(), acting(), batch_id)
    return _back_to(project_id, batch_id)


def _back_to(project_id: str, batch_id: int) -> ResponseReturnValue:
    return redirect(url_for("own_smtp.show_batch", project_id=project_id, batch_id=batch_id))


def _batch(project_id: str, batch_id: int) -> BatchSummary:
    return reports.project_batch(db_session(), current_actor().tenant_id, project_id, batch_id)


def _retry_form(batch: BatchSummary) -> RetryForm | None:
    """Return the form; `None` when every invitation was accepted or still waits."""
    labels = {
        state: f"{ANY_ROUTE_LABELS[state]}: {ngettext('%(num)s invitation', '%(num)s invitations', number)}"
        for state in AGAIN
        if (number := batch.counts[state])
    }
    return RetryForm(labels) if labels else None


def _progress(batch: BatchSummary) -> Progress | None:
    waits = batch.state == BatchState.OPEN and batch.counts.waiting
    return progress_of(
        db_session(),
        extension().in_force(),
        batch,
        closes_at=current_project().closes_at,
        timezone=tenant().timezone,
        queue_is_up=not waits or extension().queue_is_up(),
    )


def _version(batch: BatchSummary, progress: Progress | None) -> str:
    return "|".join([batch.state, batch.counts.version, *([progress.version] if progress else [])])


def _causes(batch: BatchSummary) -> Causes:
    project = current_project()
    scope = LogScope(tenant_id=project.tenant_id, project_ids=frozenset({project.project_id}))
    return causes_of(db_session(), scope, batch.batch_id)


def _page(batch: BatchSummary, form: RetryForm | None) -> str:
    progress = _progress(batch)
    figures = hourly_stats.stats_of_batch(db_session(), batch.batch_id)
    return render(
        "batch.html",
        project=current_project(),
        batch=batch,
        progress=progress,
        version=_version(batch, progress),
        bar=pieces_of(batch.counts),
        form=form,
        button=ButtonForm(),
        sentence=status_sentence(batch.counts),
        sending=sending_picture(figures, tenant().timezone),
        codes=code_lines(figures),
        causes=_causes(batch),
    )
