"""What runs in RQ's worker and beside it: jobs, the dispatcher, the recovery of dead drains, confirmations and tests.

`worker.run_worker` is the process, `jobs` the functions that it runs and no others, `wakeup.Wakeup` enqueues them, and
`dispatcher.Dispatcher` looks into the database for what Redis has lost. Jobs carry ids and nothing else.
"""

__all__ = [
    "confirmation_mails",
    "dispatcher",
    "drain_job",
    "dry_run_job",
    "jobs",
    "recovery",
    "urgent",
    "wakeup",
    "worker",
]
