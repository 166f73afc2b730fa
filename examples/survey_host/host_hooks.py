"""The platform's hook implementations. Imported only if the contract is installed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flask import g, url_for
from sqlalchemy import select

from own_smtp.hooks import Action, Actor, InvitationStatus, Person, PlatformMail, Project, Tenant, hookimpl
from survey_host import access, mail_events, mailer, models
from survey_host.extensions import db
from survey_host.models import Role

_NEEDED = {
    Action.VIEW: Role.SURVEY_MANAGER,
    Action.ENABLE: Role.SURVEY_MANAGER,
    Action.TEST: Role.TENANT_ADMIN,
    Action.EDIT: Role.TENANT_ADMIN,
    Action.ADMINISTER: Role.PLATFORM_ADMIN,
}


@hookimpl
def own_smtp_actor() -> Actor | None:
    """The signed-in person, in the tenant that a platform administrator has selected."""
    if g.get("account") is None or g.tenant is None:
        return None
    return Actor(user_id=str(g.account.id), tenant_id=str(g.tenant.id), name=g.account.name, email=g.account.email)


@hookimpl
def own_smtp_sign_in_url(next_path: str) -> str | None:
    """The sign-in leads back to the requested page."""
    return url_for("auth.sign_in", next=next_path)


@hookimpl
def own_smtp_may(actor: Actor, action: Action, project_id: str | None) -> bool | None:
    """By role; for a project, only if it is the tenant's own."""
    if project_id is not None and _survey(actor.tenant_id, project_id) is None:
        return False
    return access.has_role(_NEEDED[action])


def _survey(tenant_id: str, project_id: str) -> models.Survey | None:
    survey = db.session.get(models.Survey, int(project_id)) if project_id.isdecimal() else None
    return survey if survey is not None and str(survey.tenant_id) == tenant_id else None


@hookimpl
def own_smtp_tenant(tenant_id: str) -> Tenant | None:
    """Name, language and time zone."""
    tenant = db.session.get(models.Tenant, int(tenant_id)) if tenant_id.isdecimal() else None
    if tenant is None:
        return None
    return Tenant(tenant_id=tenant_id, name=tenant.name, locale=tenant.language, timezone=tenant.timezone)


@hookimpl
def own_smtp_tenants() -> Iterable[Tenant] | None:
    """For the platform's administrators."""
    return [
        Tenant(tenant_id=str(tenant.id), name=tenant.name, locale=tenant.language, timezone=tenant.timezone)
        for tenant in db.session.scalars(select(models.Tenant).order_by(models.Tenant.name))
    ]


@hookimpl
def own_smtp_people(tenant_id: str) -> Iterable[Person] | None:
    """The tenant's active accounts."""
    if not tenant_id.isdecimal():
        return None
    query = select(models.Account).where(models.Account.tenant_id == int(tenant_id), models.Account.is_active)
    accounts = db.session.scalars(query.order_by(models.Account.name))
    return [Person(user_id=str(account.id), name=account.name) for account in accounts]


@hookimpl
def own_smtp_user_name(tenant_id: str, user_id: str) -> str | None:
    """Any account: the platform's administrators act in every tenant."""
    account = db.session.get(models.Account, int(user_id)) if user_id.isdecimal() else None
    return account.name if account is not None else None


@hookimpl
def own_smtp_projects(tenant_id: str) -> Iterable[Project] | None:
    """The tenant's surveys, in the order of its survey list."""
    if not tenant_id.isdecimal():
        return None
    query = select(models.Survey).where(models.Survey.tenant_id == int(tenant_id))
    return [
        Project(project_id=str(survey.id), tenant_id=tenant_id, title=survey.title, closes_at=survey.closes_at)
        for survey in db.session.scalars(query.order_by(models.Survey.created_at.desc(), models.Survey.id.desc()))
    ]


@hookimpl
def own_smtp_send_platform_mail(mail: PlatformMail) -> bool | None:
    """By Flask-Mail. The plugin handles errors."""
    mailer.send_to_staff(mail.recipient, mail.subject, mail.text, mail.html)
    return True


@hookimpl
def own_smtp_invitations_changed(changes: Sequence[InvitationStatus]) -> None:
    """Stored by participant; repeated or late events change nothing."""
    mail_events.record_changes(changes)


@hookimpl
def own_smtp_layout() -> str | None:
    """The platform's own layout."""
    return "base.html"
