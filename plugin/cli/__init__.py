"""`flask own-smtp`: the commands for operators.

Each command reads its arguments, calls one function of a room, and prints the result: text, or JSON with `--json`.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy import Engine

from own_smtp.cli import log, maintenance, operations
from own_smtp.cli.context import with_extension, with_tables
from own_smtp.current import KEY
from own_smtp.delivery.workers.worker import run_worker
from own_smtp.extension import OwnSMTP
from own_smtp.operations import json_logs
from own_smtp.storage.encryption import generate_key

__all__ = ["group"]


def _escape_unencodable() -> None:
    """Print characters that the output cannot encode as escapes: no mail server's label may abort a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


group = AppGroup(
    "own-smtp", help="Own SMTP: tables, keys, workers, and commands for operators.", callback=_escape_unencodable
)
database = AppGroup("db", help="The tables of Own SMTP.")
group.add_command(database)
for module in (operations, maintenance, log):
    for command in module.COMMANDS:
        group.add_command(command)


def _extension() -> OwnSMTP:
    extension: OwnSMTP = current_app.extensions[KEY]
    return extension


def _migrate(move: Callable[[Engine, str], None], revision: str) -> None:
    from alembic.util import CommandError

    try:
        move(_extension().db.engine, revision)
    except CommandError as error:
        text = f"{error}. Is the database of another version of Own SMTP, or the revision misspelt?"
        raise click.ClickException(text) from error


@database.command("upgrade")
@click.argument("revision", default="head")
@with_extension
def upgrade(revision: str) -> None:
    """Create the tables, or migrate them to REVISION."""
    from own_smtp.storage import schema

    _migrate(schema.upgrade, revision)
    click.echo("The tables are up to date." if revision == "head" else f"The tables are at {revision}.")


@database.command("downgrade")
@click.argument("revision")
@click.confirmation_option(prompt="This deletes data that the older tables cannot store. Continue?")
@with_extension
def downgrade(revision: str) -> None:
    """Downgrade the tables to REVISION; `base` removes them."""
    from own_smtp.storage import schema

    _migrate(schema.downgrade, revision)
    click.echo(f"The tables are at {revision}.")


@group.command("make-key", with_appcontext=False)  # without the key that is to be made, the application does not start
@click.option("--id", "key_id", help="A name for the key, such as 2026-07. Default: generated.")
def make_key(key_id: str | None) -> None:
    """Print a new key for OWN_SMTP_ENCRYPTION_KEYS."""
    click.echo(generate_key(key_id))


@group.command("worker")
@click.option("--burst", is_flag=True, help="Stop when the queue is empty.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@with_tables
def worker(burst: bool, log_format: str) -> None:
    """Deliver invitations until stopped. Run one for each processor core to use."""
    extension = _extension()
    json_logs.configure(log_format)
    extension.runtime  # noqa: B018 -- an unusable journal folder must be reported before the first job
    os.register_at_fork(after_in_child=lambda: extension.runtime.engine.dispose(close=False))
    run_worker(extension.settings, extension.dispatcher, burst=burst)
