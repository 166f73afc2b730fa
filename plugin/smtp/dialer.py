"""Opening a connection to one of the checked addresses."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from own_smtp.smtp.connection import Connection
from own_smtp.smtp.network import Target


@dataclass(frozen=True, slots=True)
class Connected:
    """An open connection and the address that answered."""

    connection: Connection
    address: str


class Dialer(Protocol):
    """Opens connections. Tests hand in one that goes elsewhere."""

    async def __call__(self, target: Target, seconds: float) -> Connected:
        """Connect within `seconds` in all, or raise `OSError` or `TimeoutError`."""


async def dial(target: Target, seconds: float) -> Connected:
    """Connect to the first of the checked addresses that answers; each gets its share of the time."""
    loop = asyncio.get_running_loop()
    failure: OSError = ConnectionRefusedError("no address")
    for address in target.addresses:
        try:
            async with asyncio.timeout(seconds / len(target.addresses)):
                _, connection = await loop.create_connection(lambda: Connection(loop), address, target.port)
                return Connected(connection, address)
        except OSError as error:
            failure = error
    raise failure
