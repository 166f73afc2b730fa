"""The common parts of every page: navigation, security headers, error pages, the person's language and time zone."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any

from flask import Flask, Response, current_app, g, has_request_context, redirect, render_template, request
from flask_babel import format_date, format_time, to_user_timezone
from flask_babel import gettext as _
from flask_wtf.csrf import CSRFError
from sqlalchemy import select
from werkzeug.exceptions import HTTPException

from survey_host import access, answers, plugins
from survey_host.extensions import db
from survey_host.models import LANGUAGES, Account, MailState, Role, Survey, Tenant

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def init_app(app: Flask) -> None:
    """Register all of it in `app`."""
    app.before_request(access.load_account)
    app.after_request(add_headers)
    app.context_processor(lambda: {"site": Site()})
    app.jinja_env.filters.update(moment=moment, shown=answers.shown, state_label=state_label)
    app.jinja_env.globals["field_name"] = answers.field_name
    app.register_error_handler(HTTPException, error_page)


def add_headers(response: Response) -> Response:
    """Forbid everything that no page needs; a page with other needs sets the header itself."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if g.get("account") is not None:
        response.headers.setdefault("Cache-Control", "no-store")
    return response


class Site:
    """Functions for templates, under one name of their own: plugins' pages have variables of theirs."""

    roles = Role

    @property
    def name(self) -> str:
        return str(current_app.config["SURVEY_NAME"])

    @property
    def language(self) -> str:
        return language()

    @property
    def account(self) -> Account | None:
        account: Account | None = g.get("account")
        return account

    @property
    def tenant(self) -> Tenant | None:
        tenant: Tenant | None = g.get("tenant")
        return tenant

    @cached_property
    def tenants(self) -> list[Tenant]:
        """The tenants that the signed-in person can switch between."""
        if not self.has_role(Role.PLATFORM_ADMIN):
            return []
        return list(db.session.scalars(select(Tenant).order_by(Tenant.name)))

    @cached_property
    def settings_links(self) -> list[Any]:
        return plugins.current().settings_links(str(self.tenant.id)) if self.tenant else []

    def project_links(self, survey: Survey) -> list[Any]:
        return plugins.current().project_links(str(survey.tenant_id), str(survey.id))

    def has_role(self, role: Role) -> bool:
        return self.account is not None and access.has_role(role)


def language() -> str:
    """Return the page's language: the participant's, the person's, else the best match of the browser's."""
    if "language" in g:
        return str(g.language)
    if g.get("account") is not None:
        return str(g.account.language)
    return (request.accept_languages.best_match(list(LANGUAGES)) if has_request_context() else None) or "en"


def timezone() -> str:
    """Return the tenant's time zone."""
    return g.tenant.timezone if g.get("tenant") is not None else "UTC"


def moment(value: datetime | None) -> str:
    """Return a time as text, in the tenant's time zone."""
    return f"{format_date(to_user_timezone(value))}, {format_time(value, 'short')}" if value is not None else ""


def state_label(state: str | None) -> str:
    """Return a mail state's label; an unknown state of a plugin is shown as it is."""
    labels = {
        None: _("not invited"),
        MailState.QUEUED: _("waiting"),
        MailState.SENDING: _("being sent"),
        MailState.SENT: _("sent"),
        MailState.NOT_TAKEN: _("not taken"),
        MailState.UNKNOWN: _("not known"),
        "accepted": _("accepted"),
        "refused": _("refused"),
        "failed": _("failed"),
        "cancelled": _("cancelled"),
    }
    return str(labels.get(state, state))


def error_page(error: HTTPException) -> Any:
    """Return the platform's error page, in plain words."""
    if error.code is None or error.code < 400:
        return error
    if error.code == 401 and g.get("account") is None:
        return redirect(access.sign_in_url())
    words = {
        400: _("The request could not be understood."),
        403: _("Your role does not allow this."),
        404: _("There is no such page, or it is not yours."),
        413: _("The file is too big."),
    }
    text = words.get(error.code, error.description)
    if isinstance(error, CSRFError):
        text = _("The form was open too long, or cookies are off. Go back, load the page again and repeat.")
    return render_template("error.html", error=error, text=text), error.code
