"""Commands: `flask --app survey_host.app init-db` and `seed`."""

from __future__ import annotations

import click
from flask import Flask
from flask.cli import with_appcontext

from survey_host import seed as seeding
from survey_host.extensions import db


@click.command("init-db")
@with_appcontext
def init_db() -> None:
    """Create the platform's tables."""
    db.create_all()
    click.echo("The tables are there.")


@click.command("seed")
@with_appcontext
def seed() -> None:
    """Add demonstration tenants, people and surveys."""
    for account in seeding.seed(db):
        click.echo(f"{account.email}  {account.password}  ({account.role}, {account.tenant or 'all tenants'})")


def init_app(app: Flask) -> None:
    """Add the commands to `app`."""
    app.cli.add_command(init_db)
    app.cli.add_command(seed)
