"""The presets: complete, dated, and accepted by the form."""

from __future__ import annotations

from datetime import date

import pytest
from werkzeug.datastructures import MultiDict

from own_smtp.forms.relay import UNUSUAL, RelayForm
from own_smtp.relays.presets import PRESETS
from own_smtp.relays.presets.provider import UNDATED
from own_smtp.settings import Settings
from own_smtp.smtp.hostnames import clean_host
from own_smtp.states import Security
from tests.web.drafts import TYPED, add_relay

ON_THE_PREMISES = {"exchange", "postfix"}
NUMBERS = {"max_connections", "messages_per_connection", "per_second", "per_minute", "per_hour", "per_day"}
# Of these no source bears a date.
OLDER = {"azure-communication", "exchange", "ionos", "postfix"}


@pytest.mark.parametrize("key", PRESETS)
def test_a_preset_is_complete(key):
    """Each has a name, a host unless it is the customer's own, a usual port, advice, and a past date."""
    preset = PRESETS[key]
    assert preset.key == key
    assert len(key) <= 40
    assert str(preset.name)
    assert str(preset.know).endswith(".")
    assert (preset.host == "") == (key in ON_THE_PREMISES)
    assert not preset.host or clean_host(preset.host) == (preset.host, None)
    assert preset.port in Settings().allowed_ports
    assert preset.security in {Security.STARTTLS, Security.IMPLICIT}
    assert (preset.security, preset.port) not in UNUSUAL
    assert set(preset.limits) <= NUMBERS
    assert date(2024, 1, 1) <= preset.as_of <= date.today()  # noqa: DTZ011 -- any time zone will do
    assert (preset.as_of == UNDATED) == (key in OLDER)


@pytest.mark.parametrize("key", PRESETS)
def test_a_preset_has_sources(key):
    """At least one public page, each of another site, because the site is the link's text."""
    preset = PRESETS[key]
    assert preset.sources
    assert all(
        source.startswith("https://") and clean_host(site) == (site, None) for site, source in preset.linked().items()
    )
    assert tuple(preset.linked().values()) == preset.sources


def test_presets_are_offered_by_the_alphabet():
    """A provider is found by its first letters."""
    names = [str(preset.name).casefold() for preset in PRESETS.values()]
    assert names == sorted(names)


@pytest.mark.parametrize("key", PRESETS)
def test_a_presets_values_can_be_saved(web_app, key):
    """With an account and a sender the form accepts a preset's values, and stores the preset's key."""
    typed = {**TYPED, **{name: str(value) for name, value in PRESETS[key].values().items()}}
    typed["host"] = typed["host"] or "mail.acme.example"
    with web_app.test_request_context("/", method="POST", data=MultiDict(typed)):
        form = RelayForm(settings=Settings())
        assert form.validate(), form.errors
        assert form.draft().preset == key


def test_choosing_a_provider_fills_the_form_without_scripts(web):
    """Server, port, encryption and limits are in their fields; the advice stands above, with its date."""
    page = web.get("/own-smtp/servers/new?preset=microsoft-365").text
    for words in (
        'value="smtp.office365.com"',
        'value="587"',
        'value="30"',
        'value="10000"',
        "“Authenticated SMTP” must be switched on",
        "As of Jan 29, 2026",
    ):
        assert words in page
    for site, source in PRESETS["microsoft-365"].linked().items():
        assert f'<a href="{source}" rel="noreferrer">{site}</a>' in page


def test_a_provider_for_an_existing_server_keeps_the_rest(web, db_session, thin):
    """Label, account and sender stay; selecting a provider saves nothing."""
    relay = add_relay(db_session, thin, active=True)
    page = web.get(f"/own-smtp/servers/{relay.id}/edit?preset=fastmail").text
    assert 'value="smtp.fastmail.com"' in page
    assert 'value="surveys@acme.example"' in page
    db_session.expire_all()
    assert relay.host == "mail.acme.example"


@pytest.mark.parametrize("key", ["", "nobody", "<script>"])
def test_an_unknown_provider_fills_in_nothing(web, key):
    """For any value in the URL the form is empty, and can be saved without a preset."""
    answer = web.get("/own-smtp/servers/new", query_string={"preset": key})
    assert answer.status_code == 200
    assert "What to know of" not in answer.text
    assert "<script>" not in answer.text
