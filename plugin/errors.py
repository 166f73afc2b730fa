"""The error tree. Every message says what happened, where, and what to do next; none holds a secret."""

from __future__ import annotations


class OwnSMTPError(Exception):
    """The root of all errors that Own SMTP raises on purpose."""


class ConfigurationError(OwnSMTPError):
    """A setting is missing or wrong. Raised while the application starts."""


class HookError(OwnSMTPError):
    """A host's hook returned something else than the contract says."""


class SecretError(OwnSMTPError):
    """A stored secret cannot be decrypted with the configured keys."""


class ContentError(OwnSMTPError):
    """A batch's content or an invitation cannot become a message."""


class AddressError(ContentError):
    """An e-mail address cannot be used."""


class TargetError(OwnSMTPError):
    """A host or port cannot be reached from here. The text never says which rule or fact it was."""


class NoSuchHostError(TargetError):
    """The name does not exist in the DNS."""


class ResolverError(TargetError):
    """The DNS gave no answer; it may give one later."""


class TargetRefusedError(TargetError):
    """The platform does not allow this host or port."""


class ForbiddenError(TargetError):
    """The platform's policy does not let this tenant use this mail server. The text may be shown to people."""


class LeaseLostError(OwnSMTPError):
    """Another drain holds the relay's lease now, or this one's ran out."""


class JournalError(OwnSMTPError):
    """The local journal could not be written or read; nothing may be sent without it."""


class BookkeepingError(OwnSMTPError):
    """A call of the bookkeeper failed, and nobody knows whether its transaction was committed.

    The text is the name of the error's class, and nothing else of it: drivers quote what no log should hold.
    """


class DatabaseError(BookkeepingError):
    """The database did not answer, or refused."""


class BookkeepingLostError(BookkeepingError):
    """The bookkeeping process is gone. The journals of its drains say what is true."""


class SessionError(OwnSMTPError):
    """A conversation with a server ended early. `stage` says where."""


class NotFoundError(OwnSMTPError):
    """The thing asked for does not exist, or belongs to another tenant."""


class ConflictError(OwnSMTPError):
    """The thing asked for is not possible in the present state. The text may be shown to people."""


class LimitError(ConflictError):
    """The thing was asked for too often; it is possible again later."""
