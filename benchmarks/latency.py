"""A distant network: forwards TCP, delayed by some milliseconds in each direction.

`python -m benchmarks.latency TARGET_PORT SECONDS` prints its port and runs until its standard input ends. It is a
process of its own, so that it takes no processor time from the measured one.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from types import TracebackType
from typing import Self

from benchmarks.measure import ROOT, runtime

CHUNK = 1 << 18


class FarAway:
    """The server behind a port, `one_way` seconds away. A context manager."""

    host = "127.0.0.1"

    def __init__(self, target_port: int, one_way: float = 0.01) -> None:
        self._command = [sys.executable, "-m", "benchmarks.latency", str(target_port), str(one_way)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=runtime(),
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()


class Proxy:
    """Forwards each client to the server at `target_port`."""

    def __init__(self, target_port: int, one_way: float) -> None:
        self._target_port = target_port
        self._one_way = one_way
        self._directions: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Start listening, and return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=CHUNK)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Stop listening, and close every connection."""
        self._server.close()
        for direction in self._directions:
            direction.cancel()
        await asyncio.gather(*self._directions, return_exceptions=True)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target_port, limit=CHUNK)
        both = [asyncio.create_task(self._pass_on(*way)) for way in ((reader, back), (there, writer))]
        self._directions.update(both)
        try:
            await asyncio.wait(both)
        finally:
            self._directions.difference_update(both)
            writer.close()
            back.close()

    async def _pass_on(self, source: StreamReader, target: StreamWriter) -> None:
        """Forward each piece in order, `one_way` later, without limiting how many are in transit."""
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):  # the connection has ended; the other side is closed, too
            while data := await source.read(CHUNK):
                loop.call_later(self._one_way, target.write, data)
        await asyncio.sleep(self._one_way)
        with suppress(OSError):
            target.write_eof()


async def _run(target_port: int, one_way: float) -> None:
    proxy = Proxy(target_port, one_way)
    print(await proxy.start(), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await proxy.close()


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), float(sys.argv[2])))
