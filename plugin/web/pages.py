"""The blueprint of all pages, and the code that every page shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from flask import (
    Blueprint,
    Response,
    current_app,
    make_response,
    redirect,
    render_template,
    request,
    session,
    stream_with_context,
    url_for,
)
from flask_babel import format_date, format_decimal, get_locale
from jinja2.utils import Namespace
from markupsafe import Markup
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException

from own_smtp import templates
from own_smtp.current import extension
from own_smtp.errors import ConflictError, NotFoundError
from own_smtp.forms.base import BaseForm, arguments
from own_smtp.hooks.events import Action, Tenant
from own_smtp.i18n import format_time, gettext, isolated, ngettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.reporting.explanations import BY_PAUSE
from own_smtp.reporting.relay_lists import failing
from own_smtp.smtp.certificates import spelt
from own_smtp.states import PauseReason, RelayState, State
from own_smtp.storage.models import LARGEST_ID, Relay
from own_smtp.web.access import current_actor, is_admitted, may

OWN_LAYOUT = "own_smtp/layout.html"
NOTES = "own_smtp_notes"

DOWNLOAD_PART = 500
"""Rows of a download that are sent at a time."""

blueprint = Blueprint(
    "own_smtp",
    "own_smtp",
    template_folder=str(Path(templates.__file__).parent),
    static_folder="static",
)

ERRORS = {
    401: (_("Please sign in"), _("This page is for people of the platform. Sign in there and come back.")),
    403: (_("Not for you"), _("Your role does not allow this. Whoever administers your account can change that.")),
    404: (_("Not found"), _("There is nothing here: it was deleted, or never was.")),
    405: (_("Not this way"), _("Open the page again and use its buttons.")),
    409: (_("Not possible now"), _("Something changed in the meantime. Go back and look again.")),
}


_FIND = ("q", "show", "page", "projects")
"""The arguments of a list's address: its search, and the page."""


class ButtonForm(BaseForm):
    """A form with only a button: it holds the CSRF token."""


def check_button() -> None:
    """Raise `ConflictError` for a button on a page that has been open for too long: its token has expired."""
    if not ButtonForm().validate_on_submit():
        raise ConflictError(gettext("This page was open for too long. Go back, reload it and try again."))


def id_argument(name: str) -> int | None:
    """Return the id in an argument of the page's address; `None` when it is missing or cannot be an id."""
    number = arguments().get(name, type=int)
    return number if number is not None and abs(number) <= LARGEST_ID else None


def db_session() -> Session:
    """Return the session that this request shares with the host."""
    return extension().db.session()


def render(name: str, **values: Any) -> str:
    """Render a page into the host's layout, or into our own when the host provides none.

    This takes two steps, so that neither side hides a name of the other: first the page alone, with our names and
    without the host's context processors; then the layout around it, with the host's names and one of ours, `own_smtp`.
    """
    layout = extension().host.layout() or OWN_LAYOUT
    frame = Namespace(
        layout=layout,
        is_embedded=layout != OWN_LAYOUT,
        language=_language(),
        platform_name=extension().settings.platform_name,
        skip_text=gettext("Skip to the content"),
    )
    page = current_app.jinja_env.get_template(f"own_smtp/{name}")
    common = {
        **_COMMON,
        **_badge_questions(),
        "frame": frame,
        "platform_name": frame.platform_name,
        "notes": session.pop(NOTES, []),
    }
    frame["body"] = Markup(page.render(**common, **values))  # noqa: S704  # our own templates escape what they show
    return render_template("own_smtp/frame.html", own_smtp=frame)


def download(write: Callable[[Session], Iterator[str]], filename: str, mimetype: str) -> Response:
    """Stream a file while it is read.

    The database connection is returned before each part is sent: a client that reads slowly, or not at all, holds none.
    `write` yields rows, reads only through the session that it gets, and leaves nothing open between two rows.
    """
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return Response(stream_with_context(_released(write)), mimetype=mimetype, headers=headers)


def _released(write: Callable[[Session], Iterator[str]]) -> Iterator[str]:
    # The request is over by now and its session closed: hooks that are called from here on share this one.
    rows = write(db_session())
    while part := "".join(islice(rows, DOWNLOAD_PART)):
        db_session().rollback()
        yield part


