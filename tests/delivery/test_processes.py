"""What the process that sends is made of."""

import json
import pkgutil
import subprocess
import sys

import pytest

import own_smtp.delivery.sending
import own_smtp.messages
import own_smtp.smtp

ROOMS = (own_smtp.smtp, own_smtp.messages, own_smtp.delivery.sending)
MODULES = [
    "own_smtp.delivery.contract",
    "own_smtp.delivery.retry_policy",
    "own_smtp.outbox.journal",
    "own_smtp.outbox.values",
    "own_smtp.relays.rate_limits",
    *(found.name for room in ROOMS for found in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")),
]
PROGRAM = (
    "import importlib, json, sys; [importlib.import_module(name) for name in {!r}]; print(json.dumps([*sys.modules]))"
)


def loaded_by(modules: list[str]) -> set[str]:
    """Return the packages that a fresh interpreter has loaded after importing these."""
    command = [sys.executable, "-c", PROGRAM.format(modules)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {name.partition(".")[0] for name in json.loads(found)}


def test_what_sends_loads_no_database_no_web_and_no_queue() -> None:
    """A fresh interpreter that imports all of it has none of them in `sys.modules`."""
    assert len(MODULES) > 40
    heavy = {"sqlalchemy", "flask", "flask_sqlalchemy", "flask_babel", "babel", "jinja2", "werkzeug", "wtforms"}
    heavy |= {"redis", "rq", "alembic", "psycopg", "pymysql", "sqlite3"}
    assert loaded_by(MODULES) & heavy == set()


@pytest.mark.parametrize("module", ["own_smtp.delivery.workers.jobs", "own_smtp.delivery.bookkeeping.bookkeeper"])
def test_the_other_processes_load_the_database(module: str) -> None:
    """So the test above would notice."""
    assert "sqlalchemy" in loaded_by([module])
