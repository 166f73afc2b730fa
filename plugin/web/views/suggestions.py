"""The page of a mail server's suggestions."""

from __future__ import annotations

from flask import redirect, url_for
from flask.typing import ResponseReturnValue

from own_smtp.current import extension
from own_smtp.forms.suggestions import SuggestionsForm
from own_smtp.hooks.events import Action, Person
from own_smtp.i18n import gettext
from own_smtp.operations import relay_service
from own_smtp.relays import store, suggestions
from own_smtp.relays.suggestions import Subjects
from own_smtp.web import user_names
from own_smtp.web.access import acting, current_actor, requires
from own_smtp.web.pages import blueprint, db_session, note, render


@blueprint.route("/servers/<int:relay_id>/suggestions", methods=["GET", "POST"])
@requires(Action.EDIT)
def suggest_relay(relay_id: int) -> ResponseReturnValue:
    """Choose the people and projects for whom a server is preselected until they choose another route."""
    session, actor = db_session(), current_actor()
    relay = store.get_relay(session, actor.tenant_id, relay_id)
    chosen = suggestions.by_relay(session, actor.tenant_id).get(relay_id, Subjects())
    form = SuggestionsForm(
        _with_former(chosen),
        list(extension().host.projects(actor.tenant_id)),
        everybody=relay.is_default,
        chosen_users=chosen.users,
        chosen_projects=chosen.projects,
    )
    if not form.validate_on_submit():
        return render("suggestions.html", relay=relay, form=form), 422 if form.is_submitted() else 200
    relay_service.suggest(
        extension(),
        acting(),
        relay_id,
        everybody=form.everybody.data,
        users=form.users.data or (),
        projects=form.projects.data or (),
    )
    note(gettext("Saved."))
    return redirect(url_for("own_smtp.show_relay", relay_id=relay_id))


def _with_former(chosen: Subjects) -> list[Person]:
    """Return the tenant's people, and selected persons who are no longer among them."""
    present = user_names.people()
    known = {person.user_id for person in present}
    return present + [Person(user_id=key, name=user_names.name_of(key)) for key in chosen.users if key not in known]
