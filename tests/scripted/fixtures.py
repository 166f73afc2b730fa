"""Scripted servers as fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from own_smtp.smtp.dry_run import run_dry_run
from tests.scripted.certificates import Authority, authority
from tests.scripted.server import ScriptedServer


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """A plain server that accepts everything until the test changes that."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture(scope="session")
def test_authority() -> Authority:
    """The authority behind the certificates `good`, `wrong_name`, `expired` and `other_ca`."""
    return authority()


@pytest.fixture
def brief_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of settings wait a second for a connection: a server that cannot be reached takes all of the time."""
    defaults = run_dry_run.__kwdefaults__
    monkeypatch.setitem(defaults, "deadlines", replace(defaults["deadlines"], connect=1))
