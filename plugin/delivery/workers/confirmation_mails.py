"""The confirmation mail: composed in the tenant's language, sent through the relay that it is about."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import make_msgid

from flask_babel import force_locale
from sqlalchemy.exc import SQLAlchemyError

from own_smtp.current import Extension
from own_smtp.errors import ConfigurationError, OwnSMTPError, SecretError
from own_smtp.hooks.events import Tenant
from own_smtp.i18n import format_time, gettext
from own_smtp.messages.compiler import compile_content, format_date
from own_smtp.relays import confirmations
from own_smtp.relays.own_mails import write_mail
from own_smtp.relays.store import load_profile
from own_smtp.settings import INTERACTIVE, Settings
from own_smtp.smtp.addresses import domain_of, parse_address
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.submission import submit
from own_smtp.smtp.values import Envelope, Outcome, RelayProfile
from own_smtp.states import PauseReason, State
from own_smtp.storage.encryption import new_token
from own_smtp.storage.models import Confirmation

log = logging.getLogger(__name__)

MOST_ATTEMPTS = len(confirmations.RETRIES) + 1
"""How often one mail is tried. An attempt whose worker was killed counts as well."""


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
    """Send the mail if it is due, and record the outcome. For a worker; commits."""
    session = extension.db.session()
    token = new_token()
    confirmation = confirmations.claim_mail(session, confirmation_id, token)
    session.commit()
    if confirmation is None:
        return
    outcome = _try(confirmation, token, extension)
    confirmations.settle_mail(session, confirmation, outcome)
    session.commit()


def _try(confirmation: Confirmation, token: str, extension: Extension) -> Outcome:
    """Return the outcome, also of a mail that could not be composed: a retry would change nothing.

    Raises the database's errors: they pass, and the mail is tried again, `MOST_ATTEMPTS` times at most.
    """
    if confirmation.attempts > MOST_ATTEMPTS:
        return _local("The mail was tried too often, and no attempt came to an end.", None)
    number = confirmation.id
    try:
        return _send(confirmation, token, extension)
    except SQLAlchemyError:
        raise
    except Exception as error:  # a host's hook and a tenant's settings may fail in any way, and a page waits for this
        extension.db.session().rollback()
        log.exception("Confirmation mail %s could not be made or sent.", number)
        reason = str(error) if isinstance(error, OwnSMTPError) else type(error).__name__
        return _local(f"The mail could not be made or sent: {reason}", None)


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
    envelope = Envelope(sender=profile.envelope_sender, recipient=parse_address(recipient), data=compose(letter))
    return submit(profile, envelope, policy=extension.network_policy, deadlines=INTERACTIVE)


def _local(text: str, pause: PauseReason | None) -> Outcome:
    return Outcome(state=State.FAILED, stage=Stage.LOCAL, text=text, pause=pause)


def link_for(token: str, settings: Settings) -> str:
    """Return the URL of the confirmation page. It never comes from a request's Host header."""
    if not settings.public_url:
        raise ConfigurationError("Set OWN_SMTP_PUBLIC_URL to where people reach the platform: links in mails need it.")
    return f"{settings.public_url.rstrip('/')}{settings.url_prefix}/confirm/{token}"


def compose(letter: ConfirmationLetter) -> bytes:
    """Return the mail, ready for the wire. Needs an application context. Raises `ContentError`."""
    identity = letter.profile.identity
    with force_locale(letter.tenant.locale):
        content = write_mail(
            "confirmation",
            gettext("Confirm the mail server %(host)s", host=letter.profile.host),
            letter=letter,
            expires=format_time(letter.expires_at, letter.tenant.timezone),
            zone=letter.tenant.timezone,
        )
    return compile_content(content, replace(identity, reply_to=None)).compose(
        address=parse_address(letter.recipient),
        name="",
        values={},
        message_id=make_msgid(domain=domain_of(parse_address(identity.address))),
        date=format_date(datetime.now(UTC)),
    )
