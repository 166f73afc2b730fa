"""Scripted servers as fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scripted.certificates import Authority, authority
from tests.scripted.server import ScriptedServer


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """A plain server that takes everything until it is told otherwise."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture(scope="session")
def test_authority() -> Authority:
    """The authority behind the certificates `good`, `wrong_name`, `expired` and `other_ca`."""
    return authority()
