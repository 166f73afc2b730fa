"""The pages for administrators of the platform: its policy, and the mail servers of all tenants."""

from __future__ import annotations

from dataclasses import replace

from flask import redirect, url_for
from flask.typing import ResponseReturnValue

from own_smtp.current import extension
from own_smtp.forms.policy import Fixed, PolicyForm
from own_smtp.hooks.events import Action
from own_smtp.i18n import gettext
from own_smtp.operations import policy_service
from own_smtp.relays.policy import stored
from own_smtp.reporting import audit_log, audit_texts, relay_lists
from own_smtp.reporting.audit_texts import Names
from own_smtp.storage import audit
from own_smtp.web import tenant_list, user_names
from own_smtp.web.access import current_actor, requires
from own_smtp.web.pages import blueprint, db_session, note, render
from own_smtp.web.views.overview import requested

FEW = 20
"""Up to this number of tenants, the page itself has a box for each; more have a page of their own."""


@blueprint.route("/platform/policy", methods=["GET", "POST"])
@requires(Action.ADMINISTER)
def show_policy() -> ResponseReturnValue:
    """Show who may use their own mail servers and how, and change what the configuration leaves open."""
    session, policy, now = db_session(), extension().policy, extension().in_force()
    chosen = policy.chosen(session)
    every = tenant_list.every(session, chosen)
    form = PolicyForm(policy, now, chosen, every if len(every) <= FEW else None)
    if form.validate_on_submit():
        if policy_service.change_policy(extension(), current_actor().user_id, form.values()):
            note(gettext("Saved. It holds for pages at once, and for deliveries within a minute."))
        return redirect(url_for("own_smtp.show_policy"))
    page = render(
        "policy.html",
        form=form,
        chosen=[extension().host.tenant(key).name for key in sorted(chosen)[: audit_texts.MOST_NAMES]],
        chosen_count=len(chosen),
        labels=audit_texts.FIELDS,
        value_text=_value_text,
        lines=audit_log.lines(session, audit.PLATFORM, _names()),
        change_text=audit_log.change_text,
    )
    return page, 422 if form.is_submitted() else 200


def _value_text(item: Fixed) -> str:
    if item.name == "allowed_tenants" and item.value is None:
        return gettext("all")
    said = audit_texts.value_text(item.name, stored(item.value), _names())
    return said or gettext("none")


@blueprint.get("/platform/servers")
@requires(Action.ADMINISTER)
def show_all_relays() -> ResponseReturnValue:
    """Show the mail servers of all tenants with their health: no secrets, and no addresses but the senders'."""
    wanted, session = requested(None), db_session()
    if wanted.text:
        every = tenant_list.every(session)
        hits = [tenant.tenant_id for tenant in every if wanted.text.lower() in tenant.name.lower()]
        wanted = replace(wanted, tenants=hits)
    listing = relay_lists.find_relays(session, wanted)
    shown = {line.relay.tenant_id for line in listing.lines}
    names = {tenant_id: extension().host.tenant(tenant_id).name for tenant_id in shown}
    return render("all_relays.html", listing=listing, names=names)


def _names() -> Names:
    host = extension().host
    return Names(relays={}, projects={}, name_of=user_names.name_of, tenant_name=lambda key: host.tenant(key).name)
