"""Starting the whole demo, and saying what can be done with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.catchall import PASSWORD, USERNAME
from demo.children import Household, run_to_end
from demo.programs import FLASK, programs
from demo.stage import PARTICIPANTS, Stage, prepared

SEEDED = re.compile(r"(\S+@\S+)  (\S+)  \((.+)\)")
SETUP = (("init-db",), ("own-smtp", "db", "upgrade"), ("seed",))
"""What a host's operator runs once, or after an update, before starting anything."""


@contextmanager
def running_demo(folder: Path, *, afresh: bool = False) -> Iterator[tuple[Stage, Household]]:
    """Run everything inside the context, and stop it on leaving. Raises `DemoError` when something does not start."""
    with prepared(folder, afresh=afresh) as stage, Household(stage.folder / "log") as household:
        _set_up(stage)
        for program in programs(stage):
            print(f"Starting {program.name} …", flush=True)
            household.start(program)
        yield stage, household


def run(folder: Path, *, afresh: bool = False) -> None:
    """Run the demo until it is interrupted. Raises `DemoError` when something is wrong."""
    with running_demo(folder, afresh=afresh) as (stage, household):
        print(f"\nThe demo is running. Press Ctrl-C to stop it.\n\n{describe(stage)}\n", flush=True)
        household.watch()


def _set_up(stage: Stage) -> None:
    for command in SETUP:
        name = f"flask {' '.join(command)}"
        log = stage.folder / "log" / f"{'-'.join(command)}.log"
        run_to_end(name, [*FLASK, *command], stage.environment(), log)


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can sign in."""

    email: str
    password: str
    role: str
    """With the tenant, as people read it."""


def accounts(stage: Stage) -> list[Account]:
    """Return who can sign in, as `flask seed` listed them."""
    lines = (stage.folder / "log" / "seed.log").read_text("utf-8").splitlines()
    found = [SEEDED.fullmatch(line) for line in lines]
    return [Account(match[1], match[2], match[3].replace("_", " ")) for match in found if match]


def describe(stage: Stage) -> str:
    """Return what a person needs to know to use the demo."""
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
