"""The page on which administrators select the tenants that may use their own mail servers, however many there are."""

from __future__ import annotations

from flask import redirect
from flask.typing import ResponseReturnValue

from own_smtp.current import extension
from own_smtp.errors import ConflictError
from own_smtp.forms.base import arguments, typed_fields
from own_smtp.forms.tenants import ManyForm, TicksForm
from own_smtp.hooks.events import Action
from own_smtp.i18n import gettext
from own_smtp.operations import policy_service
from own_smtp.web import tenant_list
from own_smtp.web.access import current_actor, requires
from own_smtp.web.pages import again, blueprint, db_session, note, render
from own_smtp.web.tenant_list import TenantFilter, TenantQuery


@blueprint.route("/platform/tenants", methods=["GET", "POST"])
@requires(Action.ADMINISTER)
def show_tenants() -> ResponseReturnValue:
    """Show the tenants, found by name or id and in pages; save the ticks of a page, or select many at once."""
    session, policy = db_session(), extension().policy
    if not policy.may_edit("allowed_tenants"):
        raise ConflictError(gettext("The configuration says which tenants may use own mail servers."))
    chosen = policy.chosen(session)
    every = tenant_list.every(session, chosen)
    ticks, many = TicksForm(every), ManyForm(every)
    form = many if "many" in typed_fields() else ticks
    if form.validate_on_submit():
        return _saved(form)
    page = render(
        "tenants.html",
        listing=tenant_list.find_tenants(session, every, chosen, _requested()),
        ticks=ticks,
        many=many,
        form=form,
        is_in_force=extension().in_force().allowed_tenants is not None,
    )
    return page, 422 if form.is_submitted() else 200


def _saved(form: TicksForm | ManyForm) -> ResponseReturnValue:
    user_id = current_actor().user_id
    if policy_service.choose_tenants(extension(), user_id, add=form.added, remove=form.removed):
        if extension().in_force().allowed_tenants is None:
            note(gettext("Saved. It counts once only chosen tenants may use own mail servers."))
        else:
            note(gettext("Saved. It holds for pages at once, and for deliveries within a minute."))
    return redirect(again())


def _requested() -> TenantQuery:
    """Return the filter in the page's address. Invalid values are ignored."""
    show = arguments().get("show", TenantFilter.ALL, type=TenantFilter)
    page = max(1, arguments().get("page", 1, type=int))
    return TenantQuery(text=arguments().get("q", "").strip()[:100], show=show, page=page)
