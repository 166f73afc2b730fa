"""`OwnSMTP`: the interface for hosts, by its methods or through pluggy."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime

import pluggy
from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from own_smtp.bootstrap import Components
from own_smtp.current import KEY
from own_smtp.hooks.events import (
    Estimate,
    InvitationBatch,
    InvitationStatus,
    KnownStatus,
    Link,
    Receipt,
    ReportColumn,
    SenderChoice,
    StatusFilter,
)
from own_smtp.hooks.markers import hookimpl
from own_smtp.i18n import with_language
from own_smtp.operations import erasure
from own_smtp.operations.erasure import Forgotten
from own_smtp.outbox import actions, statuses
from own_smtp.outbox.intake import checked_moment, hold_relay
from own_smtp.outbox.query import LogScope
from own_smtp.outbox.recipient_search import with_shortened
from own_smtp.relays import store
from own_smtp.relays.platform_server import can_take_over
from own_smtp.relays.routing import relay_for, relay_named, waits_for
from own_smtp.reporting import delivery_log, reports
from own_smtp.reporting.delivery_log import LogLine
from own_smtp.reporting.estimates import estimate, finish_of_all
from own_smtp.reporting.known_statuses import known_statuses
from own_smtp.storage.engine import begin_savepoint, beside
from own_smtp.storage.models import ProjectRoute, Relay
from own_smtp.web import host_menus
from own_smtp.web.host_menus import batch_url, project_links, settings_links

log = logging.getLogger(__name__)


class OwnSMTP(Components):
    """The extension.

    A host with pluggy passes its plugin manager as `plugins`; one without pluggy passes an object with methods of the
    same names as `host`. Raises `ConfigurationError` if a setting is missing or wrong, and
    `pluggy.PluginValidationError` for an unknown hook.
    """

    def send_invitations(self, batch: InvitationBatch) -> Receipt | None:
        """Accept a batch, or return `None` if the platform must send it itself. See the hook of that name."""
        session = self.db.session()
        chosen = relay_for(session, batch)
        if chosen is None:
            return None
        relay, route = chosen
        connection = session.connection()
        # After any exception, even behind the last row, nothing of the batch is left.
        with begin_savepoint(connection), self._language_of(batch.tenant_id):
            if batch.sender is None and not hold_relay(connection, relay.id):
                return None  # just deleted: its projects use the platform's mail service again
            receipt = self._add(session, batch, relay, route)
        self.enqueue_drain_after_commit(session, relay.id)
        return receipt

    def _add(self, session: Session, batch: InvitationBatch, relay: Relay, route: ProjectRoute | None) -> Receipt:
        connection, profile = session.connection(), store.profile_without_secret(relay)
        fallback_after = route.fallback_after if route and can_take_over(self._app.config) else None
        receipt = actions.add(connection, batch, profile, fallback_after=fallback_after)
        waits = self._waits_for(session, relay)
        settings = self.policy.in_force(connection)
        finishes_at = None if waits else finish_of_all(connection, settings, relay.id, profile.limits)
        return replace(receipt, waits_for=waits, finishes_at=finishes_at, url=batch_url(batch, receipt.batch_id))

    def _language_of(self, tenant_id: str) -> AbstractContextManager[None]:
        return with_language(lambda: self.host.tenant(tenant_id).locale)

    def settings_links(self, tenant_id: str) -> Sequence[Link]:
        """Return the pages for the tenant's settings menu."""
        links = settings_links(self.host, tenant_id)
        return links if links and self._has_pages(tenant_id) else []

    def project_links(self, tenant_id: str, project_id: str) -> Sequence[Link]:
        """Return the pages for the project's menu."""
        links = project_links(self.host, tenant_id, project_id)
        return links if links and self._has_pages(tenant_id) else []

    def _has_pages(self, tenant_id: str) -> bool:
        """Return whether the tenant may see the pages, read outside the session: menus must work before our tables
        exist."""
        try:
            with beside(self.db) as connection, Session(connection) as session:
                return host_menus.has_pages(session, self.host, self.policy, tenant_id)
        except DBAPIError as error:
            log.warning("Cannot read whether tenant %s may use mail servers: %s", tenant_id, type(error).__name__)
            return True

    def senders(self, tenant_id: str, project_id: str) -> Sequence[SenderChoice]:
        """Return the relays that the acting person may use in the project, as senders for the "send" page.

        Outside a request, all relays of the tenant are returned.
        """
        with self._language_of(tenant_id):
            return host_menus.senders(self.db.session(), self.host, self.policy, tenant_id, project_id)

    def estimate(
        self, tenant_id: str, project_id: str, sender: str | None, count: int, expires_at: datetime | None = None
    ) -> Estimate | None:
        """Estimate when `count` invitations would be sent; `None` if the platform would send them itself."""
        expires_at = checked_moment(expires_at, "`expires_at`")
        session = self.db.session()
        relay = relay_named(session, tenant_id, project_id, sender)
        if relay is None:
            return None
        zone, settings = self.host.tenant(tenant_id).timezone, self.policy.in_force(session)
        with self._language_of(tenant_id):
            waits = self._waits_for(session, relay)
            return estimate(session, settings, relay, count, expires_at=expires_at, timezone=zone, waits=waits)

    def _waits_for(self, session: Session, relay: Relay) -> str | None:
        return waits_for(relay) or host_menus.refusal(session, self.policy, relay.tenant_id)

    def known_statuses(self, tenant_id: str, project_id: str, counted: Sequence[str] = ()) -> Sequence[KnownStatus]:
        """Return the availability of each status by each route, with the reasons."""
        ways = reports.ways_of(self.db.session(), tenant_id, project_id)
        with self._language_of(tenant_id):
            return known_statuses(ways, counted)

    def report_columns(self, tenant_id: str, project_id: str) -> Sequence[ReportColumn]:
        """Return the available statuses; empty if nothing was sent through a relay and none is chosen."""
        if not reports.ways_of(self.db.session(), tenant_id, project_id):
            return []
        with self._language_of(tenant_id):
            return reports.report_columns()

    def invitation_statuses(
        self,
        tenant_id: str,
        project_id: str,
        references: Sequence[str] | None = None,
        wanted: StatusFilter | None = None,
    ) -> Iterator[InvitationStatus]:
        """Return the statuses of the project's invitations, newest batch first, or as `wanted` says."""
        sought = wanted and with_shortened(wanted, self.vault, tenant_id)
        return statuses.invitation_statuses(self.db.session(), tenant_id, project_id, references, sought)

    def delivery_log(
        self, tenant_id: str, project_id: str | None = None, wanted: StatusFilter | None = None
    ) -> Iterator[LogLine]:
        """Return the tenant's invitations with all their attempts, as on the log's pages, read as a stream."""
        projects = None if project_id is None else frozenset({project_id})
        scope = LogScope(tenant_id=tenant_id, project_ids=projects)
        return delivery_log.stream(
            self.db.session(), scope, with_shortened(wanted or StatusFilter(), self.vault, tenant_id)
        )

    def forget_project(self, tenant_id: str, project_id: str) -> None:
        """Cancel a deleted project's waiting invitations, and delete its stored data, in the host's transaction."""
        erasure.erase_records(self.db.session().connection(), tenant_id, project_id)

    def forget_tenant(self, tenant_id: str) -> None:
        """Cancel a deleted tenant's waiting invitations, and delete its stored data, in the host's transaction."""
        erasure.erase_records(self.db.session().connection(), tenant_id, None)

    def forget_person(self, tenant_id: str, address: str) -> Forgotten:
        """Erase a person's data in all of a tenant's projects, in the host's transaction. See the hook."""
        return erasure.forget_person(self.db.session().connection(), self.vault, tenant_id, address)


