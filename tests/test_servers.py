"""The servers that the other tests rely on."""

import pytest
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.servers.databases import MariaDB, PostgreSQL
from tests.servers.redis import Redis


def test_redis_comes_back_empty_on_the_same_port_after_a_kill(redis_server: Redis) -> None:
    """A killed Redis is gone, and once started again it answers where it did and remembers nothing."""
    redis_server.client().set("key", "value")
    redis_server.kill()
    with pytest.raises(redis.ConnectionError):
        redis_server.client().ping()
    redis_server.start()
    assert redis_server.client().get("key") is None


def test_the_shared_redis_is_empty(redis_url: str) -> None:
    """Each test that asks for the shared Redis gets it without keys."""
    assert redis.Redis.from_url(redis_url).dbsize() == 0


def test_a_fresh_database_is_empty_and_stores_any_character(database_url: str) -> None:
    """A test may create its tables, and four-byte characters come back as they were written."""
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE word (word VARCHAR(20))"))
        connection.execute(text("INSERT INTO word VALUES (:word)"), {"word": "żółć 漢字 🦉"})
    with engine.connect() as connection:
        assert connection.execute(text("SELECT word FROM word")).scalars().all() == ["żółć 漢字 🦉"]


@pytest.mark.servers
@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
def test_a_killed_database_server_keeps_what_was_committed(kind: type[PostgreSQL] | type[MariaDB]) -> None:
    """After a kill and a start the same URL leads to the same rows."""
    with kind() as server, server.fresh() as url:
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE word (word VARCHAR(20))"))
            connection.execute(text("INSERT INTO word VALUES ('kept')"))
        server.kill()
        server.start()
        with engine.connect() as connection:
            assert connection.execute(text("SELECT word FROM word")).scalars().all() == ["kept"]
