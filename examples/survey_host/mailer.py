"""Mail that the platform sends itself, by Flask-Mail."""

from __future__ import annotations

from email.policy import SMTP

from flask import current_app
from flask_mail import Message

from survey_host.extensions import mail
from survey_host.texts import Letter

# Python folds a long address in a header, or encodes it in a way that mail programs cannot follow.
UNFOLDED = SMTP.clone(max_line_length=998)
AUTOMATIC = {"Auto-Submitted": "auto-generated"}


class UnfoldedMessage(Message):
    """A message whose List-Unsubscribe header is written unchanged."""

    def as_bytes(self) -> bytes:
        """Return the message as it is written to the wire."""
        return self._message().as_bytes(policy=UNFOLDED)


def sender_address() -> str:
    """Return the sender address of the platform's own mail."""
    return str(current_app.config["MAIL_DEFAULT_SENDER"])


def invitation(recipient: tuple[str, str], letter: Letter, opt_out_url: str) -> Message:
    """Return the message for one participant; `recipient` is name and address."""
    headers = AUTOMATIC | {
        "List-Unsubscribe": f"<{opt_out_url}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    name, address = recipient
    to = (name, address) if name else address
    return UnfoldedMessage(letter.subject, recipients=[to], body=letter.text, html=letter.html, extra_headers=headers)


def send_to_staff(recipient: str, subject: str, text: str, html: str | None = None) -> None:
    """Send a notice to one of the platform's own people. Raises `OSError`, or its subclass `smtplib.SMTPException`."""
    mail.send(Message(subject, recipients=[recipient], body=text, html=html, extra_headers=AUTOMATIC))
