"""The example platform: signing in, roles, tenants, pages, answers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from own_smtp.hooks import Action, Actor, Link, hookimpl
from survey_host import access, answers, config, create_app, seed
from survey_host.extensions import db
from survey_host.models import Account, Question, Response, Survey, Tenant
from tests.survey_host_kit import (
    SOUTH,
    Visitor,
    add_people,
    add_plugin,
    people,
    platform,
    signed_in,
    survey_of,
    text_of,
)

PAGES = [
    "/surveys",
    "/surveys/new",
    "/surveys/1",
    "/surveys/1/edit",
    "/surveys/1/questions",
    "/surveys/1/questions/1",
    "/surveys/1/participants",
    "/surveys/1/participants/new",
    "/surveys/1/participants/1",
    "/surveys/1/participants/import",
    "/surveys/1/texts",
    "/surveys/1/texts/invitation/en",
    "/surveys/1/texts/invitation/en/preview",
    "/surveys/1/texts/invitation/en/preview.html",
    "/surveys/1/send",
    "/surveys/1/report",
    "/surveys/1/responses",
    "/surveys/1/responses.csv",
]
ADMIN_PAGES = ["/settings", "/settings/people", "/settings/people/new", "/settings/people/2", "/surveys/1/delete"]
PLATFORM_PAGES = ["/platform/tenants", "/platform/tenants/2/delete"]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with platform(tmp_path) as made:
        add_people(made, "ada@recipient.example")
        yield made


def token(app: Flask) -> str:
    return people(app)["ada@recipient.example"].token


def test_starts_without_secret_key_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SECRET_KEY the platform does not start, and says which key to set and how to make one."""
    monkeypatch.delenv("SECRET_KEY", raising=False)
    with pytest.raises(config.ConfigurationError, match=r"SECRET_KEY is not set.*token_hex"):
        create_app({})


def test_a_public_url_without_host_is_refused() -> None:
    """Links in mails need an address that people can reach."""
    with pytest.raises(config.ConfigurationError, match="SURVEY_PUBLIC_URL"):
        create_app({"SECRET_KEY": "x", "SURVEY_PUBLIC_URL": "surveys.example.org"})


def test_the_environment_is_read_as_json_where_it_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers and truth values mean what they say, passwords stay texts, and a mapping wins over both."""
    for name, value in {"MAIL_PORT": "2525", "MAIL_USE_TLS": "true", "MAIL_PASSWORD": "123", "OWN_SMTP_X": "5"}.items():
        monkeypatch.setenv(name, value)
    made = config.load({"SECRET_KEY": "x", "MAIL_PORT": 26})
    assert (made["MAIL_PORT"], made["MAIL_USE_TLS"], made["MAIL_PASSWORD"]) == (26, True, "123")
    assert made["OWN_SMTP_X"] == 5


def test_seed_twice_changes_nothing(app: Flask) -> None:
    """Seeding again returns the same people and adds none."""
    with app.app_context():
        before = db.session.scalar(db.select(db.func.count()).select_from(Account))
        signs = seed.seed(db)
        assert db.session.scalar(db.select(db.func.count()).select_from(Account)) == before == len(signs) == 5


def test_commands_create_tables_and_seed(tmp_path: Path) -> None:
    """`init-db` and `seed` work from the command line and print whom to sign in as."""
    made = create_app(
        {
            "SECRET_KEY": "x",
            "SURVEY_LOAD_PLUGINS": False,
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'a.db'}",
        }
    )
    runner = made.test_cli_runner()
    assert runner.invoke(args=["init-db"]).exit_code == 0
    assert "manager@north.example  survey-demo" in runner.invoke(args=["seed"]).output
    with made.app_context():
        db.engine.dispose()


@pytest.mark.parametrize("account", ["admin@platform.example", "admin@north.example", "manager@north.example"])
def test_people_sign_in_and_out(app: Flask, account: str) -> None:
    """Each role reaches its surveys by its password, and nothing after signing out."""
    visitor = signed_in(app, account)
    assert "Student satisfaction" in text_of(visitor.get("/surveys"))
    visitor.post("/sign-out", page="/surveys")
    assert visitor.get("/surveys").location == "/sign-in?next=/surveys"


@pytest.mark.parametrize(
    ("email", "password"), [("manager@north.example", "wrong"), ("nobody@north.example", seed.PASSWORD)]
)
def test_wrong_credentials_get_one_answer(app: Flask, email: str, password: str) -> None:
    """A wrong password and an unknown address read the same, and the password is not echoed."""
    answer = Visitor(app).sign_in(email, password)
    assert answer.status_code == 422
    assert "Address and password do not fit together." in text_of(answer)
    assert f'value="{password}"' not in answer.text


def test_a_deactivated_person_is_out_at_once(app: Flask) -> None:
    """Taking the sign-in away ends sessions that are open."""
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
    """A POST from another site is refused with a page that says what to do."""
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
    """Another tenant's survey is 404 on every page, for its administrator, too."""
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
    """A participant's id under a survey that is not theirs is 404, although both belong to the tenant."""
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
    """A tenant's administrator cannot give away a role above the own one."""
    visitor = signed_in(app, "admin@north.example")
    data = {"name": "X", "email": "x@north.example", "role": "platform_admin", "language": "en"}
    answer = visitor.post("/settings/people/new", data | {"password": "long enough 1", "is_active": "y"})
    assert answer.status_code == 422


