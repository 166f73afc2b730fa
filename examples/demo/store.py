"""The catch-all's messages, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import cast

SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY,
    received_at TEXT NOT NULL,
    sender TEXT NOT NULL,
    recipients TEXT NOT NULL,
    shown_to TEXT NOT NULL,
    message_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    text TEXT NOT NULL,
    searchable TEXT NOT NULL,
    raw BLOB NOT NULL
)
"""
COUNT = "SELECT count(*) FROM message "
SELECT = "SELECT id, received_at, sender, recipients, shown_to, message_id, subject, text, length(raw) FROM message "
MATCHING = "WHERE instr(searchable, ?) > 0 OR ? = '' "


@dataclass(frozen=True, slots=True)
class Stored:
    """One accepted message without its bytes."""

    id: int
    received_at: datetime
    sender: str
    """The envelope sender (MAIL FROM); the header may name another."""
    recipients: tuple[str, ...]
    """The envelope recipients (RCPT TO)."""
    shown_to: tuple[str, ...]
    """The addresses in the header (To); the recipients may be others."""
    message_id: str
    subject: str
    text: str
    """The plain text part, decoded; empty without one."""
    size: int
    """In octets, as received."""


class Store:
    """Stores messages. Thread-safe: every call opens its own connection."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(SCHEMA)

    def add(self, sender: str, recipients: list[str], raw: bytes) -> int:
        """Store a message and return its id, once it is on disk."""
        message = parse(raw)
        subject, text = str(message.get("Subject", "")), plain_text(message)
        headers = [str(message.get(name, "")) for name in ("From", "To")]
        searchable = "\n".join([sender, *recipients, subject, *headers, text]).casefold()
        envelope = (datetime.now(UTC).isoformat(), sender, json.dumps(recipients))
        header = (json.dumps(_addresses(message)), str(message.get("Message-ID", "")), subject)
        with self._connection() as connection:
            cursor = connection.execute(
                "INSERT INTO message"
                " (received_at, sender, recipients, shown_to, message_id, subject, text, searchable, raw)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*envelope, *header, text, searchable, raw),
            )
        return cast(int, cursor.lastrowid)

    def count(self, query: str = "") -> int:
        """Count the messages with `query` in an address, the subject or the text; all of them for an empty `query`."""
        with self._connection() as connection:
            row = connection.execute(COUNT + MATCHING, _needle(query)).fetchone()
        return int(row[0])

    def find(self, query: str = "", limit: int = -1, offset: int = 0) -> list[Stored]:
        """Return the messages that `count` counts, newest first; `limit` -1 means all."""
        with self._connection() as connection:
            rows = connection.execute(
                SELECT + MATCHING + "ORDER BY id DESC LIMIT ? OFFSET ?", (*_needle(query), limit, offset)
            ).fetchall()
        return [_stored(row) for row in rows]

    def get(self, message_id: int) -> Stored | None:
        """Return one message, or `None` for an unknown id."""
        with self._connection() as connection:
            row = connection.execute(SELECT + "WHERE id = ?", (message_id,)).fetchone()
        return _stored(row) if row else None

    def raw(self, message_id: int) -> bytes | None:
        """Return a message's octets as received, or `None` for an unknown id."""
        with self._connection() as connection:
            row = connection.execute("SELECT raw FROM message WHERE id = ?", (message_id,)).fetchone()
        return bytes(row[0]) if row else None

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
            yield connection


def parse(raw: bytes) -> EmailMessage:
    """Parse a message's octets."""
    return message_from_bytes(raw, policy=default)


def plain_text(message: EmailMessage) -> str:
    """Return the text that a mail program without HTML would show; empty without one."""
    body = message.get_body(("plain",))
    return str(body.get_content()) if body else ""


def _addresses(message: EmailMessage) -> list[str]:
    return [address.addr_spec for header in message.get_all("To", []) for address in header.addresses]


def _needle(query: str) -> tuple[str, str]:
    needle = query.strip().casefold()
    return needle, needle


def _stored(row: tuple[int, str, str, str, str, str, str, str, int]) -> Stored:
    number, received_at, sender, recipients, shown_to, message_id, subject, text, size = row
    return Stored(
        id=number,
        received_at=datetime.fromisoformat(received_at),
        sender=sender,
        recipients=tuple(json.loads(recipients)),
        shown_to=tuple(json.loads(shown_to)),
        message_id=message_id,
        subject=subject,
        text=text,
        size=size,
    )
