"""A recipient looked for in the delivery log: by a part of the address, or by its keyed hash when it was shortened."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sqlalchemy import ColumnElement, exists, func, or_

from own_smtp.hooks.events import StatusFilter
from own_smtp.storage.encryption import Vault
from own_smtp.storage.models import Invitation, Shortened
from own_smtp.storage.pseudonyms import normal_form


@dataclass(frozen=True, slots=True, kw_only=True)
class WithDigests(StatusFilter):
    """A filter that also finds those of whom only the keyed hash of the address is left."""

    digests: tuple[str, ...] = ()


def with_shortened(wanted: StatusFilter, vault: Vault, tenant_id: str) -> StatusFilter:
    """Let a whole address be found after it was shortened, too. A part of one has no hash."""
    if not all(wanted.recipient.partition("@")):
        return wanted
    given = {item.name: getattr(wanted, item.name) for item in fields(StatusFilter)}
    digests = vault.digests(normal_form(wanted.recipient), tenant_id=tenant_id)
    return WithDigests(**given, digests=tuple(digests))


def is_recipient(wanted: StatusFilter) -> ColumnElement[bool]:
    """Return the condition that an invitation went to whom the filter names."""
    found: ColumnElement[bool] = func.lower(Invitation.address).contains(wanted.recipient.lower(), autoescape=True)
    if not isinstance(wanted, WithDigests):
        return found
    of_hash = exists().where(Shortened.invitation_id == Invitation.id, Shortened.digest.in_(wanted.digests))
    return or_(found, of_hash.correlate(Invitation))
