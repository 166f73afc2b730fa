"""All pages, on one blueprint."""

from __future__ import annotations

from own_smtp import (
    views_admin,
    views_audit,
    views_batches,
    views_confirm,
    views_health,
    views_known,
    views_log,
    views_overview,
    views_projects,
    views_relays,
    views_suggestions,
    views_tenants,
    views_test_mails,
    views_tests,
)
from own_smtp.pages import blueprint

__all__ = [
    "blueprint",
    "views_admin",
    "views_audit",
    "views_batches",
    "views_confirm",
    "views_health",
    "views_known",
    "views_log",
    "views_overview",
    "views_projects",
    "views_relays",
    "views_suggestions",
    "views_tenants",
    "views_test_mails",
    "views_tests",
]
