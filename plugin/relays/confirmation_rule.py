"""The addresses that must confirm a relay before it may send."""

from __future__ import annotations

from functools import cache

from publicsuffixlist import PublicSuffixList

from own_smtp.i18n import Text
from own_smtp.i18n import lazy_gettext as _
from own_smtp.settings import ConfirmationRule
from own_smtp.smtp.addresses import domain_of

RULE_TEXTS: dict[ConfirmationRule, Text] = {
    ConfirmationRule.DOMAIN: _("An address of the sender's organisation alone; otherwise the sender address as well"),
    ConfirmationRule.SENDER: _("Always the sender address as well"),
    ConfirmationRule.ANY: _("The address that the tenant enters, whatever it is"),
}
"""The description of each rule, for people."""


def addresses_to_confirm(rule: ConfirmationRule, sender: str, chosen: str | None) -> tuple[str, ...]:
    """Return the recipients of confirmation mails, the chosen address first. All of them must confirm.

    `chosen` is the address that the tenant entered; `None` means the sender address. Under `ConfirmationRule.DOMAIN`
    another address suffices alone if it belongs to the sender's organisation.
    """
    if chosen is None or chosen.lower() == sender.lower():
        return (sender,)
    suffices = rule is ConfirmationRule.ANY or (rule is ConfirmationRule.DOMAIN and _is_related(sender, chosen))
    return (chosen,) if suffices else (chosen, sender)


def organisational_domain(domain: str) -> str:
    """Return the organisational domain (RFC 7489, 3.2); for a public suffix, the suffix itself."""
    return _suffixes().privatesuffix(domain.lower()) or domain.lower()


def _is_related(one: str, other: str) -> bool:
    return organisational_domain(domain_of(one)) == organisational_domain(domain_of(other))


@cache
def _suffixes() -> PublicSuffixList:
    # Loaded on first use: processes that only send don't need the list.
    return PublicSuffixList()
