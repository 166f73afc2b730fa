"""The contract: `docs/hooks.md` says it, word for word, and each hook works as its example there shows.

Every hook has a test of its own here, `test_hook_` and its name. It runs the hook's example from the documentation, on
the platform that the documentation builds up, with Own SMTP loaded by its entry point alone.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace

import pluggy
import pytest
from flask import Flask, g
from jinja2 import DictLoader
from sqlalchemy import insert

from own_smtp import hooks
from own_smtp.errors import ContentError
from own_smtp.hooks import (
    Action,
    Actor,
    Content,
    InvitationBatch,
    InvitationStatus,
    PlatformMail,
    RelayAlert,
    RelayChange,
    State,
    hookimpl,
    host,
)
from own_smtp.hooks import survey as survey_hooks
from own_smtp.storage import schema
from own_smtp.storage.models import AuditEntry, Batch, ProjectRoute, Relay
from own_smtp.storage.models import Invitation as InvitationRow
from tests.engine import make_app

DOCUMENT = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text(encoding="utf-8")
NOT_STABLE = {"PROJECT", "hookimpl", "hookspec"}


def hooks_of(module: ModuleType) -> dict[str, FunctionType]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, FunctionType) and name.startswith(("own_smtp_", "survey_"))
    }


ALL = hooks_of(host) | hooks_of(survey_hooks)


def section(name: str) -> str:
    """Return the text under the heading of a hook or a value."""
    return re.split(r"^#{2,3} ", DOCUMENT.partition(f"\n### `{name}`\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def code_in(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def words(text: str) -> str:
    return " ".join(text.split())


# The words


def test_every_hook_has_a_test_of_its_own() -> None:
    """A new hook without a test that fires it is noticed."""
    assert {name.removeprefix("test_hook_") for name in globals() if name.startswith("test_hook_")} == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_the_signature_is_documented_word_for_word(name: str) -> None:
    """The documentation's signature is the specification's, with names, types and result."""
    definition = ast.parse(inspect.getsource(ALL[name])).body[0]
    assert isinstance(definition, ast.FunctionDef)
    documented = ast.parse(code_in(section(name))[0].rstrip() + ": ...").body[0]
    assert isinstance(documented, ast.FunctionDef)
    assert (documented.name, ast.dump(documented.args)) == (name, ast.dump(definition.args))
    assert ast.dump(documented.returns or ast.Pass()) == ast.dump(definition.returns or ast.Pass())


@pytest.mark.parametrize("name", ALL)
def test_the_docstring_stands_in_the_documentation(name: str) -> None:
    """The help that an editor shows for a hook equals the documentation."""
    assert words(inspect.getdoc(ALL[name]) or "nothing") in words(section(name))


@pytest.mark.parametrize("name", ALL)
def test_every_argument_and_circumstance_is_documented(name: str) -> None:
    """Each argument has its line, and time, process, transaction and the meaning of `None` are documented."""
    text = section(name)
    assert re.findall(r"^- `(\w+)`: \S", text, re.MULTILINE) == list(inspect.signature(ALL[name]).parameters)
    assert re.findall(r"^\| (Called|Process|Transaction|`None`) \| \S", text, re.MULTILINE) == [
        "Called",
        "Process",
        "Transaction",
        "`None`",
    ]


@pytest.mark.parametrize("name", ALL)
def test_every_hook_says_who_calls_it_and_where(name: str) -> None:
    """A docstring says when the hook is called or fired."""
    assert re.search(r"^(Called|Fired) ", inspect.getdoc(ALL[name]) or "", re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(hooks.__all__) - NOT_STABLE - {"State"}))
def test_every_value_is_documented_with_its_fields(name: str) -> None:
    """The tables list each field with its type and its default, in their order."""
    value = getattr(hooks, name)
    text = section(name)
    assert words(inspect.getdoc(value) or "nothing") in words(text)
    listed = re.findall(r"^\| `([\w.]+)` \| `(.+?)` \| (.*?) \|", text, re.MULTILINE)
    if is_dataclass(value):
        assert [(field, kind.replace("\\|", "|")) for field, kind, _default in listed] == [
            (field.name, field.type) for field in fields(value)
        ]
        assert [bool(default) for _field, _kind, default in listed] == [
            (field.default, field.default_factory) != (MISSING, MISSING) for field in fields(value)
        ]
    else:
        assert issubclass(value, Enum)
        assert [(field, text) for field, text, _meaning in listed] == [
            (f"{name}.{item.name}", item.value) for item in value
        ]


def test_every_state_is_documented() -> None:
    """The documented states are those that exist."""
    assert re.findall(r"^\| `(\w+)` \|", section("State"), re.MULTILINE) == [str(state) for state in State]


def test_methods_stand_in_for_every_fired_hook() -> None:
    """A host without pluggy finds the method for each hook."""
    listed = dict(re.findall(r"^\| `(survey_\w+)` \| `(\w+)", DOCUMENT, re.MULTILINE))
    assert set(listed) == set(hooks_of(survey_hooks))


# The platform of the documentation


class Surveys:
    """The documentation's platform, built from its examples."""

    def __init__(self, example: Callable[[str], ModuleType], app: Flask, db: ModuleType) -> None:
        self.example = example
        self.app = app
        self.rows = db
        self.db = db.db
        self.plugins: pluggy.PluginManager = app.extensions["plugins"]
        self.host = app.extensions["own_smtp"].host

    def implement(self, name: str) -> None:
        """Register the documentation's implementation of a hook."""
        self.plugins.register(self.example(name))

    def add(self, *rows: object) -> None:
        self.db.session.add_all(rows)
        self.db.session.commit()

    def add_survey(self, number: int = 2) -> object:
        """Add a survey with participants, which sends through a relay."""
        survey = self.rows.Survey(id=7, tenant_id=1, title="Staff")
        people = [
            self.rows.Participant(id=i, survey_id=7, email=f"p{i}@example.org", first_name=f"P{i}", token=f"t{i}")
            for i in range(1, number + 1)
        ]
        self.add(survey, *people)
        self.choose_relay()
        return survey

    def choose_relay(self) -> int:
        with self.db.engine.begin() as connection:
            values = {"tenant_id": "1", "label": "Acme", "port": 587, "state": "active"}
            relay = insert(Relay).values(host="mail.acme.example", sender_address="surveys@acme.example", **values)
            relay_id = connection.execute(relay).inserted_primary_key[0]
            connection.execute(insert(ProjectRoute).values(tenant_id="1", project_id="7", relay_id=relay_id))
        return int(relay_id)

    def sign_in(self) -> None:
        g.user = SimpleNamespace(id=5, tenant_id=1, name="Ann", email="ann@acme.example", is_admin=False)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return a function that runs a hook's example in a module of its own."""

    def run(name: str, text: str | None = None) -> ModuleType:
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(text or code_in(section(name))[-1], vars(module))  # noqa: S102 -- our own documentation
        return module

    return run


