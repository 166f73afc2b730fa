"""The mails that Own SMTP writes itself: contents like those of invitations, rendered by the same composer.

Their templates have a Jinja environment of their own, because a host's filters and globals may need a request, which
workers do not have.
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
    """Render the mail with the templates called `name`, in text and HTML, in the current language."""
    language = str(get_locale() or "en").replace("_", "-")
    text, html = (
        _ENVIRONMENT.get_template(f"{name}.{kind}").render(**values, language=language) for kind in ("txt", "html")
    )
    return Content(subject=subject, text=text, html=html)
