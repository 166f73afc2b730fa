"""The last error of a relay as a drain leaves it: what it was, how often in a row, since when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from own_smtp.leases import Taken
from own_smtp.profiles import Outcome


def cause_of(failure: Outcome) -> str:
    """Return stage and codes, such as `auth 535 5.7.8`: what the same error has in common from one time to the next."""
    reply = failure.reply
    return " ".join(str(part) for part in (failure.stage, *((reply.code, reply.enhanced) if reply else ())) if part)


def error_values(taken: Taken, failure: Outcome, now: datetime, *, had_success: bool) -> dict[str, Any]:
    """Return the columns of the lease that say it. A message that was taken in between begins a new count."""
    cause = cause_of(failure)[:60]
    is_same = not had_success and taken.error_cause == cause and not _has_worked_since(taken)
    return {
        "last_error": f"{failure.stage}: {failure.said}"[:600],
        "last_error_at": now,
        "error_cause": cause,
        "error_count": taken.error_count + 1 if is_same else 1,
        "error_since": (taken.error_since if is_same else None) or now,
    }


def _has_worked_since(taken: Taken) -> bool:
    return (
        taken.last_success_at is not None
        and taken.error_since is not None
        and taken.last_success_at >= taken.error_since
    )