def test_a_tenant_administrator_adds_a_person(app: Flask) -> None:
    """A person who was added can sign in with the given password."""
    visitor = signed_in(app, "admin@north.example")
    data = {"name": "X", "email": "New@North.example", "role": "survey_manager", "language": "de"}
    visitor.post("/settings/people/new", data | {"password": "long enough 1", "is_active": "y"})
    assert Visitor(app).sign_in("new@north.example", "long enough 1").status_code == 302


def test_a_platform_administrator_works_in_a_chosen_tenant(app: Flask) -> None:
    """After switching, the other tenant's surveys are there."""
    visitor = signed_in(app, "admin@platform.example")
    with app.app_context():
        south = db.session.scalars(db.select(Tenant).where(Tenant.name == SOUTH)).one().id
    visitor.post("/platform/tenants/switch", {"tenant": str(south)}, page="/surveys")
    assert "Patient survey" in text_of(visitor.get("/surveys"))


def test_deletions_are_told_to_plugins_and_take_everything_along(app: Flask) -> None:
    """Deleting a survey and a tenant fires the hooks and leaves no rows behind."""
    told: list[tuple[str, ...]] = []

    class Listener:
        @hookimpl
        def survey_project_deleted(self, tenant_id: str, project_id: str) -> None:
            told.append((tenant_id, project_id))

        @hookimpl
        def survey_tenant_deleted(self, tenant_id: str) -> None:
            told.append((tenant_id,))

    add_plugin(app, Listener())
    visitor = signed_in(app, "admin@platform.example")
    visitor.post("/surveys/1/delete")
    visitor.post("/platform/tenants/1/delete")
    assert told == [("1", "1"), ("1",)]
    assert people(app) == {}
    assert Visitor(app).sign_in("manager@north.example").status_code == 422


def test_plugins_links_are_in_the_menus(app: Flask) -> None:
    """A survey's menu and the settings menu show what plugins offer."""

    class Linker:
        @hookimpl
        def survey_project_links(self, tenant_id: str, project_id: str) -> list[Link]:
            return [Link(key="a", label="Own server here", url=f"/own/{tenant_id}/{project_id}")]

        @hookimpl
        def survey_settings_links(self, tenant_id: str) -> list[Link]:
            return [Link(key="b", label="Own servers", url=f"/own/{tenant_id}")]

    add_plugin(app, Linker())
    visitor = signed_in(app, "admin@north.example")
    assert 'href="/own/1/1">Own server here' in visitor.get("/surveys/1").text
    assert 'href="/own/1">Own servers' in visitor.get("/settings").text
    assert 'href="/own/1">Own servers' in signed_in(app, "manager@north.example").get("/surveys").text


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


def test_the_host_tells_its_tenants_and_projects(app: Flask) -> None:
    """Name, zone and surveys come by their ids; ids that are not the platform's have no answer."""
    hook = app.extensions["survey_plugins"].manager.hook
    with app.app_context():
        (tenant,) = hook.own_smtp_tenant(tenant_id="1")
        assert (tenant.name, tenant.timezone) == ("North University", "Europe/Berlin")
        (projects,) = hook.own_smtp_projects(tenant_id="1")
        assert {project.title for project in projects} == {"Student satisfaction", "Working here"}
        assert all(project.closes_at is not None and project.closes_at.tzinfo for project in projects)
        assert hook.own_smtp_tenant(tenant_id="nonsense") == []


