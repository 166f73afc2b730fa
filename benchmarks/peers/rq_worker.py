"""Enqueue one job per message, and process them with one of RQ's forking workers."""

from __future__ import annotations

import json
import os
import sys
import time

import redis
from rq import Queue, Worker

from benchmarks.composing import recipients
from benchmarks.peers import rq_jobs


def main() -> None:
    given = json.loads(sys.argv[1])
    os.environ[rq_jobs.PORT] = str(given["port"])
    rq_jobs.app()  # imported before the first fork, as RQ advises: no job waits for imports
    connection = redis.Redis.from_url(given["redis"])
    connection.flushall()
    queue = Queue("peer", connection=connection)
    for number, values in recipients(given["messages"]):
        queue.enqueue(rq_jobs.send, number, values, result_ttl=0)
    started = time.perf_counter()
    Worker([queue], connection=connection).work(burst=True, logging_level="ERROR")
    seconds = time.perf_counter() - started
    if failed := queue.failed_job_registry.count:
        raise RuntimeError(f"{failed} jobs failed.")
    print(json.dumps({"seconds": seconds, "messages": given["messages"]}))


if __name__ == "__main__":
    main()
