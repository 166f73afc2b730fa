"""The signed-in person, their tenant, and their permissions."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from flask import abort, g, redirect, request, session, url_for
from sqlalchemy import select
from werkzeug.security import check_password_hash, generate_password_hash

from survey_host.extensions import db
from survey_host.models import Account, Participant, Question, Role, SendRun, Survey, Tenant

P = ParamSpec("P")
R = TypeVar("R")
Row = TypeVar("Row", Participant, Question, SendRun)

# Checked for unknown addresses too, so that response times do not reveal which addresses exist.
_NOBODY = generate_password_hash("nobody has this password")

_RANK = {Role.SURVEY_MANAGER: 0, Role.TENANT_ADMIN: 1, Role.PLATFORM_ADMIN: 2}


def verify(email: str, password: str) -> Account | None:
    """Return the active account with these credentials, or `None`."""
    account = db.session.scalar(select(Account).where(Account.email == email.strip().lower()))
    fits = check_password_hash(account.password_hash if account else _NOBODY, password)
    return account if account and fits and account.is_active else None


def sign_in(account: Account) -> None:
    """Start a fresh session for `account`."""
    session.clear()
    session["account_id"] = account.id


def sign_out() -> None:
    """End the session."""
    session.clear()


def load_account() -> None:
    """Load the signed-in account, or `None`, and its current tenant into `g`. Runs before each request."""
    account_id = session.get("account_id")
    account = db.session.get(Account, account_id) if account_id is not None else None
    g.account = account if account and account.is_active else None
    g.tenant = _tenant_of(g.account) if g.account else None


def _tenant_of(account: Account) -> Tenant | None:
    """A platform administrator works in the tenant selected last, else in the first one."""
    if account.role != Role.PLATFORM_ADMIN:
        return db.session.get(Tenant, account.tenant_id)
    chosen = db.session.get(Tenant, session["tenant_id"]) if "tenant_id" in session else None
    return chosen or db.session.scalar(select(Tenant).order_by(Tenant.name).limit(1))


def has_role(role: Role) -> bool:
    """Return whether the signed-in account has at least this role."""
    return g.account is not None and _RANK[Role(g.account.role)] >= _RANK[role]


def needs(role: Role) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Require this role or a higher one: otherwise redirect to the sign-in, or answer 403."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            if g.account is None:
                return redirect(sign_in_url())
            if not has_role(role):
                abort(403)
            if g.tenant is None and role != Role.PLATFORM_ADMIN:
                return redirect(url_for("platform.tenants"))
            return view(*args, **kwargs)

        return guarded

    return decorate


def sign_in_url() -> str:
    """Return the address of the sign-in, which leads back to the requested page."""
    here = request.full_path.rstrip("?") if request.method == "GET" else None
    return url_for("auth.sign_in", next=here)


def safe_path(target: str | None) -> str:
    """Return `target` if it is a path on this site, else the start page: sign-in never redirects to another site.

    Browsers read `//`, a backslash and stripped control characters as the beginning of another site's address.
    """
    if not target or re.search(r"[\\\x00-\x20\x7f]", target) or not re.match(r"/(?!/)", target):
        return "/"
    try:
        parts = urlsplit(target)
    except ValueError:
        return "/"
    return "/" if parts.scheme or parts.netloc else target


def own_survey(survey_id: int) -> Survey:
    """Return a survey of the current tenant, or answer 404."""
    survey = db.session.get(Survey, survey_id)
    if survey is None or survey.tenant_id != g.tenant.id:
        abort(404)
    return survey


def own_child(model: type[Row], survey: Survey, child_id: int) -> Row:
    """Return a row that belongs to `survey`, or answer 404."""
    child = db.session.get(model, child_id)
    if child is None or child.survey_id != survey.id:
        abort(404)
    return child


def participant_of(survey_id: int, token: str) -> tuple[Survey, Participant]:
    """Return the survey and the participant of a link in a mail, or answer 404."""
    query = select(Participant).where(Participant.survey_id == survey_id, Participant.token == token)
    participant = db.session.scalar(query)
    if participant is None:
        abort(404)
    survey = db.session.get_one(Survey, survey_id)
    return survey, participant
