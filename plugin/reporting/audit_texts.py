"""Texts of the audit log: labels of actions and fields, and a field's values with names instead of ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask_babel import format_decimal, format_percent

from own_smtp.i18n import Text, gettext, isolated, list_some, ngettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.relays.confirmation_rule import RULE_TEXTS
from own_smtp.relays.policy import EVERYBODY
from own_smtp.relays.presets import PRESETS
from own_smtp.relays.window_texts import describe_windows
from own_smtp.reporting.explanations import BY_PAUSE
from own_smtp.reporting.state_counts import ANY_ROUTE_LABELS
from own_smtp.states import PauseReason, RelayTestState, Security, State
from own_smtp.storage.audit import AuditAction

MOST_NAMES = 10
"""How many tenants one line names; a longer list is cut."""

ACTIONS: dict[str, Text] = {
    AuditAction.RELAY_CREATED: _("Mail server added"),
    AuditAction.RELAY_CHANGED: _("Mail server changed"),
    AuditAction.RELAY_DELETED: _("Mail server deleted"),
    AuditAction.RELAY_PAUSED: _("Mail server paused"),
    AuditAction.RELAY_RESUMED: _("Mail server resumed"),
    AuditAction.RELAY_CONFIRMED: _("Mail server confirmed"),
    AuditAction.RELAY_TESTED: _("Settings tested"),
    AuditAction.CERTIFICATE_TRUSTED: _("Certificate trusted by its fingerprint"),
    AuditAction.TEST_MAIL_SENT: _("Test mail sent"),
    AuditAction.CONFIRMATION_REQUESTED: _("Confirmation mail asked for"),
    AuditAction.PROJECT_ROUTED: _("Way of a project chosen"),
    AuditAction.INVITATIONS_MOVED: _("Waiting invitations moved"),
    AuditAction.INVITATIONS_CANCELLED: _("Waiting invitations cancelled"),
    AuditAction.BATCH_PAUSED: _("Sending paused"),
    AuditAction.BATCH_RESUMED: _("Sending resumed"),
    AuditAction.BATCH_CANCELLED: _("Sending cancelled"),
    AuditAction.BATCH_RETRIED: _("Invitations sent again"),
    AuditAction.PERSON_FORGOTTEN: _("A recipient forgotten on request"),
    AuditAction.POLICY_CHANGED: _("Policy changed"),
}

FIELDS: dict[str, Text] = {
    "label": _("Name of this server"),
    "description": _("Note"),
    "host": _("Mail server"),
    "port": _("Port"),
    "security": _("Encryption"),
    "username": _("User name"),
    "password": _("Password"),
    "fingerprint": _("Certificate"),
    "sender_address": _("Sender address"),
    "sender_name": _("Sender name"),
    "reply_to": _("Replies to"),
    "envelope_sender": _("Envelope sender"),
    "confirmation_address": _("Address for the confirmation mail"),
    "ehlo_name": _("EHLO name"),
    "preset": _("Provider"),
    "max_connections": _("Connections at a time"),
    "messages_per_connection": _("Messages per connection"),
    "min_interval": _("Least time between two messages, in seconds"),
    "jitter": _("Random extra time"),
    "per_second": _("Messages per second"),
    "per_minute": _("Messages per minute"),
    "per_hour": _("Messages per hour"),
    "per_day": _("Messages per day"),
    "sending_windows": _("Hours in which it may send"),
    "timezone": _("Time zone of these hours"),
    "is_default": _("Suggested for all projects"),
    "suggested_users": _("Suggested for people"),
    "suggested_projects": _("Suggested for projects"),
    "relay": _("Mail server"),
    "fallback_after": _("Platform's mail takes over after"),
    "address": _("Address"),
    "reason": _("Reason"),
    "invitations": _("Invitations"),
    "batch": _("Sending"),
    "states": _("States"),
    "allowed_tenants": _("Tenants that may use own mail servers"),
    "tenants_added": _("Tenants that were chosen"),
    "tenants_removed": _("Tenants that are no longer chosen"),
    "relays_per_tenant": _("Mail servers per tenant"),
    "ceiling_connections": _("Most connections at a time to one server"),
    "ceiling_per_second": _("Most messages a second through one server"),
    "confirmation_rule": _("Who must confirm a mail server"),
    "test_recipients": _("Where test mails may go"),
    "keep_content": _("Days after which what invitations said is deleted"),
    "keep_recipients": _("Days after which recipients' addresses are shortened"),
    "allowed_ports": _("Ports that servers may have"),
    "allowed_networks": _("Private networks that servers may be in"),
    "allow_plaintext": _("Servers may be used without encryption"),
    "result": _("Result"),
}


SECURITIES: dict[str, Text] = {
    Security.STARTTLS: "STARTTLS",
    Security.IMPLICIT: _("Implicit TLS"),
    Security.NONE: _("not encrypted"),
}


@dataclass(frozen=True, slots=True)
class Names:
    """Names for ids. An unknown id is shown as it is."""

    relays: Mapping[int, str]
    projects: Mapping[str, str]
    name_of: Callable[[str], str]
    """Returns a person's name."""
    tenant_name: Callable[[str], str] = str
    """Returns a tenant's name."""


