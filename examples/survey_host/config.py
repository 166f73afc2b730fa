"""The platform's settings: from the environment, overridden by a mapping."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


class ConfigurationError(RuntimeError):
    """A setting is missing or invalid: the platform does not start."""


DEFAULTS: dict[str, Any] = {
    "MAIL_DEFAULT_SENDER": "surveys@platform.example",
    "MAIL_PORT": 25,
    "MAIL_SERVER": "localhost",
    "MAX_CONTENT_LENGTH": 8 * 1024 * 1024,
    "SESSION_COOKIE_SAMESITE": "Lax",
    "SQLALCHEMY_DATABASE_URI": "sqlite:///survey_host.db",
    "SURVEY_LOAD_PLUGINS": True,
    "SURVEY_NAME": "Survey Host",
    "SURVEY_PUBLIC_URL": "http://127.0.0.1:5000",
    # A page may stay open all day; the token still ends with the session.
    "WTF_CSRF_TIME_LIMIT": None,
}
_FROM_ENVIRONMENT = ("SECRET_KEY", "SQLALCHEMY_DATABASE_URI", "SURVEY_", "MAIL_", "OWN_SMTP_")
_TEXTS = ("SECRET_KEY", "SQLALCHEMY_DATABASE_URI", "MAIL_PASSWORD", "MAIL_USERNAME")


def load(given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the whole configuration; `given` overrides the environment, which overrides the defaults.

    Environment values that are valid JSON, such as `25` and `true`, are parsed as JSON. Raises `ConfigurationError`
    when the result is unusable.
    """
    config = DEFAULTS | _environment() | dict(given or {})
    _check(config)
    config["SURVEY_PUBLIC_URL"] = config["SURVEY_PUBLIC_URL"].rstrip("/")
    # The extension, if installed, uses the platform's own name and address.
    config.setdefault("OWN_SMTP_PLATFORM_NAME", config["SURVEY_NAME"])
    config.setdefault("OWN_SMTP_PUBLIC_URL", config["SURVEY_PUBLIC_URL"])
    config.setdefault("SESSION_COOKIE_SECURE", config["SURVEY_PUBLIC_URL"].startswith("https:"))
    return config


def _environment() -> dict[str, Any]:
    return {key: _read(key, value) for key, value in os.environ.items() if key.startswith(_FROM_ENVIRONMENT)}


def _read(key: str, value: str) -> Any:
    if key in _TEXTS:
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _check(config: Mapping[str, Any]) -> None:
    if not config.get("SECRET_KEY"):
        raise ConfigurationError(
            "SECRET_KEY is not set: sign-in is not secure without it. Set it in the environment; "
            "`python -c 'import secrets; print(secrets.token_hex(32))'` makes one."
        )
    url = urlsplit(str(config["SURVEY_PUBLIC_URL"]))
    if url.scheme not in {"http", "https"} or not url.netloc:
        raise ConfigurationError(
            "SURVEY_PUBLIC_URL must be where people reach the platform, like https://surveys.example.org."
        )
