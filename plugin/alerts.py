"""The notice to a relay's owner for hosts that do not listen themselves: what happened, why, and what to do."""

from __future__ import annotations

from own_smtp.explanations import explain
from own_smtp.hooks.events import PlatformMail, RelayChange
from own_smtp.states import PauseReason, RelayState
from own_smtp.texts import gettext


def notice_of(change: RelayChange) -> PlatformMail | None:
    """Return the notice of a change that the server's answers brought about; `None` for those a person made.

    In the language that is in force.
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
        gettext("The server's own words: %(words)s", words=change.reason) if change.reason else "",
        str(explanation.what_to_do),
        gettext("No invitation is lost: all of them wait until the server can be used again."),
    ]
    return subject, "\n\n".join(part for part in parts if part)