def note(text: str, kind: str = "success") -> None:
    """Show `text` on the next page. Not with `flash`: a host's layout shows those too, and each would appear twice.

    `kind` is a Bootstrap class: `success`, `warning` or `danger`.
    """
    session[NOTES] = [*session.get(NOTES, []), (kind, text)]


def tenant() -> Tenant:
    """Return the tenant of the person behind the request."""
    return extension().host.tenant(current_actor().tenant_id)


def _format_moment(moment: datetime | None) -> str:
    return format_time(moment, tenant().timezone) if moment else ""


def again(**changes: Any) -> str:
    """Return the address of the current page with some arguments changed."""
    given = {name: value for name, value in arguments().items() if name in _FIND}
    return url_for(str(request.endpoint), **{**(request.view_args or {}), **given, **changes})


def _pause_cause(relay: Relay) -> str:
    reason = relay.pause_reason
    return str(BY_PAUSE[PauseReason(reason)].cause) if reason in set(PauseReason) else ""


def _badge_questions() -> dict[str, Any]:
    """Return two functions for a relay's badge: does the policy let it send, and do deliveries through it fail?"""
    # Read once for each tenant, and for this page only: both may change before the next one.
    admitted, failing_of = cache(is_admitted), cache(partial(failing, db_session()))
    return {
        "admits": lambda relay: admitted(relay.tenant_id),
        "fails": lambda relay: relay.id in failing_of(relay.tenant_id),
    }


def _language() -> str:
    return str(get_locale() or "en").replace("_", "-")


# Passed to each template by name: as globals they would leak into the host's own pages.
_COMMON: dict[str, Any] = {
    "tr": gettext,
    "ntr": ngettext,
    "isolated": isolated,
    "moment": _format_moment,
    "day": format_date,
    "number": format_decimal,
    "again": again,
    "pause_cause": _pause_cause,
    "may": may,
    "Action": Action,
    "State": State,
    "RelayState": RelayState,
    "PauseReason": PauseReason,
    "spelt": spelt,
}


@blueprint.url_value_preprocessor
def refuse_impossible_ids(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Raise `NotFoundError` for an address with a number that cannot be an id."""
    if any(isinstance(value, int) and value > LARGEST_ID for value in (values or {}).values()):
        raise NotFoundError("There is no such id.")


@blueprint.errorhandler(NotFoundError)
def show_not_found(_error: NotFoundError) -> Response:
    """Answer 404, with the same page whether the thing does not exist or belongs to another tenant."""
    return _error_page(404)


@blueprint.errorhandler(ConflictError)
def show_conflict(error: ConflictError) -> Response:
    """Answer 409 with the reason."""
    return _error_page(409, str(error))


@blueprint.errorhandler(HTTPException)
def show_error(error: HTTPException) -> HTTPException | Response:
    """Answer an error with a page that advises what to do; redirects and finished responses pass."""
    if error.code is None or error.code < 400 or error.response is not None:
        return error
    return _sign_in() if error.code == 401 else _error_page(error.code)


def _sign_in() -> Response:
    """Redirect a person who opens a page to the host's sign-in, and back afterwards. Scripts and posted forms get a
    401.
    """
    is_page = request.method == "GET" and request.accept_mimetypes.accept_html
    here = f"{request.script_root}{request.full_path.removesuffix('?')}" if is_page else url_for("own_smtp.overview")
    url = extension().host.sign_in_url(here)
    if is_page and url is not None:
        response = make_response(redirect(url))
    else:
        response = _error_page(401, sign_in_url=url)
        # Browsers have no dialogue of their own for this scheme; a 401 must name one (RFC 9110, section 15.5.2).
        response.headers["WWW-Authenticate"] = 'Cookie realm="platform"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _error_page(code: int, text: str | None = None, sign_in_url: str | None = None) -> Response:
    title, words = ERRORS.get(code, (_("That did not work"), _("Go back, open the page again and try once more.")))
    response = make_response(render("error.html", title=title, words=text or words, sign_in_url=sign_in_url), code)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.after_request
def keep_private(response: Response) -> Response:
    """Keep pages out of caches and other sites' frames, and a confirmation link out of Referer headers.

    Browsers must not guess a content type: a downloaded log is no page.
    """
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if request.endpoint != "own_smtp.static":
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Frame-Options", "SAMEORIGIN")
        response.headers.setdefault("Referrer-Policy", "same-origin")
    return response
