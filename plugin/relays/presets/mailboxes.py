"""The presets of mailbox providers: for organisations, web hosting customers and private persons."""

from __future__ import annotations

from datetime import date

from own_smtp.i18n import lazy_gettext as _
from own_smtp.relays.presets.provider import NODEMAILER, NODEMAILER_READ, THUNDERBIRD, THUNDERBIRD_READ, UNDATED, Preset
from own_smtp.states import Security

MAILBOXES = (
    Preset(
        key="domainfactory",
        name="DomainFactory",
        host="sslout.df.eu",
        port=465,
        security=Security.IMPLICIT,
        know=_(
            "The user name is the whole e-mail address. Mailboxes of newer products have other servers: see your"
            " account."
        ),
        as_of=THUNDERBIRD_READ,
        sources=("https://df.eu/blog/sslin-df-eu-sslout-df-eu", THUNDERBIRD),
    ),
    Preset(
        key="fastmail",
        name="Fastmail",
        host="smtp.fastmail.com",
        port=465,
        security=Security.IMPLICIT,
        know=_("It wants an app password, made in the account's security settings, instead of the account's own."),
        as_of=NODEMAILER_READ,
        sources=("https://www.fastmail.com/help/technical/servernamesandports.html", NODEMAILER),
    ),
    Preset(
        key="gandi",
        name="Gandi",
        host="mail.gandi.net",
        port=465,
        security=Security.IMPLICIT,
        know=_("The user name is the whole e-mail address."),
        as_of=NODEMAILER_READ,
        sources=(NODEMAILER,),
    ),
    Preset(
        key="gmail",
        name="Gmail",
        host="smtp.gmail.com",
        know=_(
            "It wants an app password, for which the account needs 2-step verification. A personal account may send"
            " about 500 messages a day."
        ),
        limits={"per_day": 500},
        as_of=NODEMAILER_READ,
        sources=("https://developer.nylas.com/docs/cookbook/email/gmail-smtp-settings/", NODEMAILER),
    ),
    Preset(
        key="gmx",
        name="GMX",
        host="mail.gmx.net",
        know=_(
            "Sending by other programs must be switched on in the mailbox first (POP3 and IMAP). The sender must be an"
            " address of the mailbox; with two-factor authentication it wants a password of its own for programs."
        ),
        as_of=THUNDERBIRD_READ,
        sources=("https://support.gmx.com/pop-imap/toggle.html", THUNDERBIRD),
    ),
    Preset(
        key="google",
        name="Google Workspace",
        host="smtp.gmail.com",
        know=_(
            "It wants an app password, for which the account needs 2-step verification. It may send 2,000 messages in"
            " 24 hours, while the subscription is on trial 500."
        ),
        limits={"per_day": 2000},
        as_of=NODEMAILER_READ,
        sources=("https://support.google.com/a/answer/166852", NODEMAILER),
    ),
    Preset(
        key="hetzner",
        name=_("Hetzner, web hosting"),
        host="mail.your-server.de",
        port=465,
        security=Security.IMPLICIT,
        know=_(
            "The user name is the whole e-mail address. Hetzner allows 500 messages an hour, and no bulk mail such as"
            " newsletters: ask before you invite many."
        ),
        limits={"per_hour": 500},
        as_of=THUNDERBIRD_READ,
        sources=("https://www.hetzner.com/legal/webhosting/", THUNDERBIRD),
    ),
    Preset(
        key="icloud",
        name="iCloud Mail",
        host="smtp.mail.me.com",
        know=_("It wants an app-specific password, and takes up to 1,000 messages a day."),
        limits={"per_day": 1000},
        as_of=NODEMAILER_READ,
        sources=("https://support.apple.com/en-ca/102198", NODEMAILER),
    ),
    Preset(
        key="infomaniak",
        name="Infomaniak",
        host="mail.infomaniak.com",
        port=465,
        security=Security.IMPLICIT,
        know=_("Most accounts may send 1,440 messages in 24 hours, those of the free offers 500."),
        limits={"per_day": 1440},
        as_of=NODEMAILER_READ,
        sources=(
            "https://www.infomaniak.com/en/support/faq/2065/understanding-the-24-hour-outgoing-email-limit",
            NODEMAILER,
        ),
    ),
    Preset(
        key="ionos",
        name="IONOS",
        host="smtp.ionos.de",
        port=465,
        security=Security.IMPLICIT,
        know=_(
            "Outside Germany the server is named after the country, for example smtp.ionos.co.uk or smtp.ionos.com. The"
            " sender must be of a domain of your contract. How much you may send in an hour depends on its age."
        ),
        as_of=UNDATED,
        sources=(
            "https://www.ionos.co.uk/help/email/glossary-email-terms-explained/outgoing-mail-server/",
            "https://www.ionos.ca/help/email/general-topics/what-are-the-mass-mailing-limits/",
        ),
    ),
    Preset(
        key="mailbox-org",
        name="mailbox.org",
        host="smtp.mailbox.org",
        port=465,
        security=Security.IMPLICIT,
        know=_("The user name is the account's main address. With two-factor authentication it wants an app password."),
        as_of=date(2026, 4, 21),
        sources=(
            "https://kb.mailbox.org/en/business/e-mail/e-mail-configuration/",
            "https://github.com/chatmail/provider-db",
        ),
    ),
    Preset(
        key="microsoft-365",
        name="Microsoft 365, Exchange Online",
        host="smtp.office365.com",
        know=_(
            "“Authenticated SMTP” must be switched on for this mailbox, and security defaults off. At the end of 2026"
            " Microsoft switches passwords off for it, which your administrator can undo until they go for good: ask"
            " first."
        ),
        limits={"per_minute": 30, "per_day": 10_000, "max_connections": 3},
        as_of=date(2026, 1, 29),
        sources=(
            "https://learn.microsoft.com/en-us/exchange/troubleshoot/send-emails/smtp-submission-improvements",
            "https://techcommunity.microsoft.com/blog/exchange/updated-exchange-online-smtp-auth-basic-authentication-deprecation-timeline/4489835",
        ),
    ),
    Preset(
        key="one-com",
        name="one.com",
        host="send.one.com",
        port=465,
        security=Security.IMPLICIT,
        know=_("The user name is the whole e-mail address."),
        as_of=NODEMAILER_READ,
        sources=(NODEMAILER,),
    ),
    Preset(
        key="outlook-com",
        name="Outlook.com, Hotmail",
        host="smtp-mail.outlook.com",
        know=_(
            "Personal mailboxes of Microsoft have let no program sign in with a password since September 2024. They"
            " cannot be used here: choose another mailbox."
        ),
        as_of=NODEMAILER_READ,
        sources=("https://developer.nylas.com/docs/cookbook/email/outlook-smtp-settings/", THUNDERBIRD),
    ),
    Preset(
        key="ovh",
        name="OVHcloud",
        host="ssl0.ovh.net",
        port=465,
        security=Security.IMPLICIT,
        know=_(
            "The user name is the whole e-mail address. Exchange and Email Pro have other servers, and so have accounts"
            " outside Europe: see your account."
        ),
        as_of=THUNDERBIRD_READ,
        sources=("https://github.com/ovh/docs",),
    ),
    Preset(
        key="posteo",
        name="Posteo",
        host="posteo.de",
        port=465,
        security=Security.IMPLICIT,
        know=_("Make an app password for this platform in the account's settings."),
        as_of=THUNDERBIRD_READ,
        sources=("https://posteo.de/en/help/app-passwords", THUNDERBIRD),
    ),
    Preset(
        key="proton",
        name="Proton Mail",
        host="smtp.protonmail.ch",
        know=_(
            "It wants an SMTP token for an address of a domain of your own, made in the settings: plans for businesses"
            " and families have it, free accounts do not."
        ),
        as_of=NODEMAILER_READ,
        sources=("https://proton.me/support/smtp-submission", NODEMAILER),
    ),
    Preset(
        key="strato",
        name="STRATO",
        host="smtp.strato.de",
        port=465,
        security=Security.IMPLICIT,
        know=_("The user name is the whole e-mail address."),
        as_of=THUNDERBIRD_READ,
        sources=(
            "https://www.strato.de/faq/mail/externes-e-mail-programm-mit-strato-e-mail-adresse-nutzen/",
            THUNDERBIRD,
        ),
    ),
    Preset(
        key="t-online",
        name="T-Online",
        host="securesmtp.t-online.de",
        port=465,
        security=Security.IMPLICIT,
        know=_(
            "The user name is the whole e-mail address. It wants the password for e-mail programs, which is set in the"
            " account beside the one for signing in."
        ),
        as_of=THUNDERBIRD_READ,
        sources=(
            "https://www.telekom.de/hilfe/apps-dienste/e-mail/einstellungen/posteingang-postausgang-server",
            THUNDERBIRD,
        ),
    ),
    Preset(
        key="web-de",
        name="WEB.DE",
        host="smtp.web.de",
        know=_(
            "Sending by other programs must be switched on in the mailbox first (POP3 and IMAP). The user name is the"
            " part of the address before the @."
        ),
        as_of=THUNDERBIRD_READ,
        sources=("https://hilfe.web.de/pop-imap/imap/imap-serverdaten.html", THUNDERBIRD),
    ),
    Preset(
        key="yahoo",
        name="Yahoo Mail",
        host="smtp.mail.yahoo.com",
        port=465,
        security=Security.IMPLICIT,
        know=_("It wants an app password, made in the account's security settings, instead of the account's own."),
        as_of=NODEMAILER_READ,
        sources=(
            "https://help.yahoo.com/kb/new-mail-for-desktop/imap-server-settings-yahoo-mail-sln4075.html",
            NODEMAILER,
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
            " authentication it wants an app password. The sender must be an address of the account."
        ),
        as_of=THUNDERBIRD_READ,
        sources=("https://www.zoho.com/mail/help/zoho-smtp.html", THUNDERBIRD),
    ),
)
