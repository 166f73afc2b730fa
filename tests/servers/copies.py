"""The messages that a mail server has accepted."""

from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One message that a server accepted, for one recipient."""

    sender: str
    """The envelope sender; empty for the null reverse-path."""
    recipients: tuple[str, ...]
    """The envelope recipients of this copy: one each, except in `SmtpSink`."""
    data: bytes = field(repr=False)
    """The message as the client sent it, with LF line ends, without what the server put in front."""

    @property
    def recipient(self) -> str:
        """The only recipient."""
        (recipient,) = self.recipients
        return recipient

    @property
    def message(self) -> EmailMessage:
        """The message, parsed."""
        return message_from_bytes(self.data, policy=policy.default)


def split_fields(stored: bytes, names: frozenset[str]) -> tuple[dict[str, list[str]], bytes]:
    """Take the header fields called `names` off the front, in any order; return their unfolded values and the rest.

    Each name is taken until the first field with another name: what the client itself sent under one of these names
    stays, unless it stands first.
    """
    taken: dict[str, list[str]] = {}
    lines = stored.splitlines(keepends=True)
    current: list[str] | None = None
    for position, line in enumerate(lines):
        if line[:1] in {b" ", b"\t"} and current is not None:
            current[-1] += " " + line.decode("utf-8", "replace").strip()
            continue
        name, _, value = line.decode("utf-8", "replace").partition(":")
        if name not in names:
            return taken, b"".join(lines[position:])
        current = taken.setdefault(name, [])
        current.append(value.strip())
    return taken, b""
