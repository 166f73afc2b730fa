"""The fixtures that hand real servers to the tests. A missing program skips the test and names Debian's package."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.databases import MariaDB, PostgreSQL
from tests.servers.postfix import Postfix
from tests.servers.redis import Redis

DATABASES = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgresql", id="postgresql", marks=pytest.mark.servers),
    pytest.param("mariadb", id="mariadb", marks=pytest.mark.servers),
]


@pytest.fixture(scope="session")
def _redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def redis_url(_redis: Redis) -> str:
    """The URL of an empty Redis that the tests of this run share."""
    _redis.client().flushall()
    return _redis.url


@pytest.fixture
def redis_server() -> Iterator[Redis]:
    """A Redis for this test alone, which it may stop, kill and start again."""
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgreSQL]:
    """The PostgreSQL that the tests of this run share. Tests that kill one start their own."""
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """The MariaDB that the tests of this run share. Tests that kill one start their own."""
    with MariaDB() as server:
        yield server


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database: the test runs once on SQLite, once on PostgreSQL and once on MariaDB."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.sqlite3'}"
        return
    server = request.getfixturevalue({"postgresql": "postgres", "mariadb": "mariadb"}[request.param])
    with server.fresh() as url:
        yield url


@pytest.fixture(scope="session")
def _postfix() -> Iterator[Postfix]:
    with Postfix() as server:
        yield server


@pytest.fixture
def postfix(_postfix: Postfix) -> Postfix:
    """The Postfix that the tests of this run share, with an empty mailbox. Tests that need another start their own.

    Mark the test with `servers`.
    """
    _postfix.clear()
    return _postfix
