"""Host code that a type checker must accept, and refuse, with the installed package. It is checked, not run."""

from collections.abc import Sequence

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from own_smtp import OwnSMTP, hookimpl
from own_smtp.hooks import Actor, Content, Invitation, InvitationBatch, InvitationStatus, Receipt, State


class Host:
    @hookimpl
    def own_smtp_actor(self) -> Actor | None:
        return Actor(user_id="1", tenant_id="acme", name="Ann", email="ann@example.org")

    @hookimpl
    def own_smtp_invitations_changed(self, changes: Sequence[InvitationStatus]) -> None:
        accepted: list[str] = [change.reference for change in changes if change.state is State.ACCEPTED]
        print(accepted)


def install(app: Flask, db: SQLAlchemy) -> OwnSMTP:
    return OwnSMTP(app, db, host=Host())


batch = InvitationBatch(
    tenant_id="acme",
    project_id="7",
    content=Content(subject="Survey", text="{SURVEYURL}"),
    invitations=[Invitation(reference="1", address="ann@example.org")],
)

# Strict checking reports an ignore that is not needed: were the package untyped, these would be.
wrong = Receipt(batch_id="7", taken=1)  # type: ignore[arg-type]
missing = Content(subject="Survey")  # type: ignore[call-arg]
