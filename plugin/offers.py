"""What a person is offered in the host's own pages: senders, and whether there are pages of ours at all."""

from __future__ import annotations

from collections.abc import Sequence

from flask import has_request_context
from sqlalchemy.orm import Session

from own_smtp import relays, suggestions
from own_smtp.current import Host
from own_smtp.hooks.events import Action, SenderChoice
from own_smtp.network import NetworkPolicy
from own_smtp.policy import Policy
from own_smtp.senders import sender_choices
from own_smtp.texts import gettext


def senders(session: Session, host: Host, rules: Policy, tenant_id: str, project_id: str) -> Sequence[SenderChoice]:
    """Return the relays that the acting person may use in a project; outside a request all that the tenant may.

    Who may not choose how the project's invitations leave is offered what is chosen, and no other.
    """
    if not _admits(session, rules, tenant_id):
        return []
    if not has_request_context():
        return sender_choices(session, tenant_id, project_id)
    actor = host.actor()
    if actor is None or actor.tenant_id != tenant_id:
        return []
    if not host.may(actor, Action.ENABLE, project_id):
        return sender_choices(session, tenant_id, project_id, only_chosen=True)
    suggested = suggestions.suggested(session, tenant_id, project_id, actor.user_id)
    return sender_choices(session, tenant_id, project_id, suggested=suggested)


def has_pages(session: Session, host: Host, rules: Policy, tenant_id: str) -> bool:
    """Return whether a tenant has any use for our pages: not when the policy lets it have no servers, and it has none.

    Administrators of the platform always have: theirs lead there, too.
    """
    if _admits(session, rules, tenant_id) or relays.listed(session, tenant_id):
        return True
    actor = host.actor()
    return actor is not None and host.may(actor, Action.ADMINISTER)


def refusal(session: Session, rules: Policy, tenant_id: str) -> str | None:
    """Return why the policy lets nothing leave through a tenant's own servers; `None` when it does."""
    if _admits(session, rules, tenant_id):
        return None
    return gettext("This platform does not offer own mail servers to your account at present.")


def _admits(session: Session, rules: Policy, tenant_id: str) -> bool:
    return NetworkPolicy.from_settings(rules.in_force(session)).admits(tenant_id)
