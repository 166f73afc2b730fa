"""Access to the example platform, and the pages of each role."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from own_smtp.hooks import Action, Actor
from survey_host import access, seed
from survey_host.extensions import db
from survey_host.models import Account, Survey, Tenant
from tests.survey_host_kit import (
    ADMIN_PAGES,
    PAGES,
    PLATFORM_PAGES,
    SOUTH,
    Visitor,
    add_people,
    platform,
    signed_in,
    survey_of,
    text_of,
)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with platform(tmp_path) as made:
        add_people(made, "ada@recipient.example")
        yield made


@pytest.mark.parametrize("account", ["admin@platform.example", "admin@north.example", "manager@north.example"])
def test_people_sign_in_and_out(app: Flask, account: str) -> None:
    """Each role sees its surveys after sign-in, and nothing after signing out."""
    visitor = Visitor(app)
    assert visitor.sign_in(account).location == "/"
    assert "Student satisfaction" in text_of(visitor.get("/surveys"))
    visitor.post("/sign-out", page="/surveys")
    assert visitor.get("/surveys").location == "/sign-in?next=/surveys"


@pytest.mark.parametrize(
    ("email", "password"), [("manager@north.example", "wrong"), ("nobody@north.example", seed.PASSWORD)]
)
def test_wrong_credentials_get_one_answer(app: Flask, email: str, password: str) -> None:
    """A wrong password and an unknown address get the same answer, and the password is not repeated."""
    answer = Visitor(app).sign_in(email, password)
    assert answer.status_code == 422
    assert "Address and password do not fit together." in text_of(answer)
    assert f'value="{password}"' not in answer.text


def test_a_deactivated_person_is_out_at_once(app: Flask) -> None:
    """Deactivating an account ends its open sessions."""
    visitor = signed_in(app, "manager@north.example")
    with app.app_context():
        db.session.execute(db.update(Account).where(Account.email == "manager@north.example").values(is_active=False))
        db.session.commit()
    assert visitor.get("/surveys").status_code == 302
    assert Visitor(app).sign_in("manager@north.example").status_code == 422


@pytest.mark.parametrize(
    ("target", "lands"),
    [
        ("/surveys/1?x=1", "/surveys/1?x=1"),
        ("//evil.example/x", "/"),
        ("https://evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
        ("surveys", "/"),
    ],
)
def test_after_signing_in_nobody_is_sent_elsewhere(app: Flask, target: str, lands: str) -> None:
    """`next` is followed only on this site."""
    assert Visitor(app).sign_in("manager@north.example", next=target).location == lands
    assert access.safe_path(target) == lands


def test_forms_without_csrf_token_do_nothing(app: Flask) -> None:
    """A POST from another site is rejected with a page that says what to do."""
    visitor = signed_in(app, "manager@north.example")
    answer = visitor.client.post("/surveys/new", data={"title": "Forged", "language": "en"})
    assert answer.status_code == 400
    assert "load the page again" in text_of(answer)
    with app.app_context():
        assert db.session.scalar(db.select(Survey).where(Survey.title == "Forged")) is None


@pytest.mark.parametrize("path", PAGES)
def test_a_manager_sees_the_pages_of_the_own_tenant(app: Flask, path: str) -> None:
    """Every page of a survey opens for its manager."""
    assert signed_in(app, "manager@north.example").get(path).status_code == 200


@pytest.mark.parametrize("path", [path for path in PAGES if path.startswith("/surveys/1")])
def test_a_foreign_tenant_does_not_exist(app: Flask, path: str) -> None:
    """Another tenant's survey is 404 on every page, also for an administrator."""
    assert signed_in(app, "admin@south.example").get(path).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/surveys/1/edit",
        "/surveys/1/delete",
        "/surveys/1/questions",
        "/surveys/1/questions/1/delete",
        "/surveys/1/participants/1/delete",
        "/surveys/1/participants/import/good-rows",
        "/surveys/1/send",
        "/surveys/1/sends/1/continue",
    ],
)
def test_a_foreign_tenant_cannot_be_changed(app: Flask, path: str) -> None:
    """A POST to another tenant's survey is 404, with a valid token."""
    visitor = signed_in(app, "admin@south.example")
    assert visitor.post(path, page="/surveys").status_code == 404


