"""The confirmation mail: composed in the tenant's language, sent through the relay that it is about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid

from flask import render_template
from flask_babel import force_locale

from own_smtp.current import Extension
from own_smtp.errors import ConfigurationError, SecretError
from own_smtp.hooks.events import Tenant
from own_smtp.i18n import format_time, gettext
from own_smtp.relays import confirmations
from own_smtp.relays.store import load_profile
from own_smtp.settings import INTERACTIVE, Settings
from own_smtp.smtp.outcomes import Stage
from own_smtp.smtp.submission import submit
from own_smtp.smtp.values import Envelope, Outcome, RelayProfile
from own_smtp.states import PauseReason, State
from own_smtp.storage.encryption import new_token
from own_smtp.storage.models import Confirmation

# A header line may be long, a body line must not: 998 octets are the limit (RFC 5321, 4.5.3.1.6).
POLICY = SMTP.clone(max_line_length=998)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationLetter:
    """What a confirmation mail says."""

    profile: RelayProfile
    tenant: Tenant
    recipient: str
    link: str
    expires_at: datetime
    platform: str


def send_confirmation_mail(confirmation_id: int, extension: Extension) -> None:
    """Send the mail if it is due, and keep what became of it. For a worker; commits."""
    session = extension.db.session()
    token = new_token()
    confirmation = confirmations.claim_mail(session, confirmation_id, token)
    session.commit()
    if confirmation is None:
        return
    outcome = _send(confirmation, token, extension)
    confirmations.settle_mail(session, confirmation, outcome)
    session.commit()


def _send(confirmation: Confirmation, token: str, extension: Extension) -> Outcome:
    session = extension.db.session()
    recipient, expires_at, relay_id = confirmation.address, confirmation.expires_at, confirmation.relay_id
    try:
        profile = load_profile(session.connection(), relay_id, extension.vault)
    except SecretError as error:
        return _local(str(error), PauseReason.SECRET_UNREADABLE)
    finally:
        session.rollback()  # no transaction stays open while a server is waited for
    if profile is None:
        return _local("The mail server was deleted.", None)
    letter = ConfirmationLetter(
        profile=profile,
        tenant=extension.host.tenant(profile.tenant_id),
        recipient=recipient,
        link=link_for(token, extension.settings),
        expires_at=expires_at,
        platform=extension.settings.platform_name,
    )
    envelope = Envelope(sender=profile.envelope_sender, recipient=recipient, data=compose(letter).as_bytes())
    return submit(profile, envelope, policy=extension.network_policy, deadlines=INTERACTIVE)


def _local(text: str, pause: PauseReason | None) -> Outcome:
    return Outcome(state=State.FAILED, stage=Stage.LOCAL, text=text, pause=pause)


def link_for(token: str, settings: Settings) -> str:
    """Return the address of the confirmation page. It never comes from a request's Host header."""
    if not settings.public_url:
        raise ConfigurationError("Set OWN_SMTP_PUBLIC_URL to where people reach the platform: links in mails need it.")
    return f"{settings.public_url.rstrip('/')}{settings.url_prefix}/confirm/{token}"


def compose(letter: ConfirmationLetter) -> EmailMessage:
    """Return the mail. Needs an application context."""
    identity = letter.profile.identity
    message = EmailMessage(policy=POLICY)
    with force_locale(letter.tenant.locale):
        message["Subject"] = gettext("Confirm the mail server %(host)s", host=letter.profile.host)
        message["From"] = Address(identity.name, addr_spec=identity.address)
        message["To"] = Address(addr_spec=letter.recipient)
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = make_msgid(domain=identity.address.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"
        values = _values(letter)
        message.set_content(render_template("own_smtp/mail/confirmation.txt", **values), cte="quoted-printable")
        message.add_alternative(
            render_template("own_smtp/mail/confirmation.html", **values), subtype="html", cte="quoted-printable"
        )
    return message


def _values(letter: ConfirmationLetter) -> dict[str, object]:
    return {
        "letter": letter,
        "tr": gettext,
        "language": letter.tenant.locale.replace("_", "-"),
        "expires": format_time(letter.expires_at, letter.tenant.timezone),
        "zone": letter.tenant.timezone,
    }