@pytest.fixture
def surveys(example: Callable[..., ModuleType], tmp_path: Path) -> Iterator[Surveys]:
    rows = example("surveys", next(code for code in code_in(DOCUMENT) if code.startswith("# surveys.py")))
    example("own_smtp_hooks", '"""Nothing is implemented yet."""')
    config = make_app(f"sqlite:///{tmp_path / 'surveys.sqlite3'}", tmp_path / "journal").config
    app = example("survey_init_app").create_app(config)
    with app.app_context():
        rows.db.create_all()
        schema.upgrade(rows.db.engine)
        yield Surveys(example, app, rows)
        rows.db.session.remove()
        rows.db.engine.dispose()


def status(reference: str, state: State, **values: object) -> InvitationStatus:
    given: dict[str, object] = {
        "tenant_id": "1",
        "project_id": "7",
        "batch_id": 1,
        "reference": reference,
        "address": "p@example.org",
        "state": state,
        "changed_at": datetime(2026, 7, 1, tzinfo=UTC),
        "attempts": 1,
        "message_id": "<1@acme.example>",
    }
    return InvitationStatus(**(given | values))  # type: ignore[arg-type] # a test's own table


ANN = Actor(user_id="5", tenant_id="1", name="Ann", email="ann@acme.example")


# What the host implements