def test_a_child_of_another_survey_is_not_found(app: Flask) -> None:
    """A participant's id under another survey is 404, although both belong to the tenant."""
    visitor = signed_in(app, "manager@north.example")
    assert visitor.get("/surveys/2/participants/1").status_code == 404
    assert visitor.get("/surveys/2/questions/1").status_code == 404


@pytest.mark.parametrize(
    ("account", "path", "status"),
    [("manager@north.example", path, 403) for path in [*ADMIN_PAGES, *PLATFORM_PAGES]]
    + [("admin@north.example", path, 200) for path in ADMIN_PAGES]
    + [("admin@north.example", path, 403) for path in PLATFORM_PAGES]
    + [("admin@platform.example", path, 200) for path in PLATFORM_PAGES],
)
def test_roles_open_their_pages_only(app: Flask, account: str, path: str, status: int) -> None:
    """Settings need a tenant administrator, tenants a platform administrator."""
    assert signed_in(app, account).get(path).status_code == status


def test_a_tenant_administrator_cannot_touch_foreign_people(app: Flask) -> None:
    """People of other tenants and the platform's administrators are 404."""
    visitor = signed_in(app, "admin@south.example")
    with app.app_context():
        foreign = db.session.scalars(db.select(Account).where(Account.email.not_like("%south%"))).all()
    for person in foreign:
        assert visitor.get(f"/settings/people/{person.id}").status_code == 404


def test_nobody_becomes_platform_administrator_by_a_form(app: Flask) -> None:
    """A tenant's administrator cannot assign a role above their own."""
    visitor = signed_in(app, "admin@north.example")
    data = {"name": "X", "email": "x@north.example", "role": "platform_admin", "language": "en"}
    answer = visitor.post("/settings/people/new", data | {"password": "long enough 1", "is_active": "y"})
    assert answer.status_code == 422


def test_a_tenant_administrator_adds_a_person(app: Flask) -> None:
    """An added person can sign in with the given password."""
    visitor = signed_in(app, "admin@north.example")
    data = {"name": "X", "email": "New@North.example", "role": "survey_manager", "language": "de"}
    visitor.post("/settings/people/new", data | {"password": "long enough 1", "is_active": "y"})
    assert Visitor(app).sign_in("new@north.example", "long enough 1").status_code == 302


def test_a_platform_administrator_works_in_a_chosen_tenant(app: Flask) -> None:
    """After switching, the other tenant's surveys are shown."""
    visitor = signed_in(app, "admin@platform.example")
    with app.app_context():
        south = db.session.scalars(db.select(Tenant).where(Tenant.name == SOUTH)).one().id
    visitor.post("/platform/tenants/switch", {"tenant": str(south)}, page="/surveys")
    assert "Patient survey" in text_of(visitor.get("/surveys"))


@pytest.mark.parametrize(
    ("account", "allowed"),
    [
        (None, set()),
        ("manager@north.example", {Action.VIEW, Action.ENABLE}),
        ("admin@north.example", set(Action) - {Action.ADMINISTER}),
        ("admin@platform.example", set(Action)),
    ],
)
def test_the_host_answers_who_may_do_what(app: Flask, account: str | None, allowed: set[Action]) -> None:
    """By role, and never on another tenant's survey."""
    hook = app.extensions["survey_plugins"].manager.hook
    actor = Actor(user_id="1", tenant_id="1", name="", email="")
    foreign = str(survey_of(app, SOUTH))
    visitor = signed_in(app, account) if account else Visitor(app)
    with visitor.client:
        visitor.get("/sign-in")
        assert (hook.own_smtp_actor() != []) == (account is not None)
        may = {action for action in Action if hook.own_smtp_may(actor=actor, action=action, project_id="1") == [True]}
        assert may == allowed
        assert hook.own_smtp_may(actor=actor, action=Action.ENABLE, project_id=foreign) == [False]


def test_the_host_lists_its_tenants_and_projects(app: Flask) -> None:
    """Name, zone and surveys are returned by id; unknown ids have no answer."""
    hook = app.extensions["survey_plugins"].manager.hook
    with app.app_context():
        (tenant,) = hook.own_smtp_tenant(tenant_id="1")
        assert (tenant.name, tenant.timezone) == ("North University", "Europe/Berlin")
        (projects,) = hook.own_smtp_projects(tenant_id="1")
        assert {project.title for project in projects} == {"Student satisfaction", "Working here"}
        assert all(project.closes_at is not None and project.closes_at.tzinfo for project in projects)
        assert hook.own_smtp_tenant(tenant_id="nonsense") == []
