"""Preconditions of every command: the extension, a database that answers, and tables of this version."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from own_smtp.current import KEY, extension
from own_smtp.i18n import with_language
from own_smtp.storage import revisions

Command = TypeVar("Command", bound=Callable[..., Any])


def with_extension(command: Command) -> Command:
    """Run a command in the application's context, in English where the host's locale selector needs a request.

    Ends it with an error if the application has no Own SMTP.
    """

    @wraps(command)
    def checked(*arguments: Any, **keywords: Any) -> Any:
        if KEY not in current_app.extensions:
            raise click.ClickException("This application does not use Own SMTP: OwnSMTP(app, db) was not called.")
        with with_language(lambda: "en"):
            return command(*arguments, **keywords)

    return cast(Command, with_appcontext(checked))


def with_tables(command: Command) -> Command:
    """Like `with_extension`, and require tables of this version: otherwise the command ends with advice."""

    @wraps(command)
    def checked(*arguments: Any, **keywords: Any) -> Any:
        check_tables(extension().db.engine)
        return command(*arguments, **keywords)

    return with_extension(cast(Command, checked))


def check_tables(engine: Engine) -> None:
    """End the command unless the tables are those of this version."""
    try:
        with engine.connect() as connection:
            complaint = revisions.complaint(connection)
    except DBAPIError as error:  # its text may name the database's user and machine
        raise click.ClickException(f"The database does not answer ({type(error).__name__}).") from error
    if complaint is not None:
        raise click.ClickException(complaint)
