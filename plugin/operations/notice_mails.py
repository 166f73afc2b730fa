"""Mails to a relay's owner, for hosts without hooks of their own for them: the event, its cause, and advice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask_mail import Message

from own_smtp.errors import AddressError, ConfigurationError, ContentError
from own_smtp.hooks.events import Content, PlatformMail, RelayAlert, RelayChange
from own_smtp.i18n import Text, format_time, gettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.messages.compiler import compile_content, format_date
from own_smtp.relays.platform_server import default_identity
from own_smtp.reporting.explanations import explain
from own_smtp.smtp.addresses import needs_smtputf8, parse_address
from own_smtp.smtp.values import Identity, is_reply
from own_smtp.smtp.wire_check import why_unfit
from own_smtp.states import WITHOUT_WORDS, AlertCause, PauseReason, RelayState


class ComposedMessage(Message):
    """A platform mail for Flask-Mail to send; its bytes come from our composer, like those of any other message."""

    def __init__(self, mail: PlatformMail, identity: Identity) -> None:
        super().__init__(
            " ".join(mail.subject.split()),
            recipients=[mail.recipient],
            body=mail.text,
            html=mail.html,
            sender=(identity.name, identity.address) if identity.name else identity.address,
        )
        content = Content(subject=mail.subject, text=mail.text, html=mail.html)
        self._data = compile_content(content, identity).compose(
            address=mail.recipient,
            name="",
            values={},
            message_id=self.msgId,
            date=format_date(datetime.now(UTC)),
        )
        unfit = why_unfit(self._data)
        if unfit:
            raise ContentError(unfit)

    def as_bytes(self) -> bytes:
        """Return the message as it is written to the wire."""
        return self._data


def message_for_flask_mail(mail: PlatformMail, config: Mapping[str, Any]) -> ComposedMessage:
    """Return a platform mail from `MAIL_DEFAULT_SENDER`.

    Raises `ContentError` for a mail that Flask-Mail can never send, `ConfigurationError` without a sender.
    """
    identity = default_identity(config)
    if identity is None:
        raise ConfigurationError("Set MAIL_DEFAULT_SENDER to the address that the platform's own mail comes from.")
    if needs_smtputf8(parse_address(mail.recipient)) or needs_smtputf8(identity.address):
        raise AddressError("Flask-Mail cannot send with an address that has letters outside ASCII before the @.")
    return ComposedMessage(mail, identity)


def notice_of(change: RelayChange) -> PlatformMail | None:
    """Return the notice of an automatic change; `None` for a change that a person made.

    In the current language.
    """
    if not change.is_automatic or not change.address:
        return None
    subject, text = _fallback(change) if change.is_falling_back else _move(change)
    return PlatformMail(recipient=change.address, subject=subject, text=text)


def _fallback(change: RelayChange) -> tuple[str, str]:
    subject = gettext("The platform now sends for the mail server “%(label)s”", label=change.label)
    text = gettext(
        "The mail server “%(label)s” has not taken invitations for longer than a project allows. They leave by the"
        " platform's own mail now, and answers to them still come to you. Please look after the server: its page says"
        " what is wrong.",
        label=change.label,
    )
    return subject, text


def _move(change: RelayChange) -> tuple[str, str]:
    if change.state != RelayState.PAUSED:
        subject = gettext("The mail server “%(label)s” works again", label=change.label)
        return subject, gettext("It takes invitations again. Those that waited are being sent.")
    subject = gettext("The mail server “%(label)s” is paused", label=change.label)
    pause = PauseReason(change.pause_reason) if change.pause_reason else None
    explanation = explain("", None, None, pause, change.reason or "")
    parts = [
        str(explanation.cause),
        _words(pause, change.reason) if change.reason else "",
        str(explanation.what_to_do),
        gettext("No invitation is lost: all of them wait until the server can be used again."),
    ]
    return subject, "\n\n".join(part for part in parts if part)


def _words(pause: PauseReason | None, words: str) -> str:
    if pause in WITHOUT_WORDS:
        return ""
    if is_reply(words):
        return gettext("The server's own words: %(words)s", words=words)
    return gettext("In technical words: %(words)s", words=words)


def alert_notice(alert: RelayAlert, timezone: str) -> PlatformMail | None:
    """Return the mail about an alert, in the current language; `None` without anyone to write to."""
    if not alert.address:
        return None
    words = _OVER if alert.is_over else _NEW
    subject, text = words[AlertCause(alert.cause)]
    values = {"label": alert.label, "time": format_time(alert.at, timezone)}
    parts = [
        str(text) % values,
        gettext("The last error: %(words)s", words=alert.reason) if alert.reason else "",
        "" if alert.is_over else gettext("You are told once, and once more when it is over."),
    ]
    return PlatformMail(
        recipient=alert.address, subject=str(subject) % values, text="\n\n".join(part for part in parts if part)
    )


_NEW: dict[AlertCause, tuple[Text, Text]] = {
    AlertCause.UNREACHABLE: (
        _("The mail server “%(label)s” cannot be used"),
        _(
            "There has been no usable connection to it since %(time)s. It is tried again by itself, and no invitation"
            " is lost. Please ask your mail administrator; the server's page says more."
        ),
    ),
    AlertCause.QUEUE: (
        _("Invitations wait for the mail server “%(label)s”"),
        _("Some have been due since %(time)s, and none leaves. The server's page says what they wait for."),
    ),
    AlertCause.CERTIFICATE: (
        _("The certificate of the mail server “%(label)s” ends on %(time)s"),
        _(
            "Invitations wait from then on, because the server cannot be trusted any more. Please ask your mail"
            " administrator to renew the certificate before."
        ),
    ),
}
_OVER: dict[AlertCause, tuple[Text, Text]] = {
    AlertCause.UNREACHABLE: (
        _("The mail server “%(label)s” can be used again"),
        _("There are usable connections to it again. Invitations that waited are being sent."),
    ),
    AlertCause.QUEUE: (
        _("Invitations leave through the mail server “%(label)s” again"),
        _("Nothing waits for too long any more."),
    ),
    AlertCause.CERTIFICATE: (
        _("The mail server “%(label)s” has a new certificate"),
        _("It is good until %(time)s."),
    ),
}
