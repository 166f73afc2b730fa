"""The contract between a survey platform and Own SMTP: hook specifications and the values that cross them."""

from own_smtp.hooks.events import (
    Action,
    Actor,
    Attachment,
    Content,
    Invitation,
    InvitationBatch,
    InvitationStatus,
    Link,
    LocalRefusal,
    PlatformMail,
    Project,
    Receipt,
    RelayChange,
    ReportColumn,
    SenderChoice,
    Tenant,
)
from own_smtp.hooks.markers import PROJECT, hookimpl, hookspec
from own_smtp.states import State

__all__ = [
    "PROJECT",
    "Action",
    "Actor",
    "Attachment",
    "Content",
    "Invitation",
    "InvitationBatch",
    "InvitationStatus",
    "Link",
    "LocalRefusal",
    "PlatformMail",
    "Project",
    "Receipt",
    "RelayChange",
    "ReportColumn",
    "SenderChoice",
    "State",
    "Tenant",
    "hookimpl",
    "hookspec",
]
