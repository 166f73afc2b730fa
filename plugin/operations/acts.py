"""Who acts on a tenant's servers, sendings and projects, and the transaction that an act is.

An act is one function of `relay_service`, `trial_service`, `batch_service` or `project_service`, whether a page, a
command or a job asks for it. It changes, writes the audit entry and commits behind the tenant's lock; then it enqueues
and tells the host.
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
    """Who acts, and in which tenant."""

    tenant_id: str
    user_id: str
    address: str | None = None
    """The person's own address, as the host names it; `None` where it names none."""


def operator(tenant_id: str) -> Acting:
    """Return the operator at the command line, who acts in any tenant."""
    return Acting(tenant_id=tenant_id, user_id=OPERATOR)


@contextmanager
def act(extension: Extension, tenant_id: str) -> Iterator[Session]:
    """Run an act of a tenant in a transaction of its own, one at a time, and commit it.

    The page's transaction ends first: behind the lock everything is read anew. Whatever is raised rolls the act back.
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
