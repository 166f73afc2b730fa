"""The form of a mail server. It turns the input into a `RelayDraft`, or reports errors field by field."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from flask import request
from werkzeug.datastructures import MultiDict
from wtforms import Field
from wtforms.validators import ValidationError

from own_smtp.errors import TargetError
from own_smtp.forms.base import typed_fields
from own_smtp.forms.relay_fields import DEFAULT_CONNECTIONS, RelayFields
from own_smtp.forms.windows import rows_of, windows_of, zone_choices
from own_smtp.i18n import Text, gettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.relays.dry_runs import Kept, Typed
from own_smtp.relays.edits import GUARDS_PASSWORD, RELAY_FIELDS, RelayDraft
from own_smtp.relays.presets import PRESETS, Preset
from own_smtp.settings import Settings
from own_smtp.smtp.hostnames import clean_host
from own_smtp.states import Security
from own_smtp.storage.models import Relay

DEFAULT_PORTS = {Security.STARTTLS: 587, Security.IMPLICIT: 465, Security.NONE: 25}
UNUSUAL = {
    (Security.STARTTLS, 465),
    (Security.IMPLICIT, 587),
    (Security.IMPLICIT, 25),
    (Security.IMPLICIT, 2525),
    (Security.NONE, 465),
}
"""Pairs of encryption and port that hardly any server supports."""

EHLO_NAME = re.compile(r"(?=.{4,255}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}", re.IGNORECASE)


class RelayForm(RelayFields):
    """One mail server."""

    def __init__(
        self,
        *,
        settings: Settings,
        relay: Relay | None = None,
        timezone: str = "UTC",
        preset: str | None = None,
        tested: Kept | None = None,
    ) -> None:
        """`timezone` is the tenant's, for a new relay. `preset` names the provider whose values are filled in.

        `tested` are settings that were tested before: they fill the form, and their password need not be typed again.
        """
        values = _values(relay) if relay else {"timezone": timezone, "sending_windows": rows_of(())}
        values |= PRESETS[preset].values() if preset and preset in PRESETS else {}
        filled = tested.typed if tested and request.method == "GET" else None
        typed = [(name, text) for name, texts in (filled or {}).items() for text in texts]
        # Without `formdata` a form reads the posted data, if any.
        super().__init__(data=values, **({"formdata": MultiDict(typed)} if typed else {}))
        self.settings = settings
        self.relay = relay
        self.tested = tested.draft if tested else None
        self.security.choices = _choices(settings)
        self.timezone.choices = zone_choices(relay.timezone if relay else timezone)
        self.password.description = self._about_password()

    def _about_password(self) -> Text:
        if self.tested and self.tested.password:
            return _("Leave empty to use the one that you typed for the test.")
        if self.relay and self.relay.password:
            return _("Leave empty to keep the stored one.")
        return _("Stored encrypted and never shown again.")

    @property
    def trusted(self) -> str | None:
        """The fingerprint of the one trusted certificate; `None` means certificate authorities."""
        origin = self.tested or self.relay
        return origin.fingerprint if origin else None

    def validate_host(self, item: Field) -> None:
        """Extract the host name from a pasted address; its port is used when none was typed."""
        try:
            item.data, port = clean_host(item.data)
        except TargetError as error:
            raise ValidationError(gettext("This is not the name of a server.")) from error
        if self.port.data is None:
            self.port.data = port

    def validate_ehlo_name(self, item: Field) -> None:
        """Require a full host name: servers reject others."""
        if not EHLO_NAME.fullmatch(item.data):
            raise ValidationError(gettext("A full host name is needed, for example mail.example.com."))

    def validate_max_connections(self, item: Field) -> None:
        """Enforce the platform's maximum."""
        ceiling = self.settings.ceiling_connections
        if item.data is not None and item.data > ceiling:  # not a number: rejected already
            raise ValidationError(gettext("This platform allows at most %(number)s.", number=ceiling))

    def validate(self, extra_validators: Any = None) -> bool:
        """Check each field, then combinations of fields."""
        fields_are_fine: bool = super().validate(extra_validators)
        checks = (self._check_port(), self._check_account(), self._check_windows())
        return fields_are_fine and all(checks)

    def _check_port(self) -> bool:
        if self.port.errors or self.security.errors:
            return False
        self.port.data = self.port.data or DEFAULT_PORTS[Security(self.security.data)]
        if self.port.data in self.settings.allowed_ports:
            return True
        ports = ", ".join(str(port) for port in sorted(self.settings.allowed_ports))
        return _refuse(self.port, gettext("Allowed on this platform: %(ports)s.", ports=ports))

    def _check_account(self) -> bool:
        if not self.auth.data:
            return True
        if self.security.data == Security.NONE:
            return _refuse(
                self.security, gettext("A password is never sent without encryption. Choose one, or switch it off.")
            )
        missing = [] if self.username.data else [self.username]
        is_known = any(origin is not None and origin.password is not None for origin in (self.tested, self.relay))
        if not self.password.data and not is_known:
            missing.append(self.password)
        for item in missing:
            _refuse(item, gettext("Please fill in this field."))
        return not missing

    def _check_windows(self) -> bool:
        rows = [row.form for row in self.sending_windows]
        if not self.sending_windows.errors and all(row.is_whole or row.is_empty for row in rows):
            return True
        # One error for the whole field: WTForms would store a list of dictionaries.
        self.sending_windows.errors = ()
        return _refuse(self.sending_windows, gettext("Each line needs days and two times, such as 08:00 and 18:00."))

    @property
    def provider(self) -> Preset | None:
        """The preset that filled the form."""
        return PRESETS.get(self.preset.data or "")

    @property
    def has_windows(self) -> bool:
        """Whether the sending windows have input or errors to show."""
        return bool(self.sending_windows.errors) or any(row.form.is_whole for row in self.sending_windows)

    @property
    def is_unusual(self) -> bool:
        """Whether encryption and port hardly ever occur together."""
        return (self.security.data, self.port.data) in UNUSUAL

    def draft(self) -> RelayDraft:
        """Return the input as a draft. Only after `validate`."""
        values = {name: self._fields[name].data for name in RELAY_FIELDS if name in self._fields}
        values |= {
            "security": Security(values["security"]),
            "username": values["username"] if self.auth.data else None,
            "password": self.password.data or None if self.auth.data else None,
            "max_connections": values["max_connections"] or min(DEFAULT_CONNECTIONS, self.settings.ceiling_connections),
            "jitter": (values["jitter"] or 0) / 100,
            "sending_windows": windows_of(self.sending_windows),
        }
        values["ehlo_name"] = values["ehlo_name"] or None
        values["fingerprint"] = self._fingerprint()
        return self._with_tested_password(RelayDraft(**values))

    def _fingerprint(self) -> str | None:
        """Return the certificate to trust: never that of another server, and none when authorities are used."""
        origin = self.tested or self.relay
        is_same = origin is not None and origin.host == self.host.data
        return self.trusted if is_same and not self.usual_authorities.data else None

    def _with_tested_password(self, draft: RelayDraft) -> RelayDraft:
        """Insert the test's password, for the server and the user that it was typed for."""
        tested = self.tested
        if tested is None or draft.username is None or draft.password is not None:
            return draft
        is_same = all(getattr(tested, name) == getattr(draft, name) for name in GUARDS_PASSWORD)
        return replace(draft, password=tested.password) if is_same else draft

    def typed(self) -> Typed:
        """Return the fields as posted, to fill the form again. A password is never shown again."""
        not_shown = {self.meta.csrf_field_name, "test", "password"}
        return {name: values for name, values in typed_fields().lists() if name not in not_shown}

    def is_open(self, names: tuple[str, ...]) -> bool:
        """Whether a collapsed group has input or errors to show."""
        items = [self._fields[name] for name in names]
        return any(item.errors or item.data not in (None, "", item.default) for item in items)


def _values(relay: Relay) -> dict[str, Any]:
    values = {name: getattr(relay, name) for name in RELAY_FIELDS}
    values["sending_windows"] = rows_of(relay.sending_windows or ())
    return {**values, "auth": relay.username is not None, "jitter": round(relay.jitter * 100) or None}


def _choices(settings: Settings) -> list[tuple[str, Any]]:
    choices: list[tuple[str, Any]] = [
        (Security.STARTTLS, _("STARTTLS: begins in plain text and then encrypts, usually port 587")),
        (Security.IMPLICIT, _("Implicit TLS: encrypted from the first byte, usually port 465")),
    ]
    if settings.allow_plaintext:
        choices.append((Security.NONE, _("None: anybody on the way can read it; not possible with a password")))
    return choices


def _refuse(item: Field, text: str) -> bool:
    item.errors = (*item.errors, text)
    return False
