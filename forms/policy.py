"""The form of the platform's policy: it has fields only for settings that the page may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from wtforms import BooleanField, Field, IntegerField, RadioField, SelectMultipleField, StringField, TextAreaField
from wtforms.validators import InputRequired, NumberRange, ValidationError
from wtforms.widgets import CheckboxInput, ListWidget

from own_smtp.errors import AddressError, ConfigurationError
from own_smtp.forms.base import BaseForm
from own_smtp.forms.checks import number_of, required
from own_smtp.hooks.events import Tenant
from own_smtp.i18n import gettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.relays.confirmation_rule import RULE_TEXTS
from own_smtp.relays.policy import EDITABLE, Policy, may_open
from own_smtp.settings import Network, PolicyPage, Settings, key_of, read_value
from own_smtp.smtp.addresses import parse_address

MOST_DAYS = 3650
EVERYBODY, CHOSEN = "all", "chosen"
_NUMBER = _("A number from %(min)s to %(max)s, please.")


@dataclass(frozen=True, slots=True)
class Fixed:
    """A setting that the page shows but cannot change."""

    name: str
    value: Any
    is_configured: bool
    """Whether the configuration sets it; otherwise it is open, but not to this page."""

    @property
    def key(self) -> str:
        """The name of the setting in the configuration."""
        return key_of(self.name)


class PolicyForm(BaseForm):
    """Who may use their own mail servers, and how."""

    who = RadioField(_("Who may use own mail servers"))
    allowed_tenants = SelectMultipleField(
        _("Tenants"), widget=ListWidget(), option_widget=CheckboxInput(), validate_choice=False
    )
    relays_per_tenant = IntegerField(
        _("Mail servers per tenant"), [InputRequired(_NUMBER), NumberRange(1, 10_000, _NUMBER)]
    )
    ceiling_connections = IntegerField(
        _("Most connections at a time to one server"),
        [InputRequired(_NUMBER), NumberRange(1, 1000, _NUMBER)],
        description=_("Whatever a tenant asks for."),
    )
    ceiling_per_second = number_of(
        _("Most messages a second through one server"),
        _("Whatever a tenant asks for: 5 means 300 a minute, 18,000 an hour. Leave empty for no ceiling."),
        least=0.001,
        most=10_000,
        whole=False,
    )
    confirmation_rule = RadioField(
        _("Who must confirm a mail server"),
        description=_("Counts where the confirmation email is to go to another address than the sender's."),
    )
    test_recipients = TextAreaField(
        _("Where test mails may go"),
        description=_(
            "To the acting person's own address always. Further ones, one a line: an address, “@” and a domain, or “*”"
            " for any."
        ),
    )
    keep_content = IntegerField(
        _("Days after which what invitations said is deleted"),
        [InputRequired(_NUMBER), NumberRange(1, MOST_DAYS, _NUMBER)],
        description=_("Counted from the last change in a finished sending."),
    )
    keep_recipients = IntegerField(
        _("Days after which recipients' addresses are shortened"),
        [InputRequired(_NUMBER), NumberRange(1, MOST_DAYS, _NUMBER)],
        description=_("States, codes and the host's references stay."),
    )
    allowed_ports = StringField(
        _("Ports that servers may have"), [required()], description=_("Numbers with commas between them.")
    )
    allowed_networks = TextAreaField(
        _("Private networks that servers may be in"),
        description=_(
            "Such as 10.1.0.0/16, one a line. Everything else that is not public is refused, whatever name leads there."
        ),
    )
    allow_plaintext = BooleanField(
        _("Servers may be used without encryption"),
        description=_("Only in networks that you trust. A password is never sent without encryption."),
    )

    def __init__(
        self, policy: Policy, now: Settings, chosen: frozenset[str], tenants: Sequence[Tenant] | None = None
    ) -> None:
        """`now` are the current values, `chosen` the selected tenants, whether the selection applies or not.

        `tenants` are the tenants to choose from; `None` means that there are too many for a form: `chosen` stays as it
        is.
        """
        super().__init__(data=_values(now) | {"allowed_tenants": sorted(chosen)})
        self.policy = policy
        self.chosen = chosen
        self.is_chosen = now.allowed_tenants is not None
        self.who.choices = [(EVERYBODY, gettext("All tenants")), (CHOSEN, gettext("Only chosen ones"))]
        self.confirmation_rule.choices = [(rule.value, text) for rule, text in RULE_TEXTS.items()]
        self.allowed_tenants.choices = [(tenant.tenant_id, tenant.name) for tenant in tenants or ()]
        self.fixed = [
            Fixed(name, getattr(now, name), name in policy.fixed) for name in EDITABLE if not policy.may_edit(name)
        ]
        for item in self.fixed:
            del self[item.name]
        if any(item.name == "allowed_tenants" for item in self.fixed):
            del self["who"]
        elif tenants is None:
            del self["allowed_tenants"]

    def validate_allowed_tenants(self, item: Field) -> None:
        """Accept only tenants that were offered; an empty selection means that no tenant may."""
        known = {key for key, _name in item.choices}
        if not set(item.data or ()) <= known:
            raise ValidationError(gettext("There is no such tenant."))

    def validate_test_recipients(self, item: Field) -> None:
        """Accept addresses, domains and the star."""
        for entry in read_value("test_recipients", item.data or ""):
            local, at, domain = entry.rpartition("@")
            try:
                parse_address(f"{local or 'x'}{at}{domain}" if entry != "*" else "x@example.org")
            except AddressError as error:
                raise ValidationError(
                    gettext("This is neither an address nor “@” and a domain: %(entry)s", entry=entry)
                ) from error

    def validate_allowed_ports(self, item: Field) -> None:
        """Accept port numbers; further ports only where the configuration lets the page open them."""
        ports = _read("allowed_ports", item.data, gettext("Ports are numbers from 1 to 65535."))
        if not ports:
            raise ValidationError(gettext("Ports are numbers from 1 to 65535."))
        further = ports - self.policy.settings.allowed_ports
        if further and self.policy.settings.policy_page is not PolicyPage.NETWORK:
            listed = ", ".join(str(port) for port in sorted(self.policy.settings.allowed_ports))
            raise ValidationError(
                gettext("Only the configuration opens further ports. Possible here: %(ports)s.", ports=listed)
            )

    def validate_allowed_networks(self, item: Field) -> None:
        """Accept private networks only: other networks that are not public can be opened in the configuration alone."""
        networks: tuple[Network, ...] = _read(
            "allowed_networks", item.data, gettext("Networks look like 10.1.0.0/16, or fd12:3456::/48.")
        )
        refused = [str(network) for network in networks if not may_open(network)]
        if refused:
            raise ValidationError(
                gettext(
                    "Only private networks can be opened here (RFC 1918 and RFC 4193), not %(networks)s.",
                    networks=", ".join(refused),
                )
            )

    def values(self) -> dict[str, Any]:
        """Return the submitted settings. Only after `validate`."""
        values = {name: self._value(name) for name in EDITABLE if name in self._fields}
        # Where the form names no tenants and the selection applies already, whoever chooses one meanwhile is heard.
        keeps = "allowed_tenants" not in self._fields and self.is_chosen
        if "who" not in self._fields or (keeps and self.who.data == CHOSEN):
            return values
        return values | {"allowed_tenants": self._allowed()}

    def _allowed(self) -> frozenset[str] | None:
        if self.who.data == EVERYBODY:
            return None
        return frozenset(self.allowed_tenants.data or ()) if "allowed_tenants" in self._fields else self.chosen

    def _value(self, name: str) -> Any:
        typed = self._fields[name].data
        match name:
            case "keep_content" | "keep_recipients":
                return timedelta(days=typed)
            case "ceiling_per_second":
                return typed
            case "allowed_ports" | "allowed_networks" | "test_recipients":
                return read_value(name, typed or "")
            case _:
                return read_value(name, typed)


def _read(name: str, typed: str | None, problem: str) -> Any:
    try:
        return read_value(name, typed or "")
    except ConfigurationError as error:
        raise ValidationError(problem) from error


def _values(now: Settings) -> dict[str, Any]:
    values = {name: getattr(now, name) for name in EDITABLE}
    return {
        **values,
        "who": EVERYBODY if now.allowed_tenants is None else CHOSEN,
        "allowed_ports": ", ".join(str(port) for port in sorted(now.allowed_ports)),
        "test_recipients": "\n".join(now.test_recipients),
        "keep_content": now.keep_content.days,
        "keep_recipients": now.keep_recipients.days,
        "allowed_networks": "\n".join(str(network) for network in now.allowed_networks),
    }
