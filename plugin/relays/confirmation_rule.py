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


SHARED_NAMES = frozenset({"aol", "gmail", "gmx", "googlemail", "hotmail", "outlook", "protonmail", "yahoo", "yandex"})
"""Registered names of mailbox providers under many endings."""
SHARED_DOMAINS = frozenset({
    "126.com", "163.com", "a1.net", "arcor.de", "bluewin.ch", "email.de", "fastmail.com", "free.fr",
    "freenet.de", "icloud.com", "kabelmail.de", "laposte.net", "libero.it", "live.com", "live.de", "live.fr",
    "live.nl", "mac.com", "magenta.de", "mail.com", "mail.de", "mail.ru", "mailbox.org", "me.com", "msn.com",
    "online.de", "orange.fr", "pm.me", "posteo.de", "posteo.net", "proton.me", "qq.com", "rocketmail.com",
    "seznam.cz", "sfr.fr", "t-online.de", "tuta.com", "tutanota.com", "tutanota.de", "vodafone.de",
    "wanadoo.fr", "web.de", "wp.pl", "ymail.com", "zoho.com",
})  # fmt: skip
"""Domains under which anybody can have an address: two of them are of no one organisation."""


def addresses_to_confirm(rule: ConfirmationRule, sender: str, chosen: str | None) -> tuple[str, ...]:
    """Return the recipients of confirmation mails, the chosen address first. All of them must confirm.

    `chosen` is the address that the tenant entered; `None` means the sender address. Under `ConfirmationRule.DOMAIN`
    another address suffices alone if it belongs to the sender's organisation; customers of one mailbox provider are not
    one organisation.
    """
    if chosen is None or chosen.lower() == sender.lower():
        return (sender,)
    suffices = rule is ConfirmationRule.ANY or (rule is ConfirmationRule.DOMAIN and _is_related(sender, chosen))
    return (chosen,) if suffices else (chosen, sender)


def organisational_domain(domain: str) -> str:
    """Return the organisational domain (RFC 7489, 3.2); for a public suffix, the suffix itself."""
    return _suffixes().privatesuffix(domain.lower()) or domain.lower()


def _is_related(one: str, other: str) -> bool:
    domain = organisational_domain(domain_of(one))
    is_shared = domain in SHARED_DOMAINS or domain.partition(".")[0] in SHARED_NAMES
    return not is_shared and domain == organisational_domain(domain_of(other))


@cache
def _suffixes() -> PublicSuffixList:
    # Loaded on first use: processes that only send don't need the list.
    return PublicSuffixList()
