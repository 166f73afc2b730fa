"""Endpoints for machines, without sign-in: the health check, and the metrics for Prometheus."""

from __future__ import annotations

import hmac

from flask import abort, make_response, request
from flask.typing import ResponseReturnValue

from own_smtp.current import extension
from own_smtp.forms.base import arguments
from own_smtp.operations.health import examine
from own_smtp.storage.engine import beside
from own_smtp.web.pages import blueprint


@blueprint.get("/health")
def health() -> ResponseReturnValue:
    """Return the health: 503 when pages and sends do not work; with `?strict` also when nothing would be sent."""
    found = examine(extension().db.engine, extension().queue_problem)
    is_bad = found.status == "down" or (found.status != "ok" and "strict" in arguments())
    return found.as_dict(), 503 if is_bad else 200


@blueprint.get("/metrics")
def metrics() -> ResponseReturnValue:
    """Return the metrics to clients with the token; 404 if the settings have no token."""
    token = extension().settings.metrics_token
    if token is None:
        abort(404)
    if not hmac.compare_digest(_shown().encode(), token.encode()):
        return make_response("Show the token: Authorization: Bearer ...\n", 401, {"WWW-Authenticate": "Bearer"})
    from own_smtp.operations.metrics import CONTENT_TYPE, QueueFigures, exposition

    queue = QueueFigures(is_up=extension().queue_is_up(), jobs=extension().queue_depth())
    with beside(extension().db) as connection:
        text = exposition(connection, queue, by_tenant=extension().settings.metrics_tenants)
    return make_response(text, {"Content-Type": CONTENT_TYPE})


def _shown() -> str:
    authorization = request.authorization
    if authorization is None or authorization.type != "bearer":
        return ""
    return authorization.token or ""
