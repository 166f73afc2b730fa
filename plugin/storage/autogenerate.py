"""Prevents the host's Alembic from dropping our tables, which are not among the host's models.

Alembic loads this module in every environment in which Own SMTP is installed, by an entry point in the group
`alembic.plugins`. It does so during its own import, so this module cannot import Alembic at its top level.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from own_smtp.storage.revisions import TABLE_PREFIX

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations import ops
    from alembic.runtime.plugins import Plugin
    from alembic.util import PriorityDispatchResult


class PluginModule(ModuleType):
    """A plugin module for every version of Alembic that has plugins.

    From 1.18.0 to 1.20.0 Alembic iterated over the entry point's object, so that a module broke `import alembic`; since
    1.20.1 it expects the module itself, and warns about a collection.
    """

    def __iter__(self) -> Iterator[ModuleType]:
        yield self


sys.modules[__name__].__class__ = PluginModule


def setup(plugin: Plugin) -> None:
    """Register our filter as the last step of `alembic revision --autogenerate`; the entry point's name enables it."""
    from alembic.util import DispatchPriority

    plugin.add_autogenerate_comparator(leave_to_own_smtp, "schema", priority=DispatchPriority.LAST)


def leave_to_own_smtp(context: AutogenContext, changes: ops.UpgradeOps, _schemas: object) -> PriorityDispatchResult:
    """Remove our tables from the changes that Alembic derives from the host's models."""
    from alembic.operations import ops
    from alembic.util import PriorityDispatchResult

    from own_smtp.storage.models import Base

    if context.metadata is not Base.metadata:
        about_tables = ops.DropTableOp | ops.ModifyTableOps
        changes.ops = [
            change
            for change in changes.ops
            if not (isinstance(change, about_tables) and change.table_name.startswith(TABLE_PREFIX))
        ]
    return PriorityDispatchResult.CONTINUE
