"""The tables and the tools of all who use them: clock, bulk statements, migrations, encryption, audit log, counters.

`models` holds the tables, one file for each room that may write them. `clock` reads the database's time, by which
leases, limits and retries are judged. `encryption.Vault` encrypts a secret for one tenant and one field. `periodic`
lets one of many machines do what must not be done twice. `engine_checks` finds what goes wrong with the host's engine.
Differences between SQLite, PostgreSQL and MariaDB end here.

It decides nothing about invitations or relays, and commits only where it says so. `__all__` names the modules that
other rooms may import.
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
