"""For the tests of a host: asks its hook implementations what Own SMTP will ask, and says what is wrong.

    from own_smtp.testing import check_host

    def test_own_smtp_gets_the_answers_that_it_needs(app, sign_in):
        check_host(
            app,
            signed_in=lambda: sign_in("admin@acme.example"),
            tenant_id="1",
            foreign_tenant_id="2",
            references=["17", "18"],
        )

Needs no pytest. A hook without an implementation is fine, and not asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any
from zoneinfo import available_timezones

from babel import Locale, UnknownLocaleError
from flask import Flask
from jinja2 import TemplateNotFound
from sqlalchemy import DateTime, Table, select
from sqlalchemy.orm import Session

from own_smtp.current import KEY
from own_smtp.hooks.events import (
    Action,
    Actor,
    InvitationStatus,
    Person,
    PlatformMail,
    Project,
    RelayAlert,
    RelayChange,
    Tenant,
)
from own_smtp.states import AlertCause, RelayState, State

__all__ = ["check_host"]

Problems = Iterator[str]
SignedIn = Callable[[], AbstractContextManager[object]]


def check_host(
    app: Flask, *, signed_in: SignedIn, tenant_id: str, foreign_tenant_id: str, references: Sequence[str]
) -> None:
    """Raise `AssertionError` with a line for each thing that is wrong with the host's hook implementations.

    `app` has Own SMTP and a database of the test's own, with two tenants and projects of theirs. `signed_in` returns a
    context manager that enters a request of somebody of `tenant_id`. `references` are ids that the host gives to
    invitations, of people who exist in the database: news of them are told to the host, also twice and late.
    """
    case = _Case(app, app.extensions[KEY].host.hook, signed_in, tenant_id, foreign_tenant_id, tuple(references))
    problems = [f"  {hook}: {problem}" for hook, where, check in _CHECKS for problem in case.run(hook, where, check)]
    if problems:
        raise AssertionError("\n".join(["The host's hooks do not keep to the contract:", *problems]))


class _Where(Enum):
    """In which surroundings Own SMTP calls a hook."""

    NOBODY = auto()
    """In a request before somebody has signed in."""
    SOMEBODY = auto()
    WORKER = auto()
    """In an application context without a request."""


@dataclass(frozen=True, slots=True)
class _Case:
    app: Flask
    hook: Any
    signed_in: SignedIn
    tenant_id: str
    foreign_tenant_id: str
    references: tuple[str, ...]

    def run(self, hook: str, where: _Where, check: Callable[[_Case], Problems]) -> list[str]:
        if not getattr(self.hook, hook).get_hookimpls():
            return []
        try:
            with self._enter(where):
                return list(check(self))
        except Exception as error:  # noqa: BLE001 -- whatever the host's code raises is what is looked for
            return [f"it raised {type(error).__name__}: {error}"]

    @contextmanager
    def _enter(self, where: _Where) -> Iterator[None]:
        match where:
            case _Where.SOMEBODY:
                with self.signed_in():
                    yield
            case _Where.NOBODY:
                with self.app.test_request_context(f"{self.app.extensions[KEY].settings.url_prefix}/"):
                    self.app.preprocess_request()
                    yield
            case _Where.WORKER:
                with self.app.app_context():
                    yield

    def projects(self, tenant_id: str) -> list[Project]:
        return list(self.hook.own_smtp_projects(tenant_id=tenant_id) or ())


# Who and what


def _nobody(case: _Case) -> Problems:
    actor = case.hook.own_smtp_actor()
    if actor is not None:
        yield f"it returned {actor!r} although nobody is signed in; return None then."


def _actor(case: _Case) -> Problems:
    actor = case.hook.own_smtp_actor()
    if not isinstance(actor, Actor):
        yield f"it returned {actor!r}, not an Actor, although somebody is signed in."
        return
    yield from _bad_ids(user_id=actor.user_id, tenant_id=actor.tenant_id)
    yield from _bad_texts(name=actor.name, email=actor.email)
    if actor.tenant_id != case.tenant_id:
        yield f"the person is of tenant {actor.tenant_id!r}, and should be of {case.tenant_id!r}."


def _may(case: _Case) -> Problems:
    actor = case.hook.own_smtp_actor()
    for project_id in (None, *(project.project_id for project in case.projects(case.tenant_id))):
        for action in Action:
            answer = case.hook.own_smtp_may(actor=actor, action=action, project_id=project_id)
            if answer is not None and not isinstance(answer, bool):
                yield f"it returned {answer!r} for {action} and project {project_id!r}; return True, False or None."


def _tenant(case: _Case) -> Problems:
    tenant = case.hook.own_smtp_tenant(tenant_id=case.tenant_id)
    if not isinstance(tenant, Tenant):
        yield f"it returned {tenant!r} for {case.tenant_id!r}, not a Tenant."
        return
    if tenant.tenant_id != case.tenant_id:
        yield f"asked for {case.tenant_id!r}, it returned the tenant {tenant.tenant_id!r}."
    yield from _bad_texts(name=tenant.name)
    if tenant.timezone not in available_timezones():
        yield f"{tenant.timezone!r} is no IANA time zone, such as Europe/Berlin."
    if not _is_locale(tenant.locale):
        yield f"{tenant.locale!r} is no language tag, such as de or pt-BR."


def _is_locale(tag: object) -> bool:
    try:
        return isinstance(tag, str) and bool(Locale.parse(tag.replace("-", "_")))
    except (UnknownLocaleError, ValueError):
        return False


def _tenants(case: _Case) -> Problems:
    answers: list[object] = [*(case.hook.own_smtp_tenants() or ())]
    tenants = [item for item in answers if isinstance(item, Tenant)]
    if len(tenants) < len(answers):
        yield f"it returned {answers!r}; each must be a Tenant."
        return
    ids = [tenant.tenant_id for tenant in tenants]
    if len(ids) != len(set(ids)):
        yield "two tenants have the same id."
    if case.tenant_id not in ids:
        yield f"the tenant {case.tenant_id!r} is missing."
    for tenant in tenants:
        yield from _bad_ids(tenant_id=tenant.tenant_id)
        yield from _bad_texts(name=tenant.name)


def _people(case: _Case) -> Problems:
    people = list(case.hook.own_smtp_people(tenant_id=case.tenant_id) or ())
    for person in people:
        if not isinstance(person, Person):
            yield f"it returned {person!r}; each must be a Person."
            return
        yield from _bad_ids(user_id=person.user_id)
        yield from _bad_texts(name=person.name)
    ids = [person.user_id for person in people]
    if len(ids) != len(set(ids)):
        yield "two people of one tenant have the same id."


def _user_name(case: _Case) -> Problems:
    actor = case.hook.own_smtp_actor()
    for user_id in (*([actor.user_id] if actor else []), "nobody"):
        name = case.hook.own_smtp_user_name(tenant_id=case.tenant_id, user_id=user_id)
        if name is not None and (not isinstance(name, str) or not name.strip()):
            yield f"it returned {name!r} for {user_id!r}; return a name, or None for nobody that you know."


def _projects(case: _Case) -> Problems:
    answers: list[object] = [*case.projects(case.tenant_id)]
    own = [item for item in answers if isinstance(item, Project)]
    if len(own) < len(answers):
        yield f"it returned {answers!r}; each must be a Project."
        return
    for project in own:
        yield from _wrong_with(project, case.tenant_id)
    ids = [project.project_id for project in own]
    if len(ids) != len(set(ids)):
        yield "two projects of one tenant have the same id."
    foreign = {project.project_id for project in case.projects(case.foreign_tenant_id)}
    if shared := sorted(foreign & set(ids)):
        yield f"the projects {', '.join(shared)} belong to two tenants."


def _wrong_with(project: Project, tenant_id: str) -> Problems:
    yield from _bad_ids(project_id=project.project_id)
    yield from _bad_texts(title=project.title)
    if project.tenant_id != tenant_id:
        yield f"asked for tenant {tenant_id!r}, it returned a project of {project.tenant_id!r}."
    if project.closes_at is not None and project.closes_at.utcoffset() is None:
        yield f"closes_at of project {project.project_id!r} has no time zone."


def _bad_ids(**ids: object) -> Problems:
    for name, value in ids.items():
        if not isinstance(value, str) or not 0 < len(value) <= 255 or value != value.strip():
            yield f"{name} is {value!r}; an id is a string of 1 to 255 characters without white space around it."


def _bad_texts(**texts: object) -> Problems:
    for name, value in texts.items():
        if not isinstance(value, str):
            yield f"{name} is {value!r}, not a string."


# What the host is told


def _platform_mail(case: _Case) -> Problems:
    if not case.app.testing:
        return  # it might really be sent
    mail = PlatformMail(recipient="nobody@example.com", subject="A test", text="A test of own_smtp.testing.")
    answer = case.hook.own_smtp_send_platform_mail(mail=mail)
    if answer is not None and not isinstance(answer, bool):
        yield f"it returned {answer!r}; return True when the mail is sent, and None to leave it to Flask-Mail."


def _changes(case: _Case) -> Problems:
    session = case.app.extensions[KEY].db.session()
    news = _news(case)
    case.hook.own_smtp_invitations_changed(changes=news)
    session.flush()
    written = _rows(case, session)
    session.rollback()
    kept = _rows(case, session)
    if tables := _differences(written, kept):
        yield f"it did not commit what it wrote to {tables}."
    for what, again in (("that come twice", news[-1:]), ("that come late", news[:1])):
        case.hook.own_smtp_invitations_changed(changes=again)
        if tables := _differences(kept, _rows(case, session)):
            yield f"news {what} change {tables}; compare changed_at with that of the news before."
            return


def _news(case: _Case) -> list[InvitationStatus]:
    """Return what might be told of the references in the course of time, oldest first."""
    projects = case.projects(case.tenant_id)
    now = datetime.now(UTC)
    return [
        InvitationStatus(
            tenant_id=case.tenant_id,
            project_id=projects[0].project_id if projects else "1",
            batch_id=1,
            reference=reference,
            address="nobody@example.com",
            state=state,
            changed_at=now + timedelta(seconds=seconds),
            attempts=seconds + 1,
            message_id="<test@example.com>",
            reply_text="A test of own_smtp.testing.",
        )
        for seconds, state in enumerate((State.QUEUED, State.UNKNOWN, State.ACCEPTED))
        for reference in case.references
    ]


def _rows(case: _Case, session: Session) -> dict[str, list[str]]:
    """Return what the host's tables hold, without times: those may say when something was heard last."""
    tables: dict[str, Table] = case.app.extensions[KEY].db.metadata.tables
    return {name: _content(session, table) for name, table in tables.items()}


