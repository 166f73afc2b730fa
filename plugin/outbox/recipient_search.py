"""Searches the delivery log for a recipient: by a part of the address, or by its keyed hash once it was shortened."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sqlalchemy import ColumnElement, exists, func, or_

from own_smtp.hooks.events import StatusFilter
from own_smtp.storage.encryption import Vault
from own_smtp.storage.models import Invitation, Shortened
from own_smtp.storage.pseudonyms import normal_form


@dataclass(frozen=True, slots=True, kw_only=True)
class WithDigests(StatusFilter):
    """A filter that also finds recipients of whom only the address's keyed hash is left."""

    digests: tuple[str, ...] = ()


def with_shortened(wanted: StatusFilter, vault: Vault, tenant_id: str) -> StatusFilter:
    """Return the filter with the address's keyed hashes; unchanged for a part of an address, which has no hash."""
    if not all(wanted.recipient.partition("@")):
        return wanted
    given = {item.name: getattr(wanted, item.name) for item in fields(StatusFilter)}
    digests = vault.digests(normal_form(wanted.recipient), tenant_id=tenant_id)
    return WithDigests(**given, digests=tuple(digests))


def is_recipient(wanted: StatusFilter) -> ColumnElement[bool]:
    """Return the condition that an invitation's recipient matches the filter."""
    found: ColumnElement[bool] = func.lower(Invitation.address).contains(wanted.recipient.lower(), autoescape=True)
    if not isinstance(wanted, WithDigests):
        return found
    of_hash = exists().where(Shortened.invitation_id == Invitation.id, Shortened.digest.in_(wanted.digests))
    return or_(found, of_hash.correlate(Invitation))
