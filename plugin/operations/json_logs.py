"""Logs as JSON, one object a line, and the lines that say what became of invitations: by ids, never by address."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from own_smtp.smtp.redaction import mask_addresses

deliveries = logging.getLogger("own_smtp.deliveries")
"""One line for each attempt: INFO for those that were not accepted, DEBUG for those that were."""

LOG_FIELDS = (
    "relay_id",
    "batch_id",
    "invitation_id",
    "state",
    "stage",
    "code",
    "enhanced",
    "route",
    "attempts",
    "seconds",
    "hook",
    "cause",
)
"""What lines may carry beside their text, as attributes of the record: `extra={"relay_id": 7}`."""


class JSONFormatter(logging.Formatter):
    """Writes `time`, `level`, `logger`, `message`, those of `LOG_FIELDS` that a line has, and `exception`.

    Whatever looks like an address goes: a line of ours has none, but an exception of the host's may.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": mask_addresses(record.getMessage()),
        }
        line |= {name: value for name in LOG_FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["exception"] = mask_addresses(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """Writes lines for people, and no address either."""

    def format(self, record: logging.LogRecord) -> str:
        return mask_addresses(super().format(record))


def note_attempt(
    *,
    relay_id: int,
    batch_id: int,
    invitation_id: int,
    state: str,
    stage: str,
    code: int | None,
    enhanced: str | None,
    route: str,
) -> None:
    """Write the line for one attempt. The server's words are in the delivery log: they may repeat the address."""
    deliveries.log(
        logging.DEBUG if state == "accepted" else logging.INFO,
        "Invitation %s of batch %s: %s at %s, code %s",
        invitation_id,
        batch_id,
        state,
        stage,
        code,
        extra={
            "relay_id": relay_id,
            "batch_id": batch_id,
            "invitation_id": invitation_id,
            "state": str(state),
            "stage": str(stage),
            "code": code,
            "enhanced": enhanced,
            "route": str(route),
        },
    )


def wants_attempts(states: Iterable[str]) -> bool:
    """Whether anybody reads a line about any of these: asked once for many, because a drain is in a hurry."""
    if deliveries.isEnabledFor(logging.DEBUG):
        return True
    return deliveries.isEnabledFor(logging.INFO) and any(state != "accepted" for state in states)


def configure(style: str) -> None:
    """Let a worker's process log to its standard error, as `text` or `json`."""
    handler = logging.StreamHandler()
    text = TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JSONFormatter() if style == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