def _content(session: Session, table: Table) -> list[str]:
    columns = [column for column in table.columns if not isinstance(column.type, DateTime)]
    return sorted(repr(tuple(row)) for row in session.execute(select(*columns))) if columns else []


def _differences(one: dict[str, list[str]], other: dict[str, list[str]]) -> str:
    return ", ".join(sorted(name for name, rows in one.items() if rows != other[name]))


def _relay_change(case: _Case) -> Problems:
    for state in RelayState:
        reason = "535 5.7.8 Authentication failed" if state is RelayState.PAUSED else None
        change = RelayChange(relay_id=1, tenant_id=case.tenant_id, label="Acme", state=state, reason=reason)
        case.hook.own_smtp_relay_changed(change=change)
    yield from ()


def _relay_alert(case: _Case) -> Problems:
    for cause in AlertCause:
        for is_over in (False, True):
            at = datetime(2026, 1, 1, tzinfo=UTC)
            alert = RelayAlert(relay_id=1, tenant_id=case.tenant_id, label="Acme", cause=cause, at=at, is_over=is_over)
            case.hook.own_smtp_relay_alert(alert=alert)
    yield from ()


# How it looks


def _layout(case: _Case) -> Problems:
    name = case.hook.own_smtp_layout()
    if name is None:
        return
    if not isinstance(name, str):
        yield f"it returned {name!r}; return the name of a template, or None."
        return
    try:
        blocks = case.app.jinja_env.get_template(name).blocks
    except TemplateNotFound:
        yield f"there is no template {name!r}."
        return
    yield from (
        f"the template {name!r} has no block {block!r}." for block in ("title", "content") if block not in blocks
    )


_CHECKS: tuple[tuple[str, _Where, Callable[[_Case], Problems]], ...] = (
    ("own_smtp_actor", _Where.NOBODY, _nobody),
    ("own_smtp_actor", _Where.SOMEBODY, _actor),
    ("own_smtp_may", _Where.SOMEBODY, _may),
    ("own_smtp_tenant", _Where.WORKER, _tenant),
    ("own_smtp_tenants", _Where.SOMEBODY, _tenants),
    ("own_smtp_people", _Where.SOMEBODY, _people),
    ("own_smtp_user_name", _Where.SOMEBODY, _user_name),
    ("own_smtp_projects", _Where.SOMEBODY, _projects),
    ("own_smtp_send_platform_mail", _Where.WORKER, _platform_mail),
    ("own_smtp_invitations_changed", _Where.WORKER, _changes),
    ("own_smtp_relay_changed", _Where.WORKER, _relay_change),
    ("own_smtp_relay_alert", _Where.WORKER, _relay_alert),
    ("own_smtp_layout", _Where.SOMEBODY, _layout),
)
