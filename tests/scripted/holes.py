"""Ports of unreachable servers."""

from __future__ import annotations

import selectors
import socket
from types import TracebackType
from typing import Self


class _Port:
    """A bound socket on 127.0.0.1. A context manager."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.host, self.port = self._socket.getsockname()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()


class ClosedPort(_Port):
    """A port that refuses connections, and that no other program gets meanwhile."""


class SilentPort(_Port):
    """A port on which connections succeed without any data: the kernel accepts, no program does."""

    def __init__(self) -> None:
        super().__init__()
        self._socket.listen(1024)


class BlackHole(_Port):
    """A port where a connection neither succeeds nor fails: its backlog is full, and the kernel drops what comes."""

    def __init__(self) -> None:
        super().__init__()
        self._socket.listen(0)
        self._fillers: list[socket.socket] = []
        while self._fill():
            pass

    def close(self) -> None:
        for filler in self._fillers:
            filler.close()
        super().close()

    def _fill(self) -> bool:
        """Open one more connection that waits for ever, and return whether it still came through."""
        filler = socket.socket()
        self._fillers.append(filler)
        filler.setblocking(False)
        filler.connect_ex((self.host, self.port))
        with selectors.DefaultSelector() as selector:
            selector.register(filler, selectors.EVENT_WRITE)
            return bool(selector.select(0.1))
