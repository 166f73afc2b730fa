"""The engine: finds due work, sends it over reused connections, and keeps records of every outcome.

A process is a path: `workers` run in RQ's worker and its dispatcher, `sending` in the process that a job forks, which
touches no database, and `bookkeeping` in the one beside it, which does. `contract` is all that crosses between those
two. `retry_policy` says when a message is tried again, `due` which relays have work.

No page imports it: the pages enqueue jobs through `own_smtp.current`. `__all__` names the modules that other rooms may
import.
"""

__all__ = [
    "workers",
]
