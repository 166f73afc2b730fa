"""The person who acts on a tenant's servers, batches and projects, and the transaction of an act.

An act is one function of `relay_service`, `trial_service`, `batch_service` or `project_service`, whether a page, a
command or a job requests it. Behind the tenant's lock it changes rows, writes the audit entry and commits; then it
enqueues jobs and notifies the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.orm import Session

from own_smtp.current import Extension
from own_smtp.relays.tenant_limits import lock_tenant
from own_smtp.storage.audit import OPERATOR
from own_smtp.storage.engine import begin_read_committed


@dataclass(frozen=True, slots=True, kw_only=True)
class Acting:
    """The acting person, and the tenant."""

    tenant_id: str
    user_id: str
    address: str | None = None
    """The person's own address, as given by the host; `None` if the host gives none."""


def operator(tenant_id: str) -> Acting:
    """Return the operator at the command line, who may act in any tenant."""
    return Acting(tenant_id=tenant_id, user_id=OPERATOR)


@contextmanager
def act(extension: Extension, tenant_id: str) -> Iterator[Session]:
    """Run an act in a transaction of its own, one at a time for each tenant, and commit it.

    The page's transaction ends first, so that everything is read anew behind the lock. Any exception rolls the act
    back.
    """
    session: Session = extension.db.session()
    session.commit()
    try:
        lock_tenant(begin_read_committed(session), tenant_id)
        yield session
        session.commit()
    except BaseException:
        session.rollback()
        raise
