"""smtplib and aiosmtplib with prepared messages on one persistent connection."""

from __future__ import annotations

import asyncio
import importlib
import json
import smtplib
import sys
import time
from typing import Any

from benchmarks.composing import IDENTITY, ours, recipients


def by_smtplib(port: int, messages: list[bytes]) -> float:
    with smtplib.SMTP("127.0.0.1", port) as connection:
        connection.ehlo()
        started = time.perf_counter()
        for number, data in enumerate(messages):
            connection.sendmail(IDENTITY.address, [f"person{number}@example.net"], data)
        return time.perf_counter() - started


async def by_aiosmtplib(port: int, messages: list[bytes]) -> float:
    aiosmtplib: Any = importlib.import_module("aiosmtplib")
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False, timeout=60) as connection:
        await connection.ehlo()
        started = time.perf_counter()
        for number, data in enumerate(messages):
            await connection.sendmail(IDENTITY.address, [f"person{number}@example.net"], data)
        return time.perf_counter() - started


def main() -> None:
    given = json.loads(sys.argv[1])
    compose = ours()
    messages = [compose(number, values) for number, values in recipients(given["messages"])]
    if given["library"] == "smtplib":
        seconds = by_smtplib(given["port"], messages)
    else:
        seconds = asyncio.run(by_aiosmtplib(given["port"], messages))
    print(json.dumps({"seconds": seconds, "messages": len(messages)}))


if __name__ == "__main__":
    main()
