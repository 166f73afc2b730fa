"""JSON logs, one object a line, and the log lines about attempts: with ids, never with addresses."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from own_smtp.smtp.redaction import mask_addresses

deliveries = logging.getLogger("own_smtp.deliveries")
"""One line for each attempt: DEBUG for accepted invitations, INFO for all others."""

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
"""Further fields of a line, given as attributes of the record: `extra={"relay_id": 7}`."""


class JSONFormatter(logging.Formatter):
    """Writes `time`, `level`, `logger`, `message`, the record's `LOG_FIELDS`, and `exception`.

    Addresses are redacted: our own lines have none, but an exception of the host's may.
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
    """Writes lines for people, with addresses redacted."""

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
    """Log one attempt. The server's reply is in the delivery log only: it may repeat the address."""
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
    """Whether any of these lines would be logged: one check for many attempts, because a drain calls it often."""
    if deliveries.isEnabledFor(logging.DEBUG):
        return True
    return deliveries.isEnabledFor(logging.INFO) and any(state != "accepted" for state in states)


def configure(style: str) -> None:
    """Let a worker's process log to standard error, as `text` or `json`."""
    handler = logging.StreamHandler()
    text = TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JSONFormatter() if style == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
