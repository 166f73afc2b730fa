"""The forms for selecting tenants: ticks on one page of the list, and many at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from wtforms import Field, SelectMultipleField, TextAreaField
from wtforms.validators import ValidationError

from own_smtp.forms.base import BaseForm
from own_smtp.forms.checks import required
from own_smtp.hooks.events import Tenant
from own_smtp.i18n import gettext, list_some
from own_smtp.i18n import lazy_gettext as _

MOST_NAMED = 5
"""The maximum number of unknown lines that an error names."""


class TicksForm(BaseForm):
    """The tenants that a page showed, and those that were ticked when it was posted."""

    shown = SelectMultipleField(_("Tenants"), validate_choice=False)
    chosen = SelectMultipleField(_("Tenants"), validate_choice=False)

    def __init__(self, tenants: Sequence[Tenant]) -> None:
        """`tenants` are all existing ones."""
        super().__init__()
        self.known = {tenant.tenant_id for tenant in tenants}

    def validate_shown(self, item: Field) -> None:
        """Accept only existing tenants."""
        if not {*(item.data or ()), *(self.chosen.data or ())} <= self.known:
            raise ValidationError(gettext("There is no such tenant."))

    @property
    def added(self) -> frozenset[str]:
        """Tenants with a tick. Only after `validate`."""
        return frozenset(self.chosen.data or ())

    @property
    def removed(self) -> frozenset[str]:
        """Tenants that were shown and have no tick. Only after `validate`."""
        return frozenset(self.shown.data or ()) - self.added


class ManyForm(BaseForm):
    """Tenants to select, typed or pasted one a line."""

    many = TextAreaField(
        _("Names or ids of tenants"), [required()], description=_("One a line, each exactly as it is in the list.")
    )

    def __init__(self, tenants: Sequence[Tenant]) -> None:
        """`tenants` are all existing ones."""
        super().__init__()
        self._by_id = {tenant.tenant_id for tenant in tenants}
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for tenant in tenants:
            self._by_name[tenant.name.strip().casefold()].append(tenant.tenant_id)

    removed: frozenset[str] = frozenset()
    """None: this form only adds."""

    @property
    def added(self) -> frozenset[str]:
        """The ids of the tenants in the lines. Only after `validate`."""
        return frozenset(tenant_id for line in self._lines() for tenant_id in self._matches(line))

    def validate_many(self, _item: Field) -> None:
        """Accept only lines that match exactly one tenant each."""
        meant = {line: self._matches(line) for line in self._lines()}
        unknown = [line for line, ids in meant.items() if not ids]
        if unknown:
            raise ValidationError(gettext("There is no such tenant: %(lines)s.", lines=_named(unknown)))
        ambiguous = [line for line, ids in meant.items() if len(ids) > 1]
        if ambiguous:
            raise ValidationError(
                gettext("Several tenants are called so, please write their ids: %(lines)s.", lines=_named(ambiguous))
            )

    def _lines(self) -> list[str]:
        return [line.strip() for line in (self.many.data or "").splitlines() if line.strip()]

    def _matches(self, line: str) -> list[str]:
        return [line] if line in self._by_id else self._by_name.get(line.casefold(), [])


def _named(lines: list[str]) -> str:
    return list_some(lines, MOST_NAMED, "“{}”".format)
