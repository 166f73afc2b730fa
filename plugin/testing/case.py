"""The case that a host's hooks are checked with, and the contexts that Own SMTP calls them in."""

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


class HookContext(Enum):
    """The context in which Own SMTP calls a hook."""

    SIGNED_OUT = auto()
    """In a request before sign-in."""
    SIGNED_IN = auto()
    WORKER = auto()
    """In an application context without a request."""


@dataclass(frozen=True, slots=True)
class Case:
    """A host, and the values that its hooks are called with."""

    app: Flask
    hook: Any
    signed_in: SignedIn
    tenant_id: str
    foreign_tenant_id: str
    references: tuple[str, ...]

    def run(self, hook: str, where: HookContext, check: Callable[[Case], Problems]) -> list[str]:
        """Return the problems that a check finds in a hook; none for a hook without an implementation."""
        if not getattr(self.hook, hook).get_hookimpls():
            return []
        try:
            with self._enter(where):
                return list(check(self))
        except Exception as error:  # noqa: BLE001 -- any exception of the host's code is a finding
            return [f"it raised {type(error).__name__}: {error}"]

    @contextmanager
    def _enter(self, where: HookContext) -> Iterator[None]:
        match where:
            case HookContext.SIGNED_IN:
                with self.signed_in():
                    yield
            case HookContext.SIGNED_OUT:
                with self.app.test_request_context(f"{self.app.extensions[KEY].settings.url_prefix}/"):
                    self.app.preprocess_request()
                    yield
            case HookContext.WORKER:
                with self.app.app_context():
                    yield

    def projects(self, tenant_id: str) -> list[Project]:
        """Return the tenant's projects as the host lists them."""
        return list(self.hook.own_smtp_projects(tenant_id=tenant_id) or ())
