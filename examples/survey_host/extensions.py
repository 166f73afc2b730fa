"""The platform's Flask extensions, not yet bound to an application."""

from __future__ import annotations

import smtplib
import ssl
from typing import Any

from flask_babel import Babel
from flask_mail import Connection, Mail
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from sqlalchemy import Engine, event

from survey_host.base import Base

MAIL_TIMEOUT = 15.0
"""Timeout of the platform's mail server, in seconds."""


class TimedConnection(Connection):
    """Flask-Mail's connection, with a timeout and with TLS that verifies the server."""

    def configure_host(self) -> smtplib.SMTP | smtplib.SMTP_SSL:
        """Connect, start TLS and sign in as configured. Raises `OSError`, or its subclass `smtplib.SMTPException`."""
        settings, context = self.mail, ssl.create_default_context()
        host: smtplib.SMTP | smtplib.SMTP_SSL
        if settings.use_ssl:
            host = smtplib.SMTP_SSL(settings.server, settings.port, timeout=MAIL_TIMEOUT, context=context)
        else:
            host = smtplib.SMTP(settings.server, settings.port, timeout=MAIL_TIMEOUT)
        if settings.use_tls:
            host.starttls(context=context)
        if settings.username and settings.password:
            host.login(settings.username, settings.password)
        return host


class PlatformMail(Mail):
    """Flask-Mail with `TimedConnection`."""

    def connect(self) -> Connection:
        """Return a connection to the platform's mail server, for a `with` statement."""
        return TimedConnection(super().connect().mail)


db = SQLAlchemy(model_class=Base, disable_autonaming=True)
mail = PlatformMail()
csrf = CSRFProtect()
babel = Babel()


def prepare_sqlite(engine: Engine) -> None:
    """Make SQLite enforce foreign keys, and allow readers during writes; leave other databases unchanged."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_pragmas)


def _set_pragmas(connection: Any, _record: Any) -> None:
    for pragma in ("foreign_keys = ON", "journal_mode = WAL", "busy_timeout = 15000"):
        connection.execute(f"PRAGMA {pragma}")
