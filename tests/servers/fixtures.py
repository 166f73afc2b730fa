"""The fixtures with real servers. A missing program skips the test and names Debian's package."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from tests.servers.databases import MariaDB, PostgreSQL
from tests.servers.postfix import Postfix
from tests.servers.process import program
from tests.servers.redis import Redis
from tests.servers.tables import empty_tables, make_tables

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
    """A Redis for this test only, which it may stop, kill and start again."""
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


@pytest.fixture(scope="session")
def _postgres_with_tables(postgres: PostgreSQL) -> str:
    """The name of a database with our tables, to be copied."""
    name = postgres.create()
    make_tables(create_engine(postgres.url(name), poolclass=NullPool))
    return name


@pytest.fixture(scope="session")
def _mariadb_with_tables(mariadb: MariaDB) -> Iterator[str]:
    """The URL of a database with our tables, to be emptied for each test: MariaDB cannot copy one."""
    with mariadb.fresh() as url:
        make_tables(create_engine(url, poolclass=NullPool))
        yield url


@pytest.fixture(params=DATABASES)
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with our tables and no rows, on SQLite, PostgreSQL and MariaDB in turn.

    A test that changes the tables themselves uses `database_url`.
    """
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'test.sqlite3'}"
        make_tables(create_engine(url, poolclass=NullPool))
        yield url
    elif request.param == "postgresql":
        template = request.getfixturevalue("_postgres_with_tables")
        with request.getfixturevalue("postgres").fresh(template) as url:
            yield url
    else:
        url = request.getfixturevalue("_mariadb_with_tables")
        empty_tables(url)
        yield url


@pytest.fixture
def migrated(migrated_url: str) -> Iterator[Engine]:
    """An engine on a database with our tables, on SQLite, PostgreSQL and MariaDB in turn."""
    engine = create_engine(migrated_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium as Debian packages it.

    Not for the whole run: while Playwright is up, its event loop counts as running and `asyncio.run` refuses to work.
    """
    chromium = program("chromium", package="chromium")
    with sync_playwright() as playwright:
        # Its sandbox refuses to run as root, and a container's /dev/shm is small.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        running = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield running
        running.close()


@pytest.fixture
def browser_page(browser: Browser) -> Iterator[Page]:
    """An empty page with its own cookies. An error in a script fails the test. Mark the test with `browser`."""
    failures: list[str] = []
    with browser.new_context(locale="en-GB", timezone_id="UTC") as context:
        page = context.new_page()
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.set_default_timeout(15_000)
        yield page
    assert failures == []
