"""Names of a tenant's people. Their ids are the host's and mean nothing to readers."""

from __future__ import annotations

from flask import g

from own_smtp.current import extension
from own_smtp.hooks.events import Person
from own_smtp.web.access import current_actor


def people() -> list[Person]:
    """Return the people of the acting person's tenant, including the acting person."""
    actor = current_actor()
    named = list(extension().host.people(actor.tenant_id))
    if any(person.user_id == actor.user_id for person in named):
        return named
    return [Person(user_id=actor.user_id, name=actor.name), *named]


def name_of(user_id: str) -> str:
    """Return a person's name; the id if the host knows none. Asks the host once in a request for each person."""
    known: dict[str, str] | None = g.get("own_smtp_names")
    if known is None:
        known = g.own_smtp_names = {person.user_id: person.name for person in people()}
    if user_id not in known:
        known[user_id] = extension().host.user_name(current_actor().tenant_id, user_id) or user_id
    return known[user_id]