def test_hook_own_smtp_actor(surveys: Surveys) -> None:
    """The host identifies the signed-in person; without that there are no pages."""
    assert surveys.host.actor() is None
    surveys.implement("own_smtp_actor")
    assert surveys.host.actor() is None
    surveys.sign_in()
    assert surveys.host.actor() == ANN


def test_hook_own_smtp_sign_in_url(surveys: Surveys) -> None:
    """Signed-out people are redirected to the platform's sign-in and back; without the hook a page asks them to sign
    in.
    """
    surveys.app.add_url_rule("/sign-in", "sign_in", lambda: "")
    web, browser = surveys.app.test_client(), {"Accept": "text/html,*/*;q=0.8"}
    assert web.get("/own-smtp/?q=a", headers=browser).status_code == 401
    surveys.implement("own_smtp_sign_in_url")
    answer = web.get("/own-smtp/?q=a", headers=browser)
    assert (answer.status_code, answer.location) == (302, "/sign-in?next=/own-smtp/?q%3Da")


def test_hook_own_smtp_may(surveys: Surveys) -> None:
    """The host decides; without its answer a person may only view."""
    assert [action for action in Action if surveys.host.may(ANN, action)] == [Action.VIEW]
    surveys.implement("own_smtp_may")
    surveys.sign_in()
    assert [action for action in Action if surveys.host.may(ANN, action, "7")] == [Action.VIEW, Action.ENABLE]
    g.user.is_admin = True
    assert not surveys.host.may(ANN, Action.ADMINISTER)
    assert surveys.host.may(ANN, Action.EDIT)


def test_hook_own_smtp_tenant(surveys: Surveys) -> None:
    """The host names a tenant; an unknown one has its id as its name."""
    surveys.implement("own_smtp_tenant")
    surveys.add(surveys.rows.Tenant(id=1, name="Acme", language="de", timezone="Europe/Berlin"))
    found = surveys.host.tenant("1")
    assert (found.name, found.locale, found.timezone) == ("Acme", "de", "Europe/Berlin")
    assert (surveys.host.tenant("2").name, surveys.host.tenant("2").timezone) == ("2", "UTC")


def test_hook_own_smtp_tenants(surveys: Surveys) -> None:
    """Administrators choose among the tenants that the host lists, with or without servers."""
    assert surveys.host.all_tenants() == []
    surveys.implement("own_smtp_tenants")
    surveys.add(surveys.rows.Tenant(id=1, name="Beta"), surveys.rows.Tenant(id=2, name="Acme"))
    assert [(tenant.tenant_id, tenant.name) for tenant in surveys.host.all_tenants()] == [("2", "Acme"), ("1", "Beta")]


def test_hook_own_smtp_people(surveys: Surveys) -> None:
    """The host lists a tenant's people; without it only the acting person is known."""
    assert surveys.host.people("1") == []
    surveys.implement("own_smtp_people")
    rows = [surveys.rows.User(id=i, tenant_id=tenant, name=name, email="x") for i, tenant, name in USERS]
    surveys.add(*rows)
    assert [(person.user_id, person.name) for person in surveys.host.people("1")] == [("2", "Ann"), ("1", "Bob")]


USERS = [(1, 1, "Bob"), (2, 1, "Ann"), (3, 2, "Eve")]


def test_hook_own_smtp_user_name(surveys: Surveys) -> None:
    """The host names people who acted, also people of other tenants; unknown ones have no name."""
    assert surveys.host.user_name("1", "3") is None
    surveys.implement("own_smtp_user_name")
    surveys.add(surveys.rows.User(id=3, tenant_id=2, name="Eve", email="x"))
    assert surveys.host.user_name("1", "3") == "Eve"
    assert surveys.host.user_name("1", "4") is None


def test_hook_own_smtp_projects(surveys: Surveys) -> None:
    """The host lists a tenant's projects, in its own order; without it there are none."""
    assert surveys.host.projects("1") == []
    surveys.implement("own_smtp_projects")
    rows = [surveys.rows.Survey(id=i, tenant_id=tenant, title=title) for i, tenant, title in [(1, 1, "b"), (2, 1, "a")]]
    surveys.add(*rows, surveys.rows.Survey(id=3, tenant_id=2, title="c"))
    assert [(project.project_id, project.title) for project in surveys.host.projects("1")] == [("2", "a"), ("1", "b")]


