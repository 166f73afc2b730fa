"""The presets of services that send for programs, and of servers on premises."""

from __future__ import annotations

from datetime import date

from own_smtp.i18n import lazy_gettext as _
from own_smtp.relays.presets.provider import NODEMAILER, NODEMAILER_READ, UNDATED, Preset

SENDING_SERVICES = (
    Preset(
        key="amazon-ses",
        name="Amazon SES",
        host="email-smtp.eu-central-1.amazonaws.com",
        know=_(
            "Put your own region into the server's name. It wants the SMTP credentials of that region, not access keys,"
            " and a verified sender; new accounts may send only to verified addresses until they leave the sandbox."
        ),
        as_of=NODEMAILER_READ,
        sources=("https://docs.aws.amazon.com/ses/latest/dg/smtp-connect.html", NODEMAILER),
    ),
    Preset(
        key="azure-communication",
        name="Azure Communication Services",
        host="smtp.azurecomm.net",
        know=_(
            "User name and password belong to an application in Microsoft Entra that your administrator connects with"
            " the service. The sender must be one of the service's own."
        ),
        as_of=UNDATED,
        sources=(
            "https://learn.microsoft.com/en-us/azure/communication-services/quickstarts/email/send-email-smtp/smtp-authentication",
        ),
    ),
    Preset(
        key="brevo",
        name="Brevo",
        host="smtp-relay.brevo.com",
        know=_(
            "Take the SMTP login and an SMTP key from the account's settings, not an API key. The sender must be set up"
            " there. A free account may send 300 messages a day."
        ),
        as_of=NODEMAILER_READ,
        sources=("https://developers.brevo.com/docs/smtp-integration", NODEMAILER),
    ),
    Preset(
        key="exchange",
        name=_("Exchange on the premises"),
        know=_(
            "Enter the server's name. It must be reachable from this platform; receive connectors limit messages per"
            " minute, which your administrator can raise for this account."
        ),
        as_of=UNDATED,
        sources=("https://learn.microsoft.com/en-us/Exchange/mail-flow/message-rate-limits",),
    ),
    Preset(
        key="google-relay",
        name=_("Google Workspace, SMTP relay service"),
        host="smtp-relay.gmail.com",
        know=_(
            "For more than a mailbox may send. Your administrator must switch the service on, and let this platform in"
            " by its address or by an account with an app password."
        ),
        as_of=NODEMAILER_READ,
        sources=("https://support.google.com/a/answer/2956491", NODEMAILER),
    ),
    Preset(
        key="mailgun",
        name="Mailgun",
        host="smtp.mailgun.org",
        know=_(
            "In the EU region the server is smtp.eu.mailgun.org. User name and password are those of the sending"
            " domain. A sandbox domain sends only to recipients that you have authorised."
        ),
        as_of=NODEMAILER_READ,
        sources=("https://documentation.mailgun.com/docs/mailgun/user-manual/sending-messages/send-smtp", NODEMAILER),
    ),
    Preset(
        key="mailjet",
        name="Mailjet",
        host="in-v3.mailjet.com",
        know=_(
            "User name and password are API key and secret key. The sender must be validated. A free account may send"
            " 200 messages a day."
        ),
        as_of=date(2026, 1, 20),
        sources=(
            "https://cloud.google.com/compute/docs/tutorials/sending-mail/using-mailjet",
            "https://www.mailjet.com/blog/mj_faq_category/pricing/",
        ),
    ),
    Preset(
        key="postfix",
        name=_("Postfix on the premises"),
        know=_("Enter the server's name. The submission service (port 587) must be reachable from this platform."),
        as_of=UNDATED,
        sources=("https://www.rfc-editor.org/rfc/rfc6409",),
    ),
    Preset(
        key="postmark",
        name="Postmark",
        host="smtp.postmarkapp.com",
        know=_(
            "User name and password are both the server's API token. The sender must be verified. For messages to many"
            " Postmark wants a broadcast stream, whose server is smtp-broadcasts.postmarkapp.com."
        ),
        as_of=NODEMAILER_READ,
        sources=(
            "https://postmarkapp.com/support/article/811-what-are-the-smtp-details-api-tokens-i-should-be-using",
            NODEMAILER,
        ),
    ),
    Preset(
        key="scaleway",
        name="Scaleway Transactional Email",
        host="smtp.tem.scaleway.com",
        know=_(
            "The user name is the project's ID, the password the secret key of an API key. The domain must be set up."
        ),
        as_of=date(2024, 11, 4),
        sources=("https://www.scaleway.com/en/docs/transactional-email/reference-content/smtp-configuration/",),
    ),
    Preset(
        key="sendgrid",
        name="SendGrid",
        host="smtp.sendgrid.net",
        know=_("The user name is the word “apikey”, the password an API key. The sender must be verified."),
        as_of=NODEMAILER_READ,
        sources=(
            "https://www.twilio.com/docs/sendgrid/for-developers/sending-email/integrating-with-the-smtp-api",
            NODEMAILER,
        ),
    ),
    Preset(
        key="smtp2go",
        name="SMTP2GO",
        host="mail.smtp2go.com",
        know=_(
            "In the EU the server is mail-eu.smtp2go.com. User name and password are those of an SMTP user, made in the"
            " account's settings. The sender must be verified."
        ),
        as_of=NODEMAILER_READ,
        sources=("https://developers.smtp2go.com/docs/smtp-relay", NODEMAILER),
    ),
    Preset(
        key="sparkpost",
        name="SparkPost",
        host="smtp.sparkpostmail.com",
        know=_(
            "In the EU region the server is smtp.eu.sparkpostmail.com. The user name is “SMTP_Injection”, the password"
            " an API key. Workspaces of Bird have other servers: see your account."
        ),
        limits={"messages_per_connection": 100},
        as_of=NODEMAILER_READ,
        sources=(
            "https://developers.sparkpost.com/api/smtp/",
            "https://docs.bird.com/api/email-api/smtp-api",
            NODEMAILER,
        ),
    ),
)
