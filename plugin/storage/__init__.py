"""The tables and their common tools: clock, bulk statements, migrations, encryption, audit log, counters.

`models` contains the tables, one file for each room that may write them. `clock` reads the database's time, by which
leases, limits and retries are measured. `encryption.Vault` encrypts a secret for one tenant and one field. `periodic`
runs tasks on one of many machines only. `engine_checks` detects problems of the host's engine. Differences between
SQLite, PostgreSQL and MariaDB are handled here.

It decides nothing about invitations or relays, and commits only where a docstring says so. `__all__` names the modules
that other rooms may import.
"""

__all__ = [
    "audit",
    "bulk",
    "clock",
    "counters",
    "encryption",
    "engine",
    "engine_checks",
    "models",
    "periodic",
    "pseudonyms",
    "revisions",
    "schema",
]
