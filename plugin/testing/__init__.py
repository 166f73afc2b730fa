"""For the tests of a host: calls its hook implementations as Own SMTP does, and reports mistakes.

    from own_smtp.testing import check_host

    def test_own_smtp_gets_the_answers_that_it_needs(app, sign_in):
        check_host(
            app,
            signed_in=lambda: sign_in("admin@acme.example"),
            tenant_id="1",
            foreign_tenant_id="2",
            references=["17", "18"],
        )

A fixture creates the tables with `create_tables(db.engine)`, beside the host's own `db.create_all()`. It also accepts a
connection; then they belong to its transaction.

Needs no pytest. Hooks without an implementation are skipped.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from flask import Flask

from own_smtp.current import KEY
from own_smtp.storage.engine_checks import find_problems
from own_smtp.storage.schema import upgrade as create_tables
from own_smtp.testing import answers, events
from own_smtp.testing.case import Case, HookContext, Problems, SignedIn

__all__ = ["check_host", "create_tables"]


def check_host(
    app: Flask, *, signed_in: SignedIn, tenant_id: str, foreign_tenant_id: str, references: Sequence[str]
) -> None:
    """Raise `AssertionError` with a line for each mistake in the host's hook implementations.

    `app` has Own SMTP and a database of the test's own, with two tenants and their projects. `signed_in` returns a
    context manager that enters a request of a signed-in person of `tenant_id`. `references` are the host's ids of
    invitations to people in that database: status events about them are delivered to the host, also repeated and late.
    Warns of known problems with the database's engine as the host configured it.
    """
    with app.app_context():
        for problem in find_problems(app.extensions[KEY].db.engine):
            warnings.warn(problem, stacklevel=2)
    case = Case(app, app.extensions[KEY].host.hook, signed_in, tenant_id, foreign_tenant_id, tuple(references))
    problems = [f"  {hook}: {problem}" for hook, where, check in _CHECKS for problem in case.run(hook, where, check)]
    if problems:
        raise AssertionError("\n".join(["The host's hooks do not keep to the contract:", *problems]))


_CHECKS: tuple[tuple[str, HookContext, Callable[[Case], Problems]], ...] = (
    ("own_smtp_actor", HookContext.SIGNED_OUT, answers.check_signed_out),
    ("own_smtp_actor", HookContext.SIGNED_IN, answers.check_actor),
    ("own_smtp_sign_in_url", HookContext.SIGNED_OUT, answers.check_sign_in_url),
    ("own_smtp_may", HookContext.SIGNED_IN, answers.check_may),
    ("own_smtp_tenant", HookContext.WORKER, answers.check_tenant),
    ("own_smtp_tenants", HookContext.SIGNED_IN, answers.check_tenants),
    ("own_smtp_people", HookContext.SIGNED_IN, answers.check_people),
    ("own_smtp_user_name", HookContext.SIGNED_IN, answers.check_user_name),
    ("own_smtp_projects", HookContext.SIGNED_IN, answers.check_projects),
    ("own_smtp_notice_recipients", HookContext.WORKER, answers.check_notice_recipients),
    ("own_smtp_send_platform_mail", HookContext.WORKER, events.check_platform_mail),
    ("own_smtp_invitations_changed", HookContext.WORKER, events.check_changes),
    ("own_smtp_relay_changed", HookContext.WORKER, events.check_relay_change),
    ("own_smtp_relay_alert", HookContext.WORKER, events.check_relay_alert),
    ("own_smtp_layout", HookContext.SIGNED_IN, answers.check_layout),
)
