"""Checks of a host's answers: the signed-in person, tenants, people, projects, and the page layout."""

from __future__ import annotations

from urllib.parse import unquote
from zoneinfo import available_timezones

from babel import Locale, UnknownLocaleError
from jinja2 import TemplateNotFound

from own_smtp.errors import AddressError
from own_smtp.hooks.events import Action, Actor, Person, Project, Tenant
from own_smtp.smtp.addresses import parse_address
from own_smtp.testing.case import Case, Problems

NEXT_PATH = "/own-smtp/servers/1?page=2"


def check_signed_out(case: Case) -> Problems:
    """The hook names no one while no one is signed in."""
    actor = case.hook.own_smtp_actor()
    if actor is not None:
        yield f"it returned {actor!r} although no one is signed in; return None then."


def check_sign_in_url(case: Case) -> Problems:
    """There is a page to sign in at, and its URL keeps the page to return to."""
    url = case.hook.own_smtp_sign_in_url(next_path=NEXT_PATH)
    if url is None:
        return
    if not isinstance(url, str) or not url.startswith(("/", "https://", "http://")):
        yield f"it returned {url!r}; return an address, or None."
    elif NEXT_PATH not in unquote(url):
        yield f"{url!r} does not contain `next_path`."


def check_actor(case: Case) -> Problems:
    """The hook names the signed-in person."""
    actor = case.hook.own_smtp_actor()
    if not isinstance(actor, Actor):
        yield f"it returned {actor!r}, not an Actor, although a person is signed in."
        return
    yield from _bad_ids(user_id=actor.user_id, tenant_id=actor.tenant_id)
    yield from _bad_texts(name=actor.name, email=actor.email)
    if actor.tenant_id != case.tenant_id:
        yield f"the person is of tenant {actor.tenant_id!r}, and should be of {case.tenant_id!r}."


def check_may(case: Case) -> Problems:
    """The hook allows or forbids each action, or leaves it to the default."""
    actor = case.hook.own_smtp_actor()
    for project_id in (None, *(project.project_id for project in case.projects(case.tenant_id))):
        for action in Action:
            answer = case.hook.own_smtp_may(actor=actor, action=action, project_id=project_id)
            if answer is not None and not isinstance(answer, bool):
                yield f"it returned {answer!r} for {action} and project {project_id!r}; return True, False or None."


def check_tenant(case: Case) -> Problems:
    """A tenant is found by its id, with a time zone and a language."""
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


def check_notice_recipients(case: Case) -> Problems:
    """Notices go to valid addresses."""
    found = case.hook.own_smtp_notice_recipients(tenant_id=case.tenant_id, relay_id=1)
    for address in () if found is None else found:
        try:
            parse_address(address)
        except AddressError as error:
            yield f"{address!r} is no address: {error}"


def check_tenants(case: Case) -> Problems:
    """The hook lists all tenants, each once."""
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


def check_people(case: Case) -> Problems:
    """The hook lists a tenant's people, each once."""
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


def check_user_name(case: Case) -> Problems:
    """Names are texts; an unknown person has none."""
    actor = case.hook.own_smtp_actor()
    for user_id in (*([actor.user_id] if actor else []), "nobody"):
        name = case.hook.own_smtp_user_name(tenant_id=case.tenant_id, user_id=user_id)
        if name is not None and (not isinstance(name, str) or not name.strip()):
            yield f"it returned {name!r} for {user_id!r}; return a name, or None for an unknown person."


def check_projects(case: Case) -> Problems:
    """The hook lists projects of the given tenant, and of no other."""
    answers: list[object] = [*case.projects(case.tenant_id)]
    own = [item for item in answers if isinstance(item, Project)]
    if len(own) < len(answers):
        yield f"it returned {answers!r}; each must be a Project."
        return
    for project in own:
        yield from _project_problems(project, case.tenant_id)
    ids = [project.project_id for project in own]
    if len(ids) != len(set(ids)):
        yield "two projects of one tenant have the same id."
    foreign = {project.project_id for project in case.projects(case.foreign_tenant_id)}
    if shared := sorted(foreign & set(ids)):
        yield f"the projects {', '.join(shared)} belong to two tenants."


def _project_problems(project: Project, tenant_id: str) -> Problems:
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


def check_layout(case: Case) -> Problems:
    """The layout exists, with the blocks that pages fill."""
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