class Plugin:
    """The plugin of the entry-point group `survey.plugins`: passes each hook on to the application's extension."""

    @hookimpl
    def survey_init_app(self, app: Flask, db: SQLAlchemy, plugins: pluggy.PluginManager) -> None:
        OwnSMTP(app, db, plugins=plugins)

    @hookimpl
    def survey_send_invitations(self, batch: InvitationBatch) -> Receipt | None:
        return _current().send_invitations(batch)

    @hookimpl
    def survey_settings_links(self, tenant_id: str) -> Sequence[Link]:
        return _current().settings_links(tenant_id)

    @hookimpl
    def survey_project_links(self, tenant_id: str, project_id: str) -> Sequence[Link]:
        return _current().project_links(tenant_id, project_id)

    @hookimpl
    def survey_senders(self, tenant_id: str, project_id: str) -> Sequence[SenderChoice]:
        return _current().senders(tenant_id, project_id)

    @hookimpl
    def survey_estimate(
        self, tenant_id: str, project_id: str, sender: str | None, count: int, expires_at: datetime | None
    ) -> Estimate | None:
        return _current().estimate(tenant_id, project_id, sender, count, expires_at)

    @hookimpl
    def survey_known_statuses(self, tenant_id: str, project_id: str, counted: Sequence[str]) -> Sequence[KnownStatus]:
        return _current().known_statuses(tenant_id, project_id, counted)

    @hookimpl
    def survey_report_columns(self, tenant_id: str, project_id: str) -> Sequence[ReportColumn]:
        return _current().report_columns(tenant_id, project_id)

    @hookimpl
    def survey_invitation_statuses(
        self, tenant_id: str, project_id: str, references: Sequence[str] | None, wanted: StatusFilter | None
    ) -> Iterator[InvitationStatus]:
        return _current().invitation_statuses(tenant_id, project_id, references, wanted)

    @hookimpl
    def survey_project_deleted(self, tenant_id: str, project_id: str) -> None:
        _current().forget_project(tenant_id, project_id)

    @hookimpl
    def survey_tenant_deleted(self, tenant_id: str) -> None:
        _current().forget_tenant(tenant_id)

    @hookimpl
    def survey_person_deleted(self, tenant_id: str, address: str) -> None:
        _current().forget_person(tenant_id, address)


plugin = Plugin()


def _current() -> OwnSMTP:
    extension: OwnSMTP = current_app.extensions[KEY]
    return extension


__all__ = ["OwnSMTP", "plugin"]
