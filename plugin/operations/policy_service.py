"""What an administrator does to the platform's policy: one act at a time, as for a tenant's servers.

Whoever changes it starts from what holds behind the lock, and not from what a page was made with.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from own_smtp.current import Extension
from own_smtp.operations.acts import act
from own_smtp.storage.audit import PLATFORM


def change_policy(extension: Extension, user_id: str, values: Mapping[str, Any]) -> bool:
    """Let these values hold from now on, and return whether that is news."""
    with act(extension, PLATFORM) as session:
        return extension.policy.change(session, values, user_id=user_id)


def choose_tenants(extension: Extension, user_id: str, *, add: AbstractSet[str], remove: AbstractSet[str]) -> bool:
    """Choose further tenants, and others no longer, and return whether that is news."""
    with act(extension, PLATFORM) as session:
        return extension.policy.choose(session, add=add, remove=remove, by=user_id)
