"""What a failure means in plain words: the cause, what to do, and the field of the form to look at.

The rules stand in the order in which they are tried; the first that fits decides, and the last fits everything.
"""

from __future__ import annotations

from dataclasses import dataclass

from own_smtp.outcomes import Stage
from own_smtp.states import PauseReason
from own_smtp.texts import Text
from own_smtp.texts import lazy_gettext as _


@dataclass(frozen=True, slots=True)
class Explanation:
    """A failure, explained to a survey manager."""

    cause: Text
    what_to_do: Text
    field: str | None = None
    """The field of the relay form to look at."""


UNREACHABLE = Explanation(
    _("This server cannot be reached from here."),
    _("Check name and port. If both are right, ask your mail administrator whether the platform may connect."),
    "host",
)
"""One text for refused, filtered, closed and silent: a tenant must not learn from it which ports are open."""

BY_PAUSE: dict[PauseReason, Explanation] = {
    PauseReason.PERSON: Explanation(_("Somebody paused it."), _("Resume it when invitations may leave again."), None),
    PauseReason.CREDENTIALS: Explanation(
        _("The server refuses the user name or the password."),
        _("Type both again. Some providers want an app password instead of the account's own."),
        "password",
    ),
    PauseReason.SENDER: Explanation(
        _("The server does not let this account send with this sender address."),
        _("Use an address that belongs to the account, or ask your mail administrator to allow this one."),
        "sender_address",
    ),
    PauseReason.CERTIFICATE: Explanation(
        _("The server's certificate cannot be trusted: wrong name, expired, or from an unknown authority."),
        _("Check the server's name. If it is right, your mail administrator must renew the certificate."),
        "host",
    ),
    PauseReason.NO_TLS: Explanation(
        _("The server does not offer the encryption that is set here."),
        _("Choose the other encryption with its port: STARTTLS with 587, implicit TLS with 465."),
        "security",
    ),
    PauseReason.NO_AUTH: Explanation(
        _("The server wants another way to sign in, or does not pass on mail for this account."),
        _("Switch authentication on and enter the account, or ask your mail administrator."),
        "auth",
    ),
    PauseReason.BLOCKED: Explanation(
        _("The server wants no mail from this platform's address."),
        _("Ask your mail administrator to let the platform connect."),
        "host",
    ),
    PauseReason.QUOTA: Explanation(
        _("The account has sent as much as its provider allows for now."),
        _("Nothing is lost: it goes on by itself. A daily limit in the settings avoids the refusal."),
        "per_day",
    ),
    PauseReason.NO_SUCH_HOST: Explanation(
        _("There is no server of this name."), _("Check the spelling of the server's name."), "host"
    ),
    PauseReason.UNREACHABLE: UNREACHABLE,
    PauseReason.NOT_ALLOWED: UNREACHABLE,
    PauseReason.FORBIDDEN: Explanation(
        _("The platform does not allow this server at present: not for your account, or not without encryption."),
        _("Ask those who run the platform. As soon as they allow it, it goes on by itself."),
    ),
    PauseReason.SECRET_UNREADABLE: Explanation(
        _("The stored password cannot be read any more."), _("Type the password again."), "password"
    ),
}

BY_STAGE: dict[str, Explanation] = {
    Stage.RESOLVE: Explanation(
        _("The server's name cannot be looked up at the moment."),
        _("Check its spelling. If it is right, it is tried again by itself."),
        "host",
    ),
    Stage.CONNECT: UNREACHABLE,
    Stage.BANNER: Explanation(
        _("The server does not greet as a mail server does."),
        _("Encryption and port may not fit: STARTTLS goes with 587, implicit TLS with 465."),
        "port",
    ),
    Stage.EHLO: Explanation(
        _("The server does not want to talk to this platform."),
        _("Ask your mail administrator; some servers ask for a proper EHLO name."),
        "ehlo_name",
    ),
    Stage.STARTTLS: BY_PAUSE[PauseReason.NO_TLS],
    Stage.TLS: Explanation(
        _("No encrypted connection could be made."),
        _("Encryption and port may not fit: STARTTLS goes with 587, implicit TLS with 465."),
        "security",
    ),
    Stage.AUTH: Explanation(
        _("Signing in did not work this time; the server asks to try later."),
        _("It is tried again by itself. If it stays so, the account may be locked or signed in too often."),
        "username",
    ),
    Stage.MAIL: Explanation(
        _("The server does not take the message from this sender at the moment."),
        _("Check the sender address, or ask your mail administrator."),
        "sender_address",
    ),
    Stage.RCPT: Explanation(
        _("The server does not take this recipient."), _("Check the recipient's address."), "confirmation_address"
    ),
    Stage.MESSAGE: Explanation(
        _("The server does not take this message."),
        _("Its own words say why; often it is a rule about content or size."),
    ),
}

LOST = Explanation(
    _("The connection was lost just as the server should have confirmed the message."),
    _("It may have arrived: look into the mailbox before it is sent again."),
)

LATER = Explanation(
    _("The server asks to try again later."),
    _("It is tried again by itself; many servers do this with a first message."),
)

UNEXPLAINED = Explanation(_("The message could not be sent."), _("The server's own words may say why."))


def explain(
    stage: str, code: int | None, enhanced: str | None, pause: PauseReason | None, text: str = ""
) -> Explanation:
    """Explain a failure in `stage` with the server's reply, if there was one.

    `text`, the server's words, is not needed by any rule yet: `code` and `enhanced` refine what `stage` says.
    """
    if pause is not None:
        return BY_PAUSE.get(pause, UNREACHABLE)
    if stage == Stage.MESSAGE and code is None:
        return LOST
    if code is not None and 400 <= code < 500 and stage in {Stage.RCPT, Stage.MESSAGE, Stage.DATA, Stage.BODY}:
        return LATER
    return BY_STAGE.get(stage, UNEXPLAINED)
