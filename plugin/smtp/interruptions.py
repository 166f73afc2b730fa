"""The ways in which a connection to a server breaks off."""

from __future__ import annotations

from own_smtp.errors import SessionError
from own_smtp.smtp.values import Reply


class ConnectionLostError(SessionError):
    """The connection ended."""


class TookTooLongError(ConnectionLostError):
    """A phase exceeded its deadline."""


class UnaskedReplyError(SessionError):
    """The server sent a reply that no command asked for: `reply`, which may repeat secrets."""

    def __init__(self, reply: Reply) -> None:
        super().__init__("The server sent an unexpected reply.")
        self.reply = reply


def is_hang_up(failure: SessionError | None) -> bool:
    """Return whether the server ended the connection, as opposed to a timeout or an invalid reply."""
    return isinstance(failure, ConnectionLostError) and not isinstance(failure, TookTooLongError)
