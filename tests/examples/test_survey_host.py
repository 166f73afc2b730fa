"""The example platform: its settings, its commands, its pages, and its operation without the extension."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, abort, g, render_template_string

from own_smtp.hooks import Link, hookimpl
from survey_host import config, create_app, seed
from survey_host.extensions import db
from survey_host.models import Account
from tests.survey_host_kit import (
    ADMIN_PAGES,
    PAGES,
    PLATFORM_PAGES,
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


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with platform(tmp_path) as made:
        add_people(made, "ada@recipient.example")
        yield made


def test_starts_without_secret_key_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SECRET_KEY the platform does not start, and names the key and a command that makes one."""
    monkeypatch.delenv("SECRET_KEY", raising=False)
    with pytest.raises(config.ConfigurationError, match=r"SECRET_KEY is not set.*token_hex"):
        create_app({})


def test_a_public_url_without_host_is_refused() -> None:
    """Links in mails need an address that people can reach."""
    with pytest.raises(config.ConfigurationError, match="SURVEY_PUBLIC_URL"):
        create_app({"SECRET_KEY": "x", "SURVEY_PUBLIC_URL": "surveys.example.org"})


def test_the_environment_is_read_as_json_where_it_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers and truth values are parsed, passwords stay texts, and a mapping overrides both."""
    for name, value in {"MAIL_PORT": "2525", "MAIL_USE_TLS": "true", "MAIL_PASSWORD": "123", "OWN_SMTP_X": "5"}.items():
        monkeypatch.setenv(name, value)
    made = config.load({"SECRET_KEY": "x", "MAIL_PORT": 26})
    assert (made["MAIL_PORT"], made["MAIL_USE_TLS"], made["MAIL_PASSWORD"]) == (26, True, "123")
    assert made["OWN_SMTP_X"] == 5


def test_seed_twice_changes_nothing(app: Flask) -> None:
    """Seeding again returns the same accounts and adds none."""
    with app.app_context():
        before = db.session.scalar(db.select(db.func.count()).select_from(Account))
        signs = seed.seed(db)
        assert db.session.scalar(db.select(db.func.count()).select_from(Account)) == before == len(signs) == 5


def test_commands_create_tables_and_seed(tmp_path: Path) -> None:
    """`init-db` and `seed` work from the command line and print the accounts."""
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


def test_deletions_reach_plugins_and_delete_everything(app: Flask) -> None:
    """Deleting a survey and a tenant calls the hooks and leaves no rows behind."""
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


def test_a_person_who_requests_erasure_is_deleted_everywhere(app: Flask) -> None:
    """From each survey of the organisation, with the answers; plugins are notified; other tenants are unaffected."""
    told: list[tuple[str, str]] = []

    class Listener:
        @hookimpl
        def survey_person_deleted(self, tenant_id: str, address: str) -> None:
            told.append((tenant_id, address))

    add_plugin(app, Listener())
    other = survey_of(app, SOUTH)
    for survey in (1, other):
        add_people(app, "kim@people.example", "lee@people.example", survey_id=survey)
    visitor = signed_in(app, "admin@north.example")
    said = visitor.post("/settings/forget", {"email": "Kim@people.example"})
    assert "Deleted from 1 survey." in visitor.get(said.location).text
    assert told == [("1", "Kim@people.example")]
    assert "kim@people.example" not in people(app)
    assert {"kim@people.example", "lee@people.example"} <= people(app, other).keys()
    assert "lee@people.example" in people(app)
    assert visitor.post("/settings/forget", {"email": "nobody"}).status_code == 422
    assert signed_in(app, "manager@north.example").get("/settings/forget").status_code == 403


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


@pytest.mark.parametrize("path", [*PAGES, *ADMIN_PAGES, *PLATFORM_PAGES, "/sign-in", "/nothing-here"])
def test_pages_keep_a_strict_policy(app: Flask, path: str) -> None:
    """No page has inline scripts or styles, or requests anything from another host; each sends its policy."""
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
    """Without the extension and pluggy, people sign in, send, and read the report."""
    root = Path(__file__).parents[2]
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
    """Only a missing contract is fine: an incomplete one stops the start."""
    script = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "own_smtp.hooks.events":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Broken())
import survey_host
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "examples")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0
    assert "own_smtp.hooks.events" in done.stderr


def test_a_plugins_page_finds_its_way_to_the_sign_in(app: Flask) -> None:
    """A page that answers 401 redirects to the sign-in and back, and its own variables do no harm."""

    @app.get("/plugin/page")
    def page() -> str:
        if g.account is None:
            abort(401)
        source = '{% extends "base.html" %}{% block content %}{{ tenant }}{% endblock %}'
        return render_template_string(source, tenant="theirs", account=None, name="theirs")

    assert Visitor(app).get("/plugin/page").location == "/sign-in?next=/plugin/page"
    text = text_of(signed_in(app, "admin@platform.example").get("/plugin/page"))
    assert "theirs" in text
    assert "admin@platform.example" in text