def value_text(name: str, value: Any, names: Names) -> str:
    """Return a field's value as text; empty for no value."""
    return "" if value is None or value in ("", []) else _formatter(name, names)(value)


def _formatter(name: str, names: Names) -> Callable[[Any], str]:
    """Return a function that turns a field's values into text: ids into names, others by their type."""
    match name:
        case "relay":
            return lambda relay_id: names.relays.get(relay_id, str(relay_id))
        case "suggested_users":
            return lambda ids: ", ".join(isolated(names.name_of(user_id)) for user_id in ids)
        case "suggested_projects":
            return lambda ids: ", ".join(isolated(names.projects.get(key, key)) for key in ids)
        case "allowed_tenants" | "tenants_added" | "tenants_removed":
            return lambda ids: gettext("all") if ids == EVERYBODY else list_some(ids, MOST_NAMES, names.tenant_name)
        case _:
            return _FORMATS.get(name, _words)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if isinstance(value, int | float):
        return str(format_decimal(value))
    if isinstance(value, list):
        return ", ".join(_words(item) for item in value)
    return str(value)


def _reason(value: Any) -> str:
    return str(BY_PAUSE[PauseReason(value)].cause) if value in set(PauseReason) else _words(value)


def _states(value: Any) -> str:
    return ", ".join(str(ANY_ROUTE_LABELS[State(item)]) for item in value)


def _hours(value: Any) -> str:
    return ngettext("%(num)s hour", "%(num)s hours", round(value / 3600))


def _days(value: Any) -> str:
    return str(format_decimal(round(value / 86_400, 2)))


def _percent(value: Any) -> str:
    return str(format_percent(value))


def _provider(value: Any) -> str:
    return str(PRESETS[value].name) if value in PRESETS else str(value)


def _result(value: Any) -> str:
    results = {RelayTestState.PASSED: gettext("passed"), RelayTestState.FAILED: gettext("failed")}
    return results.get(value) or _words(value)


_FORMATS: dict[str, Callable[[Any], str]] = {
    "reason": _reason,
    "states": _states,
    "security": lambda value: str(SECURITIES.get(value, value)),
    "port": str,
    "batch": str,
    "allowed_ports": lambda ports: ", ".join(str(port) for port in ports),
    "sending_windows": lambda windows: "; ".join(describe_windows(windows)),
    "fallback_after": _hours,
    "confirmation_rule": lambda rule: str(RULE_TEXTS.get(rule, rule)),
    "keep_content": _days,
    "keep_recipients": _days,
    "jitter": _percent,
    "preset": _provider,
    "result": _result,
}
"""How to show the values of some fields; all others are shown by their type."""