@pytest.mark.parametrize("path", [*PAGES, *ADMIN_PAGES, *PLATFORM_PAGES, "/sign-in", "/nothing-here"])
def test_pages_keep_a_strict_policy(app: Flask, path: str) -> None:
    """No page has inline script or style, or asks another host for anything; each sends its policy."""
    page = signed_in(app, "admin@platform.example").get(path)
    assert "default-src" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=", page.text)
    assert not re.search(r'(?:src|<link[^>]*href)="(?:https?:)?//', page.text)


def test_every_field_has_a_label(app: Flask) -> None:
    """Each visible field of each page is named by a label."""
    visitor = signed_in(app, "admin@platform.example")
    for path in [*PAGES, *ADMIN_PAGES, *PLATFORM_PAGES]:
        html = visitor.get(path).text
        fields = re.findall(r'<(?:input(?![^>]*type="hidden")|select|textarea)[^>]*\sid="([^"]+)"', html)
        labels = set(re.findall(r'<label[^>]*\sfor="([^"]+)"', html))
        assert set(fields) <= labels, path
        assert html.count("<h1") == ("preview.html" not in path and ".csv" not in path), path


def test_a_survey_is_made_with_each_type_of_question(app: Flask) -> None:
    """A manager makes a survey, adds the four types and orders them; closing times are in the tenant's zone."""
    visitor = signed_in(app, "manager@north.example")
    made = visitor.post("/surveys/new", {"title": "Fresh", "language": "de", "closes_at": "2030-07-01T12:00"})
    path = made.location
    for kind, options in {"text": "", "single": "a\nb", "multiple": "a\nb\na", "scale": "low\nhigh"}.items():
        visitor.post(path, {"text": kind, "kind": kind, "options": options, "points": "7"})
    with app.app_context():
        survey = db.session.scalars(db.select(Survey).where(Survey.title == "Fresh")).one()
        last = survey.questions[-1]
        assert [question.kind for question in survey.questions] == ["text", "single", "multiple", "scale"]
        assert survey.questions[2].options == ["a", "b"]
        assert survey.closes_at is not None
        assert survey.closes_at.isoformat() == "2030-07-01T10:00:00+00:00"
    visitor.post(f"{path}/{last.id}/up", page=path)
    with app.app_context():
        survey = db.session.scalars(db.select(Survey).where(Survey.title == "Fresh")).one()
        assert [question.kind for question in survey.questions] == ["text", "single", "scale", "multiple"]


def test_choices_need_two_options(app: Flask) -> None:
    """A choice with one option is refused, and nothing typed is lost."""
    visitor = signed_in(app, "manager@north.example")
    answer = visitor.post("/surveys/1/questions", {"text": "One?", "kind": "single", "options": "only", "points": "5"})
    assert answer.status_code == 422
    assert "at least two choices" in text_of(answer)
    assert 'value="One?"' in answer.text


def answer_all(app: Flask, **given: object) -> dict[str, object]:
    """Return form data for the seeded questions, by their kind."""
    with app.app_context():
        rows = db.session.scalars(db.select(Question).where(Question.survey_id == 1)).all()
        return {f"q{row.id}": given[row.kind] for row in rows if row.kind in given}


def test_a_participant_answers_once(app: Flask) -> None:
    """Answers are kept and thanked for; a second time shows the thanks only."""
    visitor, path = Visitor(app), f"/s/1/{token(app)}"
    data = answer_all(app, scale="4", single="Yes", multiple=["Rooms", "Information"], text="=1+1 <b>")
    assert visitor.post(path, data).location == f"{path}/thanks"
    assert "Thank you very much" in text_of(visitor.get(f"{path}/thanks"))
    assert visitor.get(path).location == f"{path}/thanks"
    with app.app_context():
        kept = db.session.scalars(db.select(Response)).one().answers
    assert list(kept.values()) == [4, "Yes", ["Rooms", "Information"], "=1+1 <b>"]


def test_answers_that_were_not_on_offer_are_refused(app: Flask) -> None:
    """A missing required answer and an invented choice are named at their question; what was typed stays."""
    data = answer_all(app, scale="", single="Invented", text="Kept words")
    answer = Visitor(app).post(f"/s/1/{token(app)}", data)
    assert answer.status_code == 422
    assert "Please answer this question." in text_of(answer)
    assert "Choose one of the answers on offer." in text_of(answer)
    assert "Kept words" in answer.text
    assert people(app)["ada@recipient.example"].answered_at is None


