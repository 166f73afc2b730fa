"""What is known of mail providers: where their servers are, what they publish as limits, what to know first.

Plain data. Providers change such things without notice, so each page that shows a preset says of when it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from own_smtp.states import Security
from own_smtp.texts import Text
from own_smtp.texts import lazy_gettext as _

AS_OF = date(2025, 6, 1)
"""When this was true, unless a preset says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One provider."""

    key: str
    name: Text
    host: str = ""
    """Empty where each customer has a server of their own."""
    port: int = 587
    security: Security = Security.STARTTLS
    know: Text = ""
    """What to know before filling in the form."""
    limits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Published limits, by the field of the relay form that keeps to them."""
    as_of: date = AS_OF

    def values(self) -> dict[str, str | int]:
        """Return what it fills in, by field."""
        return {"host": self.host, "port": self.port, "security": self.security, "preset": self.key, **self.limits}


_ALL = (
    Preset(
        key="google",
        name="Gmail, Google Workspace",
        host="smtp.gmail.com",
        know=_(
            "It wants an app password, for which the account needs 2-step verification. A free account may send about"
            " 500 messages a day, one of Google Workspace 2,000."
        ),
        limits={"per_day": 500},
    ),
    Preset(
        key="microsoft-365",
        name="Microsoft 365, Exchange Online",
        host="smtp.office365.com",
        know=_(
            "“Authenticated SMTP” must be switched on for this mailbox, and security defaults off. Microsoft is phasing"
            " out passwords for it: ask your administrator first."
        ),
        limits={"per_minute": 30, "per_day": 10_000, "max_connections": 3},
    ),
    Preset(
        key="exchange",
        name=_("Exchange on the premises"),
        know=_(
            "Enter the server's name. It must be reachable from this platform; receive connectors limit messages per"
            " minute, which your administrator can raise for this account."
        ),
    ),
    Preset(
        key="amazon-ses",
        name="Amazon SES",
        host="email-smtp.eu-central-1.amazonaws.com",
        know=_(
            "Put your own region into the server's name. It wants SMTP credentials, not access keys, and a verified"
            " sender; new accounts may send only to verified addresses until they leave the sandbox."
        ),
    ),
    Preset(
        key="mailgun",
        name="Mailgun",
        host="smtp.mailgun.org",
        know=_("In the EU region the server is smtp.eu.mailgun.org. The user is that of the sending domain."),
    ),
    Preset(
        key="sendgrid",
        name="SendGrid",
        host="smtp.sendgrid.net",
        know=_("The user name is the word “apikey”, the password an API key. The sender must be verified."),
    ),
    Preset(
        key="postmark",
        name="Postmark",
        host="smtp.postmarkapp.com",
        know=_("User name and password are both the server's API token. The sender must be verified."),
    ),
    Preset(
        key="brevo",
        name="Brevo",
        host="smtp-relay.brevo.com",
        know=_("The password is an SMTP key, not the account's own. A free account may send 300 messages a day."),
        limits={"per_day": 300},
    ),
    Preset(
        key="mailjet",
        name="Mailjet",
        host="in-v3.mailjet.com",
        know=_("User name and password are API key and secret key. A free account may send 200 messages a day."),
        limits={"per_day": 200},
    ),
    Preset(
        key="sparkpost",
        name="SparkPost",
        host="smtp.sparkpostmail.com",
        know=_(
            "In the EU region the server is smtp.eu.sparkpostmail.com. The user name is “SMTP_Injection”, the password"
            " an API key."
        ),
    ),
    Preset(
        key="zoho",
        name="Zoho Mail",
        host="smtp.zoho.com",
        port=465,
        security=Security.IMPLICIT,
        know=_(
            "Addresses of an own domain use smtppro.zoho.com, accounts in the EU end in .eu. With two-factor"
            " authentication it wants an app password."
        ),
    ),
    Preset(
        key="fastmail",
        name="Fastmail",
        host="smtp.fastmail.com",
        port=465,
        security=Security.IMPLICIT,
        know=_("It wants an app password, made in the account's security settings, instead of the account's own."),
    ),
    Preset(
        key="icloud",
        name="iCloud Mail",
        host="smtp.mail.me.com",
        know=_("It wants an app-specific password, and takes up to 1,000 messages a day."),
        limits={"per_day": 1000},
    ),
    Preset(
        key="ionos",
        name="IONOS",
        host="smtp.ionos.de",
        port=465,
        security=Security.IMPLICIT,
        know=_(
            "Outside Germany the server is named after the country, for example smtp.ionos.co.uk or smtp.ionos.com."
        ),
    ),
    Preset(
        key="strato",
        name="STRATO",
        host="smtp.strato.de",
        port=465,
        security=Security.IMPLICIT,
        know=_("The user name is the whole e-mail address."),
    ),
    Preset(
        key="gmx",
        name="GMX",
        host="mail.gmx.net",
        know=_("Sending by other programs must be switched on in the mailbox first (POP3 and IMAP)."),
    ),
    Preset(
        key="web-de",
        name="WEB.DE",
        host="smtp.web.de",
        know=_("Sending by other programs must be switched on in the mailbox first (POP3 and IMAP)."),
    ),
    Preset(
        key="ovh",
        name="OVHcloud",
        host="ssl0.ovh.net",
        port=465,
        security=Security.IMPLICIT,
        know=_(
            "The user name is the whole e-mail address. Exchange and Email Pro have other servers: see your account."
        ),
    ),
    Preset(
        key="infomaniak",
        name="Infomaniak",
        host="mail.infomaniak.com",
        port=465,
        security=Security.IMPLICIT,
        know=_("Most accounts may send 1,440 messages in 24 hours, the smallest 100 to 500."),
        limits={"per_day": 1440},
    ),
    Preset(
        key="postfix",
        name=_("Postfix on the premises"),
        know=_("Enter the server's name. The submission service (port 587) must be reachable from this platform."),
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({preset.key: preset for preset in _ALL})
"""All presets by key, in the order in which they are offered."""
