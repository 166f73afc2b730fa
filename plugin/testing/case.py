"""What the checks of a host's hooks have at hand, and in which surroundings each is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from flask import Flask

from own_smtp.current import KEY
from own_smtp.hooks.events import Project

Problems = Iterator[str]
SignedIn = Callable[[], AbstractContextManager[object]]


class Where(Enum):
    """In which surroundings Own SMTP calls a hook."""

    NOBODY = auto()
    """In a request before somebody has signed in."""
    SOMEBODY = auto()
    WORKER = auto()
    """In an application context without a request."""


@dataclass(frozen=True, slots=True)
class Case:
    """A host, and whom and what it is asked about."""

    app: Flask
    hook: Any
    signed_in: SignedIn
    tenant_id: str
    foreign_tenant_id: str
    references: tuple[str, ...]

    def run(self, hook: str, where: Where, check: Callable[[Case], Problems]) -> list[str]:
        """Return what a check finds wrong with a hook; nothing for one that is not implemented."""
        if not getattr(self.hook, hook).get_hookimpls():
            return []
        try:
            with self._enter(where):
                return list(check(self))
        except Exception as error:  # noqa: BLE001 -- whatever the host's code raises is what is looked for
            return [f"it raised {type(error).__name__}: {error}"]

    @contextmanager
    def _enter(self, where: Where) -> Iterator[None]:
        match where:
            case Where.SOMEBODY:
                with self.signed_in():
                    yield
            case Where.NOBODY:
                with self.app.test_request_context(f"{self.app.extensions[KEY].settings.url_prefix}/"):
                    self.app.preprocess_request()
                    yield
            case Where.WORKER:
                with self.app.app_context():
                    yield

    def projects(self, tenant_id: str) -> list[Project]:
        """Return the tenant's projects as the host names them."""
        return list(self.hook.own_smtp_projects(tenant_id=tenant_id) or ())
