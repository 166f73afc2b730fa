"""The mails that Own SMTP writes itself: contents like any invitation's, made by the same composer.

Their templates have an environment of their own: nothing that a host adds to its pages runs in them, in a worker least
of all, where there is no request.
"""

from __future__ import annotations

from typing import Any

from flask_babel import get_locale
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from own_smtp.hooks.events import Content
from own_smtp.i18n import gettext

_ENVIRONMENT = Environment(
    loader=PackageLoader("own_smtp.templates", "own_smtp/mail"),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
)
_ENVIRONMENT.globals["tr"] = gettext


def write_mail(name: str, subject: str, **values: Any) -> Content:
    """Return the mail whose templates are called `name`, in text and HTML, in the language that is in force."""
    language = str(get_locale() or "en").replace("_", "-")
    text, html = (
        _ENVIRONMENT.get_template(f"{name}.{kind}").render(**values, language=language) for kind in ("txt", "html")
    )
    return Content(subject=subject, text=text, html=html)