def test_hook_own_smtp_notice_recipients(surveys: Surveys) -> None:
    """The host names the recipients of notices about a server; without it, the person who saved it."""
    assert surveys.host.notice_recipients("1", 7, "saver@acme.example") == ["saver@acme.example"]
    assert surveys.host.notice_recipients("1", 7, None) == []
    surveys.implement("own_smtp_notice_recipients")
    for number, (tenant, is_admin) in enumerate([(1, True), (1, False), (2, True)]):
        email = f"user{number}@acme.example"
        surveys.add(surveys.rows.User(id=number + 1, tenant_id=tenant, name="U", email=email, is_admin=is_admin))
    assert surveys.host.notice_recipients("1", 7, "saver@acme.example") == ["user0@acme.example"]


def test_hook_own_smtp_send_platform_mail(surveys: Surveys, caplog: pytest.LogCaptureFixture) -> None:
    """The host sends the platform's mail; without any mail service that is logged."""
    mail = PlatformMail(recipient="ann@acme.example", subject="Paused", text="Your server is paused.")
    assert not surveys.host.send_platform_mail(mail)
    assert "neither own_smtp_send_platform_mail nor Flask-Mail" in caplog.text
    surveys.implement("own_smtp_send_platform_mail")
    assert surveys.host.send_platform_mail(mail)
    assert surveys.db.session.query(surveys.rows.Notice).one().subject == "Paused"


def test_hook_own_smtp_invitations_changed(surveys: Surveys) -> None:
    """The host is notified of changed invitations; repeated or late notifications change nothing."""
    assert not surveys.host.wants_changes
    surveys.implement("own_smtp_invitations_changed")
    assert surveys.host.wants_changes
    surveys.add(surveys.rows.Participant(id=1, survey_id=7, email="p@example.org", first_name="P", token="t"))
    old = status("1", State.QUEUED)
    new = status("1", State.ACCEPTED, changed_at=old.changed_at.replace(hour=1))
    assert surveys.host.invitations_changed([old, status("99", State.ACCEPTED)])
    for events in (new, new, old):
        assert surveys.host.invitations_changed([events])
    assert surveys.db.session.get(surveys.rows.Participant, 1).mail_state == State.ACCEPTED


def test_hook_own_smtp_relay_changed(surveys: Surveys) -> None:
    """The host is notified that a relay was paused, and can inform its people."""
    surveys.implement("own_smtp_relay_changed")
    surveys.add(surveys.rows.User(id=5, tenant_id=1, name="Ann", email="ann@acme.example", is_admin=True))
    for state in ("active", "paused"):
        change = RelayChange(relay_id=1, tenant_id="1", label="Acme", state=state, reason="535 no")
        surveys.host.relay_changed(change)
    notice = surveys.db.session.query(surveys.rows.Notice).one()
    assert (notice.recipient, "535 no" in notice.text) == ("ann@acme.example", True)


def test_hook_own_smtp_relay_alert(surveys: Surveys) -> None:
    """The host is notified of a problem and of its end, and can inform its people."""
    surveys.implement("own_smtp_relay_alert")
    surveys.add(surveys.rows.User(id=5, tenant_id=1, name="Ann", email="ann@acme.example", is_admin=True))
    for is_over in (False, True):
        at = datetime(2026, 7, 1, tzinfo=UTC)
        alert = RelayAlert(relay_id=1, tenant_id="1", label="Acme", cause="queue", at=at, is_over=is_over)
        assert surveys.host.relay_alerted(alert)
    subjects = [notice.subject for notice in surveys.db.session.query(surveys.rows.Notice)]
    assert subjects == ["Problem: Acme, queue", "Solved: Acme, queue"]


def test_hook_own_smtp_layout(surveys: Surveys) -> None:
    """The pages use the host's own layout if it names one."""
    base = "<title>{% block title %}{% endblock %}</title><b>The platform</b>{% block content %}{% endblock %}"
    surveys.app.jinja_loader = DictLoader({"base.html": base})
    assert surveys.host.layout() is None
    surveys.implement("own_smtp_layout")
    surveys.plugins.register(SimpleNamespace(own_smtp_actor=hookimpl(lambda: ANN)))
    page = surveys.app.test_client().get("/own-smtp/")
    assert (page.status_code, "<b>The platform</b>" in page.text) == (200, True)


