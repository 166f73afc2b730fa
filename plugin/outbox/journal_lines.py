"""The lines of a journal: how each is written, and what those of a dead drain say.

A file that was cut, joined or changed must not be taken for a whole one: each missing line may be a message that was
sent. So it begins with a header that names it, each line has a running number and a checksum, and behind the last line
there is always filler (NUL): a file that ends with a line was cut there.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from own_smtp.errors import JournalError
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import PauseReason, State

# `json.dumps` would make an encoder for each line.
_encode = json.JSONEncoder().encode


@dataclass(frozen=True, slots=True)
class JournaledOutcome:
    """What the journal says became of one message."""

    outcome: Outcome
    at: float
    """Seconds since 1970."""


@dataclass(slots=True)
class Findings:
    """What a dead drain's journal says."""

    begun: set[int] = field(default_factory=set)
    """Ids of invitations whose final dot may have been written and of which no reply is on record."""
    ended: dict[int, JournaledOutcome] = field(default_factory=dict)
    """What became of the others; those in neither were never sent."""
    told: set[int] = field(default_factory=set)
    """Those of the ended that the host knows of."""

    @property
    def named(self) -> set[int]:
        """All invitations of which a line says that they may have been sent, or what became of them."""
        return self.begun | self.ended.keys()


def parse_journal(lines: Iterable[bytes], name: str) -> Findings:
    """Read the lines of the journal with that name.

    What stands behind the last whole line, in front of the filler, was being written when the process died: what it
    announces had not happened yet. Anything else that makes no sense raises `JournalError`: a file without filler was
    cut, one whose numbers do not follow each other lost lines, and one without its header is another one.
    """
    findings, number = Findings(), -1
    for number, line in enumerate(lines):
        if not line.endswith(b"\n"):
            if number and line.endswith(b"\0") and not line.partition(b"\0")[2].strip(b"\0"):
                return findings
            break
        try:
            if number:
                _take(_body(number, line), findings)
            elif line != header_line(name):
                break
        except Exception as error:  # whatever a line makes of the parser, nothing in the file is trusted
            raise JournalError(f"The journal {name} is damaged at line {number + 1}.") from error
    raise JournalError(f"The journal {name} is cut or damaged at line {number + 1}.")


def header_line(name: str) -> bytes:
    """Return the first line of the file."""
    return b"own-smtp-journal 2 %s\n" % name.encode()


def numbered(number: int, body: bytes) -> bytes:
    """Return a line of the file. The number is in its checksum, too."""
    return b"%d %08x %s\n" % (number, zlib.crc32(body, number), body)


def _body(number: int, line: bytes) -> bytes:
    body = line.split(b" ", 2)[-1][:-1]
    if line != numbered(number, body):
        raise ValueError(number)
    return body


def _take(line: bytes, findings: Findings) -> None:
    if line[:1] == b"B":
        invitation_id = int(line[1:])
        findings.ended.pop(invitation_id, None)
        findings.told.discard(invitation_id)
        findings.begun.add(invitation_id)
    elif line[:1] == b"E":
        invitation_id, at, words, facts = json.loads(line[1:])
        findings.begun.discard(invitation_id)
        findings.told.discard(invitation_id)
        findings.ended[int(invitation_id)] = JournaledOutcome(_unpack(words, facts), float(at))
    elif line[:1] == b"T":
        findings.told.update(map(int, json.loads(line[1:])))
    else:
        raise ValueError(line[:1])


def ended_line(invitation_id: int, outcome: Outcome, at: float) -> bytes:
    """Return what a line says of what became of a message."""
    reply = outcome.reply
    code, enhanced = (None, None) if reply is None else (reply.code, reply.enhanced)
    facts = (outcome.state, outcome.stage, code, enhanced, outcome.server, outcome.pause, outcome.slows_down)
    return f"E[{invitation_id},{at!r},{_encode(outcome.words)},{_pack(facts)}]".encode("ascii")


@lru_cache(maxsize=256)
def _pack(facts: tuple[object, ...]) -> str:
    """Most messages differ in nothing but the server's words."""
    return _encode(facts)


def _unpack(words: str, facts: list[Any]) -> Outcome:
    state, stage, code, enhanced, server, pause, slows_down = facts
    return Outcome(
        state=State(state),
        stage=stage,
        reply=None if code is None else Reply(code=code, text=words, enhanced=enhanced),
        text="" if code is not None else words,
        server=server,
        pause=PauseReason(pause) if pause else None,
        slows_down=slows_down,
    )
