"""All pages, on one blueprint: importing this package registers each of them."""

from __future__ import annotations

from own_smtp.web.pages import blueprint
from own_smtp.web.views import (
    admin,
    audit,
    batches,
    confirmation,
    dry_runs,
    health,
    known_statuses,
    log,
    overview,
    projects,
    relays,
    suggestions,
    tenants,
    test_mails,
)

__all__ = [
    "admin",
    "audit",
    "batches",
    "blueprint",
    "confirmation",
    "dry_runs",
    "health",
    "known_statuses",
    "log",
    "overview",
    "projects",
    "relays",
    "suggestions",
    "tenants",
    "test_mails",
]