# What the host fires


def test_hook_survey_init_app(surveys: Surveys) -> None:
    """A host that loads only the entry-point group has the pages, the commands and the hooks."""
    assert surveys.app.extensions["own_smtp"].db is surveys.db
    assert surveys.app.test_client().get("/own-smtp/").status_code == 401


def test_hook_survey_send_invitations(surveys: Surveys) -> None:
    """A batch is in the outbox after the commit, once, however often the button is clicked."""
    survey = surveys.add_survey()
    send = surveys.example("survey_send_invitations").send_survey
    first, second = send(survey, "press-1"), send(survey, "press-1")
    assert (first.taken, first.repeated, second.taken, second.repeated) == (2, False, 2, True)
    assert surveys.db.session.query(InvitationRow).count() == 2


def test_hook_survey_settings_links(surveys: Surveys) -> None:
    """The settings menu shows the page only to people who may view it."""
    menu = surveys.example("survey_settings_links").settings_menu
    surveys.implement("own_smtp_actor")
    with surveys.app.test_request_context():
        assert menu("1") == []
        surveys.sign_in()
        assert [(link.key, link.url) for link in menu("1")] == [("own_smtp", "/own-smtp/")]
        assert menu("2") == []


def test_hook_survey_project_links(surveys: Surveys) -> None:
    """The project's menu shows its page and its report."""
    menu = surveys.example("survey_project_links").project_menu
    surveys.implement("own_smtp_actor")
    with surveys.app.test_request_context():
        surveys.sign_in()
        assert [link.key for link in menu("1", "7")] == ["own_smtp_project", "own_smtp_report"]
        assert all("/projects/7/" in link.url for link in menu("1", "7"))


def test_hook_survey_senders(surveys: Surveys) -> None:
    """The "send" page offers the tenant's own servers beside the platform's, and no other tenant's."""
    surveys.add_survey()
    send_as = surveys.example("survey_senders").send_as
    assert [label for _key, label in send_as("1", "7")] == ["The platform's mail", "Acme"]
    assert [label for _key, label in send_as("2", "7")] == ["The platform's mail"]


def test_hook_survey_report_columns(surveys: Surveys) -> None:
    """The report shows that and why delivered and bounced are not available with an own server."""
    header = surveys.example("survey_report_columns").report_header
    assert header("1", "7") == ["Sent", "Bounced"]
    surveys.add_survey()
    columns = header("1", "7")
    assert "Accepted by the server" in columns
    assert any(column.startswith("Bounced for good: not known. Bounce messages go to") for column in columns)


def test_hook_survey_estimate(surveys: Surveys) -> None:
    """Before sending the host shows speed and end, including waiting invitations, in the tenant's time zone."""
    before_sending = surveys.example("survey_estimate").before_sending
    surveys.implement("own_smtp_tenant")
    surveys.add(surveys.rows.Tenant(id=1, name="Acme", language="de", timezone="Europe/Berlin"))
    survey = surveys.rows.Survey(id=7, tenant_id=1, title="Staff")
    surveys.add(survey)
    assert before_sending(survey, 12_400) == "12400 invitations, by the platform's mail"
    relay = surveys.db.session.get_one(Relay, surveys.choose_relay())
    assert before_sending(survey, 12_400) == "12,400 invitations, as fast as the server takes them"
    relay.per_minute = 30
    surveys.db.session.commit()
    assert before_sending(survey, 12_400).startswith("12,400 invitations, at 30 a minute, until about ")
    hook = surveys.plugins.hook.survey_estimate
    ask = {"tenant_id": "1", "project_id": "7", "sender": f"relay:{relay.id}", "count": 12_400}
    now = datetime.now(UTC)
    assert hook(**ask, expires_at=now + timedelta(hours=6)).is_late
    found = hook(**ask, expires_at=now + timedelta(hours=8))
    assert (found.is_late, found.per_minute, found.waits_for) == (False, 30.0, None)
    assert timedelta(hours=6, minutes=52) < found.finishes_at - now < timedelta(hours=6, minutes=55)


