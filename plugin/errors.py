"""The error tree. Every message says what happened, where, and what to do next; none contains a secret."""

from __future__ import annotations


class OwnSMTPError(Exception):
    """The root of all errors that Own SMTP raises on purpose."""


class ConfigurationError(OwnSMTPError):
    """A setting is missing or wrong. Raised while the application starts."""


class HookError(OwnSMTPError):
    """A host's hook returned a value that violates the contract."""


class SecretError(OwnSMTPError):
    """A stored secret cannot be decrypted with the configured keys."""


class ContentError(OwnSMTPError):
    """A batch's content or an invitation cannot become a message."""


class AddressError(ContentError):
    """An email address cannot be used."""


class TargetError(OwnSMTPError):
    """A host or port cannot be reached from here. The text never reveals the cause."""


class NoSuchHostError(TargetError):
    """The name does not exist in the DNS."""


class ResolverError(TargetError):
    """The DNS did not answer; it may answer later."""


class TargetRefusedError(TargetError):
    """The platform does not allow this host or port."""


class ForbiddenError(TargetError):
    """The platform's policy does not allow this tenant to use this mail server. The text may be shown to people."""


class LeaseLostError(OwnSMTPError):
    """Another drain has the relay's lease now, or this drain's lease has expired."""


class JournalError(OwnSMTPError):
    """The local journal could not be written or read. Nothing may be sent without it."""


class BookkeepingError(OwnSMTPError):
    """A call of the bookkeeper failed, and it is unknown whether its transaction was committed.

    The text is only the name of the original error's class, because drivers quote data that must not be logged.
    """


class DatabaseError(BookkeepingError):
    """The database was unavailable, or refused the statement."""


class BookkeepingLostError(BookkeepingError):
    """The bookkeeping process has died. The journals of its drains have the true state."""


class SessionError(OwnSMTPError):
    """A session with a server ended early."""


class NotFoundError(OwnSMTPError):
    """The requested object does not exist, or belongs to another tenant."""


class ConflictError(OwnSMTPError):
    """The request is not possible in the current state. The text may be shown to people."""


class LimitError(ConflictError):
    """Too many requests of this kind; it is possible again later. The text may be shown to people."""
