"""The inbox page of the catch-all: received mail, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from email.message import EmailMessage
from typing import Any

from flask import Flask, Response, abort, jsonify, render_template, request

from demo.parts import attachments, html_document
from demo.store import Store, Stored, parse

PER_PAGE = 50
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none';"
    " img-src data:; frame-ancestors 'none'"
)
HTML_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
    " form-action 'none'; frame-ancestors 'self'"
)
"""For a message's HTML: no scripts, nothing loaded from elsewhere; links open a new tab."""


def create_inbox(store: Store) -> Flask:
    """Create the application; it needs no configuration and stores nothing but the contents of `store`."""
    app = Flask("demo")
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's default provider has it, its base has not.
    app.after_request(_harden)
    _add_pages(app, store)
    _add_parts(app, store)
    _add_json(app, store)
    return app


def _add_pages(app: Flask, store: Store) -> None:
    @app.get("/")
    def index() -> str:
        query, page = request.args.get("q", "").strip(), max(1, request.args.get("page", 1, type=int))
        total = store.count(query)
        last = max(1, -(-total // PER_PAGE))
        page = min(page, last)
        messages = store.find(query, PER_PAGE, (page - 1) * PER_PAGE)
        return render_template("index.html", messages=messages, query=query, total=total, page=page, last=last)

    @app.get("/messages/<int:message_id>")
    def show(message_id: int) -> str:
        stored, message = _load(store, message_id)
        return render_template(
            "message.html",
            stored=stored,
            headers=list(_headers(message)),
            has_html=message.get_body(("html",)) is not None,
            attachments=list(attachments(message)),
        )

    @app.errorhandler(404)
    def not_found(_error: Exception) -> tuple[str, int]:
        return render_template("not_found.html"), 404


def _add_parts(app: Flask, store: Store) -> None:
    @app.get("/messages/<int:message_id>/html")
    def html(message_id: int) -> Response:
        document = html_document(_load(store, message_id)[1])
        if document is None:
            abort(404)
        return Response(document, headers={"Content-Security-Policy": HTML_POLICY})

    @app.get("/messages/<int:message_id>/raw")
    def raw(message_id: int) -> Response:
        return _download(store.raw(message_id) or abort(404), "message/rfc822", f"message-{message_id}.eml")

    @app.get("/messages/<int:message_id>/attachments/<int:number>")
    def attachment(message_id: int, number: int) -> Response:
        items = {item.number: item for item in attachments(_load(store, message_id)[1])}
        item = items.get(number) or abort(404)
        return _download(item.data, "application/octet-stream", item.filename)


def _add_json(app: Flask, store: Store) -> None:
    @app.get("/api/messages")
    def list_json() -> Response:
        query = request.args.get("q", "")
        limit, offset = request.args.get("limit", -1, type=int), request.args.get("offset", 0, type=int)
        found = store.find(query, limit, offset)
        return jsonify(total=store.count(query), messages=[_as_json(stored) for stored in found])

    @app.get("/api/messages/<int:message_id>")
    def show_json(message_id: int) -> Response:
        stored, message = _load(store, message_id)
        return jsonify(**_as_json(stored), headers=list(_headers(message)))


def _load(store: Store, message_id: int) -> tuple[Stored, EmailMessage]:
    stored, raw = store.get(message_id), store.raw(message_id)
    if stored is None or raw is None:
        abort(404)
    return stored, parse(raw)


def _headers(message: EmailMessage) -> Iterator[tuple[str, str]]:
    for name, value in message.items():
        yield name, str(value)


def _as_json(stored: Stored) -> dict[str, Any]:
    return asdict(stored) | {"received_at": stored.received_at.isoformat()}


def _download(data: bytes, content_type: str, filename: str) -> Response:
    response = Response(data, content_type=content_type)
    response.headers.set("Content-Disposition", "attachment", filename=filename)
    return response


def _harden(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
