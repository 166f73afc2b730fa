"""The example platform on the databases of production."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from own_smtp.hooks import State
from tests.accepting_plugin import status, with_plugin
from tests.servers.databases import DatabaseServer, MariaDB, PostgreSQL
from tests.survey_host_kit import PAGES, people, platform, press, signed_in, text_of

IMPORT = "/surveys/1/participants/import"
PARTICIPANTS = Path(__file__).parents[2] / "examples" / "survey_host" / "data" / "participants.csv"


@pytest.mark.servers
@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
def test_the_platform_works_on_each_database(kind: type[DatabaseServer], tmp_path: Path) -> None:
    """Import, send, status events, reminder, every page and the deletion of all of it, as on SQLite."""
    with (
        kind() as server,
        server.fresh() as url,
        platform(tmp_path, {"SQLALCHEMY_DATABASE_URI": url}) as app,
    ):
        taker = with_plugin(app)
        manager = signed_in(app, "manager@north.example")
        manager.post(IMPORT, {"file": (io.BytesIO(PARTICIPANTS.read_bytes()), "people.csv")})
        assert "Taken over 500" in press(manager)
        events = [status(item.reference, State.ACCEPTED) for item in taker.taken[0][1][:300]]
        with app.app_context():
            app.extensions["survey_plugins"].manager.hook.own_smtp_invitations_changed(changes=events)
        assert "Taken over 300" in press(manager, "reminder")
        number = min(row.id for row in people(app).values())
        pages = [path.replace("participants/1", f"participants/{number}") for path in PAGES]
        assert {path: manager.get(path).status_code for path in pages} == dict.fromkeys(pages, 200)
        admin = signed_in(app, "admin@platform.example")
        admin.post("/surveys/1/delete")
        admin.post("/platform/tenants/1/delete")
        assert "North University" not in text_of(admin.get("/platform/tenants"))
        assert people(app) == {}
