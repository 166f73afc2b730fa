"""What must be set before an application starts: each check raises `ConfigurationError` and says how to mend it."""

from __future__ import annotations

import logging
from importlib.util import find_spec

from flask import Flask
from redis.connection import parse_url

from own_smtp.config import Settings
from own_smtp.errors import ConfigurationError
from own_smtp.secrets import derive_development_key

log = logging.getLogger(__name__)


def encryption_keys(app: Flask, settings: Settings) -> tuple[str, ...]:
    """Return the keys of the vault; without any, one for development."""
    if not app.secret_key:
        raise ConfigurationError(
            "Set SECRET_KEY: sessions and forms need it. Make one with"
            " `python -c 'import secrets; print(secrets.token_urlsafe(32))'`."
        )
    if settings.encryption_keys:
        return settings.encryption_keys
    if app.debug or app.testing:
        log.warning("OWN_SMTP_ENCRYPTION_KEYS is not set: passwords are encrypted with a key made from SECRET_KEY.")
        return (derive_development_key(str(app.secret_key)),)
    raise ConfigurationError(
        "Set OWN_SMTP_ENCRYPTION_KEYS: stored passwords are encrypted with it. Make one with `flask own-smtp make-key`."
    )


def check_public_url(app: Flask, settings: Settings) -> None:
    """Insist on the address that links in mails begin with."""
    if settings.public_url is None and not (app.debug or app.testing):
        raise ConfigurationError(
            "Set OWN_SMTP_PUBLIC_URL to where people reach the platform, such as https://surveys.example.org: links in"
            " mails are made from it, never from a request."
        )


def check_redis_url(settings: Settings) -> None:
    """Insist on an address that can be read: nobody expects a `commit` of the platform to complain about it."""
    try:
        parse_url(settings.redis_url)  # type: ignore[no-untyped-call]  # redis has no annotations there
    except ValueError:
        # Without the address and without the reason, which may quote it: it may hold a password.
        raise ConfigurationError(
            "OWN_SMTP_REDIS_URL cannot be read. It looks like redis://:password@localhost:6379/0, where special"
            " characters of the password are percent-encoded."
        ) from None


def check_metrics(settings: Settings) -> None:
    """Insist on what the page of metrics needs, where it is switched on."""
    if settings.metrics_token is not None and find_spec("prometheus_client") is None:
        raise ConfigurationError(
            "OWN_SMTP_METRICS_TOKEN is set, but prometheus-client is missing: pip install 'flask-own-smtp[metrics]'."
        )
