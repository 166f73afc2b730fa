"""Starting the whole demo, and explaining its use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.catchall import PASSWORD, USERNAME
from demo.children import ProcessGroup, run_to_end
from demo.programs import FLASK, programs
from demo.stage import PARTICIPANTS, Stage, prepared

SEEDED = re.compile(r"(\S+@\S+)  (\S+)  \((.+)\)")
SETUP = (("init-db",), ("own-smtp", "db", "upgrade"), ("seed",))
"""Commands that a host's operator runs once, or after an update, before starting the services."""


@contextmanager
def running_demo(folder: Path, *, afresh: bool = False) -> Iterator[tuple[Stage, ProcessGroup]]:
    """Run everything inside the context, and stop it at the end. Raises `DemoError` when a process does not start."""
    with prepared(folder, afresh=afresh) as stage, ProcessGroup(stage.folder / "log") as processes:
        _set_up(stage)
        for program in programs(stage):
            print(f"Starting {program.name} …", flush=True)
            processes.start(program)
        yield stage, processes


def run(folder: Path, *, afresh: bool = False) -> None:
    """Run the demo until it is interrupted. Raises `DemoError` on a failure."""
    with running_demo(folder, afresh=afresh) as (stage, processes):
        print(f"\nThe demo is running. Press Ctrl-C to stop it.\n\n{describe(stage)}\n", flush=True)
        processes.watch()


def _set_up(stage: Stage) -> None:
    for command in SETUP:
        name = f"flask {' '.join(command)}"
        log = stage.folder / "log" / f"{'-'.join(command)}.log"
        run_to_end(name, [*FLASK, *command], stage.environment(), log)


@dataclass(frozen=True, slots=True)
class Account:
    """An account to sign in with."""

    email: str
    password: str
    role: str
    """Name and tenant, for people."""


def accounts(stage: Stage) -> list[Account]:
    """Return the accounts, as listed by `flask seed`."""
    lines = (stage.folder / "log" / "seed.log").read_text("utf-8").splitlines()
    found = [SEEDED.fullmatch(line) for line in lines]
    return [Account(match[1], match[2], match[3].replace("_", " ")) for match in found if match]


def describe(stage: Stage) -> str:
    """Return the text that a person needs to use the demo."""
    lines = [
        ("Survey platform", stage.platform_url + "/"),
        *((f"  {account.role}", f"{account.email} / {account.password}") for account in accounts(stage)),
        ("Inbox of all mails", stage.inbox_url + "/"),
        ("Your mail server", f"localhost, port {stage.ports.smtp}, STARTTLS"),
        ("  user and password", f"{USERNAME} / {PASSWORD}"),
        ("Participants", str(PARTICIPANTS)),
        ("Logs", str(stage.folder / "log")),
    ]
    width = max(len(name) for name, _value in lines)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in lines)
