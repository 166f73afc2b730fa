"""For the tests of a host: asks its hook implementations what Own SMTP will ask, and says what is wrong.

    from own_smtp.testing import check_host

    def test_own_smtp_gets_the_answers_that_it_needs(app, sign_in):
        check_host(
            app,
            signed_in=lambda: sign_in("admin@acme.example"),
            tenant_id="1",
            foreign_tenant_id="2",
            references=["17", "18"],
        )

A fixture makes the tables with `create_tables(db.engine)`, beside the host's own `db.create_all()`. It takes a
connection as well; then they belong to its transaction.

Needs no pytest. A hook without an implementation is fine, and not asked about.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from flask import Flask

from own_smtp.current import KEY
from own_smtp.storage.engine_checks import find_problems
from own_smtp.storage.schema import upgrade as create_tables
from own_smtp.testing import answers, events
from own_smtp.testing.case import Case, Problems, SignedIn, Where

__all__ = ["check_host", "create_tables"]


def check_host(
    app: Flask, *, signed_in: SignedIn, tenant_id: str, foreign_tenant_id: str, references: Sequence[str]
) -> None:
    """Raise `AssertionError` with a line for each thing that is wrong with the host's hook implementations.

    `app` has Own SMTP and a database of the test's own, with two tenants and projects of theirs. `signed_in` returns a
    context manager that enters a request of somebody of `tenant_id`. `references` are ids that the host gives to
    invitations, of people who exist in the database: news of them are told to the host, also twice and late. Warns of
    what is known to go wrong with the database's engine as the host made it.
    """
    with app.app_context():
        for problem in find_problems(app.extensions[KEY].db.engine):
            warnings.warn(problem, stacklevel=2)
    case = Case(app, app.extensions[KEY].host.hook, signed_in, tenant_id, foreign_tenant_id, tuple(references))
    problems = [f"  {hook}: {problem}" for hook, where, check in _CHECKS for problem in case.run(hook, where, check)]
    if problems:
        raise AssertionError("\n".join(["The host's hooks do not keep to the contract:", *problems]))


_CHECKS: tuple[tuple[str, Where, Callable[[Case], Problems]], ...] = (
    ("own_smtp_actor", Where.NOBODY, answers.check_nobody),
    ("own_smtp_actor", Where.SOMEBODY, answers.check_actor),
    ("own_smtp_sign_in_url", Where.NOBODY, answers.check_sign_in_url),
    ("own_smtp_may", Where.SOMEBODY, answers.check_may),
    ("own_smtp_tenant", Where.WORKER, answers.check_tenant),
    ("own_smtp_tenants", Where.SOMEBODY, answers.check_tenants),
    ("own_smtp_people", Where.SOMEBODY, answers.check_people),
    ("own_smtp_user_name", Where.SOMEBODY, answers.check_user_name),
    ("own_smtp_projects", Where.SOMEBODY, answers.check_projects),
    ("own_smtp_notice_recipients", Where.WORKER, answers.check_notice_recipients),
    ("own_smtp_send_platform_mail", Where.WORKER, events.check_platform_mail),
    ("own_smtp_invitations_changed", Where.WORKER, events.check_changes),
    ("own_smtp_relay_changed", Where.WORKER, events.check_relay_change),
    ("own_smtp_relay_alert", Where.WORKER, events.check_relay_alert),
    ("own_smtp_layout", Where.SOMEBODY, answers.check_layout),
)
