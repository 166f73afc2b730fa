"""Every mail that Own SMTP writes itself, whole, against what is kept in `tests/data/mails`.

To change a text or a translation, write them anew with `pytest tests/delivery/test_mail_texts.py --renew-mails`, and
read the difference before you commit it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask_babel import force_locale

from own_smtp.delivery.workers.confirmation_mails import ConfirmationLetter, compose
from own_smtp.hooks.events import PlatformMail, RelayAlert, RelayChange, Tenant
from own_smtp.i18n import LANGUAGES
from own_smtp.operations.notice_mails import alert_notice, notice_of
from own_smtp.relays.store import load_profile
from own_smtp.states import AlertCause, PauseReason
from own_smtp.storage.models import Batch
from tests.composing import assert_fit_for_the_wire, parse
from tests.web.drafts import add_relay

FOLDER = Path(__file__).parents[1] / "data" / "mails"
MOMENT = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
ZONE = "Europe/Berlin"
PAUSED = RelayChange(
    relay_id=1,
    tenant_id="acme",
    label="Acme & Söhne",
    state="paused",
    reason="535 5.7.8 Error: authentication failed",
    pause_reason="credentials",
    address="surveys@acme.example",
    is_automatic=True,
)
_CODES = dict.fromkeys(
    (
        PauseReason.CREDENTIALS,
        PauseReason.SENDER,
        PauseReason.NO_AUTH,
        PauseReason.BLOCKED,
        PauseReason.QUOTA,
        PauseReason.REFUSES_ALL,
    ),
    "550 5.7.1 ",
)
"""Of what a server said; the other reasons are what we found."""
NOTICES = {
    **{
        f"paused-{reason}": replace(PAUSED, pause_reason=reason, reason=f"{_CODES.get(reason, '')}The words of it.")
        for reason in PauseReason
        if reason is not PauseReason.PERSON
    },
    "works-again": replace(PAUSED, state="active", reason=None, pause_reason=None),
    "falls-back": replace(PAUSED, is_falling_back=True),
}
ALERTS = {
    f"{cause}{'-over' if is_over else ''}": RelayAlert(
        relay_id=1,
        tenant_id="acme",
        label="Acme & Söhne",
        cause=cause,
        at=MOMENT,
        is_over=is_over,
        reason="banner: 421 4.3.2 Service shutting down"
        if (cause, is_over) == (AlertCause.UNREACHABLE, False)
        else None,
        address="surveys@acme.example",
    )
    for cause in AlertCause
    for is_over in (False, True)
}
NAMES = ["confirmation", "test-mail", *NOTICES, *ALERTS]

in_each_language = pytest.mark.parametrize("language", LANGUAGES)


@pytest.fixture
def is_as_kept(request, language):
    """Return a function that compares a mail with the kept one of that name, or keeps it where that was asked for."""

    def compare(name: str, headers: Mapping[str, str], text: str, html: str | None = None) -> None:
        parts = [f"{key}: {value}" for key, value in headers.items()]
        mail = "\n".join([*parts, "", text.strip(), *(["", "- - - HTML - - -", "", html.strip()] if html else []), ""])
        # Versions of CLDR differ in the space before AM and PM.
        mail = mail.replace("\r\n", "\n").replace("\u202f", " ")
        kept = FOLDER / f"{name}.{language}.txt"
        if request.config.getoption("--renew-mails"):
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(mail, "utf-8")
        assert mail == kept.read_text("utf-8")

    return compare


@pytest.fixture
def acme(thin, language) -> Tenant:
    tenant = Tenant(tenant_id="acme", name="Acme & Söhne", locale=language, timezone=ZONE)
    thin.host.tenants["acme"] = tenant
    return tenant


@in_each_language
def test_the_confirmation_mail(db_session, thin, acme, is_as_kept):
    """With all its headers, in text and in HTML; only the time, the id and the boundary are its own each time."""
    relay = add_relay(db_session, thin, sender_name="Acme & Söhne, Umfragen")
    profile = load_profile(db_session.connection(), relay.id, thin.vault)
    link = "https://surveys.example/own-smtp/confirm/only-for-this-test"
    data = compose(
        ConfirmationLetter(
            profile=profile,
            tenant=acme,
            recipient="surveys@acme.example",
            link=link,
            expires_at=MOMENT,
            platform="Survey House",
        )
    )
    assert_fit_for_the_wire(data)
    message = parse(data)
    message.set_boundary("=boundary=")
    headers = {name: value for name, value in message.items() if name not in {"Date", "Message-ID"}}
    assert len(headers) == len(message.items()) - 2
    text, html = (message.get_body((kind,)).get_content() for kind in ("plain", "html"))
    is_as_kept("confirmation", headers, text, html)


@in_each_language
def test_the_test_mail(web, db_session, thin, acme, is_as_kept):
    """As it is put into the outbox when somebody presses the button."""
    relay = add_relay(db_session, thin, active=True)
    web.post(f"/own-smtp/servers/{relay.id}/test-mail")
    content = db_session.query(Batch).one().content
    is_as_kept("test-mail", {"Subject": content["subject"]}, content["text"], content["html"])


@in_each_language
@pytest.mark.parametrize("name", NOTICES)
def test_a_notice_to_the_owner(db_session, is_as_kept, language, name):
    """For each reason that pauses a server, for its end, and for the platform's stepping in."""
    with force_locale(language):
        is_as_kept(name, *told(notice_of(NOTICES[name])))


@in_each_language
@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_and_its_end(db_session, is_as_kept, language, name):
    """For each cause, with the time in the tenant's zone."""
    with force_locale(language):
        is_as_kept(name, *told(alert_notice(ALERTS[name], ZONE)))


def told(mail: PlatformMail | None) -> tuple[dict[str, str], str, str | None]:
    assert mail is not None
    return {"Subject": mail.subject, "To": mail.recipient}, mail.text, mail.html


def test_nothing_is_kept_that_no_test_looks_at():
    """A mail that is not written any more leaves no file behind."""
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.{code}.txt" for name in NAMES for code in LANGUAGES}
