"""The page behind a confirmation link, without sign-in. GET shows and POST confirms, because scanners follow links."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Response, make_response
from flask.typing import ResponseReturnValue
from flask_babel import force_locale

from own_smtp.current import extension
from own_smtp.hooks.events import Tenant
from own_smtp.i18n import format_time
from own_smtp.operations import relay_service
from own_smtp.operations.relay_service import ConfirmResult
from own_smtp.relays import confirmations
from own_smtp.relays.confirmations import LinkState
from own_smtp.storage.models import Confirmation, Relay
from own_smtp.web.pages import ButtonForm, blueprint, db_session, render

CODES = {LinkState.UNKNOWN: 404, LinkState.USED: 410, LinkState.EXPIRED: 410, LinkState.SUPERSEDED: 410}


@blueprint.get("/confirm/<token>")
def show_confirmation(token: str) -> ResponseReturnValue:
    """Describe what the link confirms, and show the button."""
    state, confirmation = confirmations.look_up(db_session(), token)
    return _page(state, confirmation)


@blueprint.post("/confirm/<token>")
def follow_confirmation(token: str) -> ResponseReturnValue:
    """Activate the relay, once."""
    if not ButtonForm().validate_on_submit():
        return show_confirmation(token)
    result = relay_service.confirm(extension(), token)
    confirmation = db_session().get(Confirmation, result.confirmation_id) if result.confirmation_id else None
    return _page(result.state, confirmation, result)


def _page(state: LinkState, confirmation: Confirmation | None, result: ConfirmResult | None = None) -> Response:
    relay = db_session().get(Relay, confirmation.relay_id) if confirmation else None
    tenant = extension().host.tenant(relay.tenant_id) if relay else None
    with _language_of(tenant):
        page = render(
            "confirm.html",
            state="done" if result and state is LinkState.VALID else state,
            waits_for=result.waits_for if result else (),
            relay=relay,
            tenant=tenant,
            expires=format_time(confirmation.expires_at, tenant.timezone) if confirmation and tenant else "",
            button=ButtonForm(),
        )
    response = make_response(page, CODES.get(state, 200))
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Robots-Tag"] = "noindex"
    return response


@contextmanager
def _language_of(tenant: Tenant | None) -> Iterator[None]:
    """Use the language of the mail that contained the link."""
    if tenant is None:
        yield
    else:
        with force_locale(tenant.locale):
            yield
