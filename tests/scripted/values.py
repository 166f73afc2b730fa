"""A scripted server's records of its sessions."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One message that the server accepted, with its envelope."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    """The message without dot-stuffing and without the final dot."""
    connection: int
    parameters: str = ""
    """What stood behind the sender's address, such as `SIZE=1000 BODY=8BITMIME`."""
    recipient_parameters: tuple[str, ...] = ()
    by_bdat: bool = False
    encrypted: bool = False
    user: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthAttempt:
    """One AUTH exchange that reached its verdict."""

    connection: int
    mechanism: str
    username: str
    password: str
    encrypted: bool


@dataclass(slots=True)
class Transaction:
    """One mail transaction (RFC 5321, 3.3)."""

    sender: str
    parameters: str
    recipients: list[str] = field(default_factory=list)
    recipient_parameters: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """All recipients, the refused ones too."""
    chunks: bytearray = field(default_factory=bytearray)
    failed: bool = False
    """A chunk was refused: the rest of this message is, too (RFC 3030, 2)."""

    @property
    def is_utf8(self) -> bool:
        return "SMTPUTF8" in self.parameters.upper()

    @property
    def is_8bit(self) -> bool:
        return "8BITMIME" in self.parameters.upper()

    def add(self, address: str, parameters: str) -> None:
        self.recipients.append(address)
        self.recipient_parameters.append(parameters)

    def copy(self, data: bytes, **circumstances: object) -> Copy:
        return Copy(
            sender=self.sender,
            recipients=tuple(self.recipients),
            data=data,
            parameters=self.parameters,
            recipient_parameters=tuple(self.recipient_parameters),
            **circumstances,  # type: ignore[arg-type]  # the fields of Copy that the connection knows
        )