def test_hook_survey_known_statuses(surveys: Surveys) -> None:
    """The report greys statuses that an own server hides, shows those that the host counts, and knows used routes."""
    greyed = surveys.example("survey_known_statuses").greyed
    assert greyed("1", "7") == {}
    surveys.add_survey()
    hidden = greyed("1", "7")
    assert set(hidden) == {"Delivered", "Bounced for now", "Bounced for good", "Opened"}
    assert hidden["Opened"] == "The platform does not count this."
    (rows,) = surveys.plugins.hook.survey_known_statuses(tenant_id="1", project_id="7", counted=["bounced_hard"])
    bounces = {row.route: row.knowledge for row in rows if row.status == "bounced_hard"}
    assert bounces == {"platform": "reported", "relay": "elsewhere", "relay_dsn": "elsewhere"}


def test_hook_survey_invitation_statuses(surveys: Surveys) -> None:
    """The host can read the status of each invitation at any time."""
    not_reached = surveys.example("survey_invitation_statuses").not_reached
    survey = surveys.add_survey()
    surveys.example("survey_send_invitations").send_survey(survey, "1")
    assert not_reached("1", "7") == []
    surveys.db.session.query(InvitationRow).filter_by(reference="1").update({"state": "refused"})
    assert [line.partition(":")[0] for line in not_reached("1", "7")] == ["p1@example.org"]
    known = surveys.plugins.hook.survey_invitation_statuses(
        tenant_id="1", project_id="7", references=["2"], wanted=None
    )
    assert [(item.reference, item.state) for item in known[0]] == [("2", State.QUEUED)]


def test_hook_survey_project_deleted(surveys: Surveys) -> None:
    """A project's waiting invitations and data are deleted with it, but not before the host commits."""
    survey = surveys.add_survey()
    surveys.example("survey_send_invitations").send_survey(survey, "1")
    surveys.plugins.hook.survey_project_deleted(tenant_id="1", project_id="7")
    surveys.db.session.rollback()
    assert surveys.db.session.query(InvitationRow).count() == 2
    surveys.example("survey_project_deleted").delete_survey(survey)
    assert surveys.db.session.query(InvitationRow).count() == surveys.db.session.query(Batch).count() == 0


def test_hook_survey_tenant_deleted(surveys: Surveys) -> None:
    """A tenant's invitations and mail servers, with passwords, are deleted with it; other tenants keep theirs."""
    survey = surveys.add_survey()
    surveys.add(surveys.rows.Tenant(id=1, name="Acme"))
    with surveys.db.engine.begin() as connection:
        other = {"tenant_id": "2", "label": "B", "host": "b.example", "port": 587, "sender_address": "b@b.example"}
        connection.execute(insert(Relay).values(**other))
    surveys.example("survey_send_invitations").send_survey(survey, "1")
    surveys.example("survey_tenant_deleted").delete_tenant(surveys.db.session.get(surveys.rows.Tenant, 1))
    assert surveys.db.session.query(InvitationRow).count() == 0
    assert [relay.tenant_id for relay in surveys.db.session.query(Relay)] == ["2"]
    assert surveys.db.session.query(ProjectRoute).count() == surveys.db.session.query(AuditEntry).count() == 0


def test_hook_survey_person_deleted(surveys: Surveys) -> None:
    """A person's address and waiting invitations are deleted; the survey's other invitations stay."""
    survey = surveys.add_survey()
    surveys.example("survey_send_invitations").send_survey(survey, "1")
    surveys.example("survey_person_deleted").forget(1, "p1@example.org")
    rows = surveys.db.session.query(InvitationRow).order_by(InvitationRow.id)
    assert [(row.address, row.state) for row in rows] == [("", "cancelled"), ("p2@example.org", "queued")]


def test_invalid_content_is_refused_before_anything_is_written(surveys: Surveys) -> None:
    """A header that Own SMTP writes itself is the host's error, and is reported at once."""
    surveys.add_survey()
    content = Content(subject="x", text="y", headers={"From": "somebody@else.example"})
    batch = InvitationBatch(tenant_id="1", project_id="7", content=content, invitations=[])
    with pytest.raises(ContentError):
        surveys.plugins.hook.survey_send_invitations(batch=batch)
