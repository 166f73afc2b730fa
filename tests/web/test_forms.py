"""The relay form: the input that it accepts, corrects and rejects, and where it shows errors."""

from __future__ import annotations

import pytest
from werkzeug.datastructures import MultiDict

from own_smtp.forms.relay import RelayForm
from own_smtp.settings import Settings
from own_smtp.states import Security
from tests.web.drafts import TYPED


@pytest.fixture
def fill(web_app):
    def fill(settings=None, **typed):
        data = MultiDict({name: value for name, value in {**TYPED, **typed}.items() if value is not None})
        with web_app.test_request_context("/own-smtp/servers/new", method="POST", data=data):
            form = RelayForm(settings=settings or Settings())
            form.is_fine = form.validate()
            return form

    return fill


@pytest.mark.parametrize(
    ("typed", "host", "port"),
    [
        ({"host": " mail.abc.com "}, "mail.abc.com", 587),
        ({"host": "smtp://mail.abc.com:465/", "security": "implicit"}, "mail.abc.com", 465),
        ({"host": "mail.abc.com:2525"}, "mail.abc.com", 2525),
        ({"host": "mail.abc.com:2525", "port": "587"}, "mail.abc.com", 587),
        ({"host": "mail.abc.com", "security": "implicit"}, "mail.abc.com", 465),
    ],
)
def test_a_pasted_host_is_trimmed_and_the_port_filled_in(fill, typed, host, port):
    """Pasted names work, and the encryption fills in its port when none was typed."""
    form = fill(**typed)
    assert form.is_fine, form.errors
    assert (form.draft().host, form.draft().port) == (host, port)


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"label": "  "}, "label"),
        ({"label": "x" * 101}, "label"),
        ({"host": ""}, "host"),
        ({"host": "not a host"}, "host"),
        ({"host": "-mail.abc.com"}, "host"),
        ({"port": "99999"}, "port"),
        ({"port": "22"}, "port"),
        ({"port": "abc"}, "port"),
        ({"security": "magic"}, "security"),
        ({"security": "none"}, "security"),
        ({"username": ""}, "username"),
        ({"username": "a\r\nb"}, "username"),
        ({"password": ""}, "password"),
        ({"sender_address": ""}, "sender_address"),
        ({"sender_address": "nobody"}, "sender_address"),
        ({"sender_address": "a@b.example\r\nBcc: c@d.example"}, "sender_address"),
        ({"sender_name": "a\r\nBcc: c@d.example"}, "sender_name"),
        ({"sender_name": "a\x00b"}, "sender_name"),
        ({"reply_to": "x@"}, "reply_to"),
        ({"envelope_sender": "x"}, "envelope_sender"),
        ({"confirmation_address": "x y@z.example"}, "confirmation_address"),
        ({"ehlo_name": "localhost"}, "ehlo_name"),
        ({"ehlo_name": "mail.abc.com\r\nMAIL FROM:<x>"}, "ehlo_name"),
        ({"max_connections": "0"}, "max_connections"),
        ({"max_connections": "21"}, "max_connections"),
        ({"max_connections": "4.5"}, "max_connections"),
        ({"min_interval": "-1"}, "min_interval"),
        ({"min_interval": "nan"}, "min_interval"),
        ({"min_interval": "inf"}, "min_interval"),
        ({"per_second": "0"}, "per_second"),
        ({"per_minute": "1.5"}, "per_minute"),
        ({"per_day": "0"}, "per_day"),
        ({"jitter": "101"}, "jitter"),
    ],
    ids=lambda value: "-".join(f"{k}={v!r}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_a_wrong_value_is_refused_at_its_field(fill, typed, field):
    """Each error is shown at its field."""
    form = fill(**typed)
    assert not form.is_fine
    assert list(form.errors) == [field]


def test_plain_text_only_where_allowed_and_without_a_password(fill):
    """Without encryption there is no password, whatever the platform allows."""
    allowing = Settings(allow_plaintext=True)
    assert list(fill(allowing, security="none").errors) == ["security"]
    form = fill(allowing, security="none", auth=None, username="", password="")
    assert form.is_fine
    assert (form.draft().security, form.draft().username, form.draft().port) == (Security.NONE, None, 25)


def test_without_authentication_neither_user_nor_password_is_kept(fill):
    """Turning it off discards the values of the hidden fields."""
    draft = fill(auth=None).draft()
    assert (draft.username, draft.password) == (None, None)


def test_the_platforms_ports_hold(fill):
    """Only the policy's ports can be saved."""
    assert fill(Settings(allowed_ports=frozenset({26})), port="26").is_fine
    assert list(fill(Settings(allowed_ports=frozenset({26}))).errors) == ["port"]


def test_the_password_is_never_given_back(fill):
    """A form with errors keeps all values except the password."""
    form = fill(sender_address="nobody")
    assert TYPED["password"] not in str(form.password())
    assert TYPED["host"] in str(form.host())


@pytest.mark.parametrize(
    ("typed", "unusual"),
    [({"port": "465"}, True), ({"port": "587"}, False), ({"port": "587", "security": "implicit"}, True), ({}, False)],
)
def test_encryption_and_port_that_hardly_fit_are_noticed(fill, typed, unusual):
    """465 with STARTTLS and 587 with implicit TLS are saved, with a warning."""
    form = fill(**typed)
    assert form.is_fine
    assert form.is_unusual is unusual


def test_empty_fields_mean_none(fill):
    """Empty input is stored as absent, not as an empty text or zero."""
    draft = fill(reply_to="", envelope_sender=" ", ehlo_name="", per_day="", max_connections="").draft()
    assert (draft.reply_to, draft.envelope_sender, draft.ehlo_name, draft.per_day) == (None, None, None, None)
    assert (draft.max_connections, draft.jitter) == (4, 0)


def test_sending_windows_are_typed_in_rows(fill):
    """Days and two times make a window; empty rows are ignored."""
    form = fill(
        **{
            "sending_windows-0-days": "0",
            "sending_windows-0-start": "08:00",
            "sending_windows-0-end": "18:30",
            "sending_windows-1-start": "",
            "sending_windows-1-end": "",
            "timezone": "Europe/Berlin",
        }
    )
    assert form.is_fine, form.errors
    assert form.draft().sending_windows == [{"days": [0], "start": "08:00", "end": "18:30"}]
    assert form.draft().timezone == "Europe/Berlin"


@pytest.mark.parametrize(
    "row",
    [
        {"days": "0"},
        {"start": "08:00", "end": "18:00"},
        {"days": "0", "start": "08:00"},
        {"days": "0", "start": "8 o'clock", "end": "18:00"},
        {"days": "9", "start": "08:00", "end": "18:00"},
    ],
)
def test_half_a_window_is_refused_in_words(fill, row):
    """An incomplete row says what it needs, and never means "always"."""
    form = fill(**{f"sending_windows-0-{name}": value for name, value in row.items()})
    assert not form.is_fine
    assert form.errors["sending_windows"] == ("Each line needs days and two times, such as 08:00 and 18:00.",)


def test_an_unknown_time_zone_is_refused(fill):
    """A drain must be able to find the zone."""
    assert "timezone" in fill(timezone="Mars/Olympus").errors