def test_a_closed_survey_takes_no_answers(app: Flask) -> None:
    """After its closing time a survey says so and keeps nothing."""
    visitor, path = Visitor(app), f"/s/1/{token(app)}"
    csrf = visitor.get(path)
    with app.app_context():
        db.session.get_one(Survey, 1).closes_at = db.session.get_one(Survey, 1).created_at
        db.session.commit()
    assert csrf.status_code == 200
    assert visitor.get(path).status_code == 410


@pytest.mark.parametrize("path", ["/s/1/wrong", "/s/2/{token}", "/opt-out/1/wrong", "/s/1/wrong/thanks"])
def test_a_wrong_token_opens_nothing(app: Flask, path: str) -> None:
    """A token works for its own survey only."""
    assert Visitor(app).get(path.format(token=token(app))).status_code == 404


def test_looking_at_the_opt_out_page_changes_nothing(app: Flask) -> None:
    """Mail scanners follow links: only the button opts out."""
    visitor, path = Visitor(app), f"/opt-out/1/{token(app)}"
    assert "ada@recipient.example" in text_of(visitor.get(path))
    assert people(app)["ada@recipient.example"].opted_out_at is None
    assert "You get no more mail" in text_of(visitor.post(path))
    assert people(app)["ada@recipient.example"].opted_out_at is not None


def test_one_click_opts_out_without_cookie_and_token(app: Flask) -> None:
    """The POST of RFC 8058 is answered with 200 and no redirect; a form without token is refused."""
    path = f"/opt-out/1/{token(app)}"
    assert Visitor(app).client.post(path).status_code == 400
    assert people(app)["ada@recipient.example"].opted_out_at is None
    assert Visitor(app).client.post(path, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert people(app)["ada@recipient.example"].opted_out_at is not None


def test_public_pages_stay_out_of_caches_and_indexes(app: Flask) -> None:
    """A page whose address is a secret is neither stored nor indexed, and shows nobody's menu."""
    page = signed_in(app, "manager@north.example").get(f"/s/1/{token(app)}")
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["X-Robots-Tag"] == "noindex"
    assert "Sign out" not in page.text


def test_responses_are_shown_and_exported_safely(app: Flask) -> None:
    """The table escapes what was typed, and the CSV file has no cell that a spreadsheet would calculate."""
    Visitor(app).post(f"/s/1/{token(app)}", answer_all(app, scale="4", text='=HYPERLINK("x") <b>'))
    visitor = signed_in(app, "manager@north.example")
    assert "&lt;b&gt;" in visitor.get("/surveys/1/responses").text
    lines = visitor.get("/surveys/1/responses.csv").get_data(as_text=True)
    assert lines.startswith("\ufeffsubmitted_at,")
    assert "'=HYPERLINK" in lines


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\tx", "\rx", "  =1"])
def test_formulas_are_disarmed(cell: str) -> None:
    """Each beginning that a spreadsheet takes for a formula gets an apostrophe."""
    assert answers.harmless(cell) == f"'{cell}"
    assert answers.harmless("plain - text") == "plain - text"


WITHOUT = """
import sys
from pathlib import Path

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"own_smtp", "pluggy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from tests.survey_host_kit import add_people, people, platform, signed_in, text_of

with platform(Path(sys.argv[1]), {"MAIL_SUPPRESS_SEND": True}) as app:
    add_people(app, "ada@recipient.example")
    visitor = signed_in(app, "manager@north.example")
    visitor.post("/surveys/1/send", {"audience": "new", "sender": "platform"})
    assert people(app)["ada@recipient.example"].mail_state == "sent"
    assert "Sent 1" in text_of(visitor.get("/surveys/1/report"))
    assert visitor.get("/surveys/1").status_code == 200
assert not {name.split(".")[0] for name in sys.modules} & {"own_smtp", "pluggy"}
print("walked")
"""


def test_runs_without_the_extension(tmp_path: Path) -> None:
    """Where neither the extension nor pluggy is installed, people sign in, send, and read the report."""
    root = Path(__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "examples")])}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "walked", done.stderr


def test_a_broken_installation_is_heard_of() -> None:
    """Only the absence of the contract is fine: a part of it that is missing stops the start."""
    script = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "own_smtp.hooks.events":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Broken())
import survey_host
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent / "examples")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0
    assert "own_smtp.hooks.events" in done.stderr
