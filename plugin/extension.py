"""`OwnSMTP`: the one place where the parts are put together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pluggy
from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from own_smtp import (
    confirmation_mails,
    confirmations,
    counters,
    counts,
    delivery_log,
    forgetting,
    ledger,
    offers,
    outbox,
    relay_test_runs,
    relay_tests,
    relays,
    reports,
    statuses,
)
from own_smtp.clock import read_clock
from own_smtp.config import Settings
from own_smtp.current import KEY
from own_smtp.delivery import capped
from own_smtp.delivery_log import LogLine
from own_smtp.dispatcher import Dispatcher
from own_smtp.engines import for_workers
from own_smtp.errors import ConfigurationError
from own_smtp.estimates import estimate
from own_smtp.forecast import finish_time
from own_smtp.forgetting import Forgotten
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
from own_smtp.hosting import HookedHost, add_specifications, manager_for
from own_smtp.journal import Machine
from own_smtp.knowledge import known_statuses
from own_smtp.links import batch_url, project_links, settings_links
from own_smtp.network import NetworkPolicy
from own_smtp.platform import platform_for
from own_smtp.policy import Policy
from own_smtp.profiles import Limits
from own_smtp.secrets import Vault, derive_development_key
from own_smtp.senders import relay_for, relay_named, waits_for
from own_smtp.sought import with_shortened
from own_smtp.submission import resolver_for
from own_smtp.surroundings import Surroundings
from own_smtp.texts import ensure_babel
from own_smtp.views import blueprint
from own_smtp.wakeup import Wakeup
from own_smtp.walks import LogScope

log = logging.getLogger(__name__)

_TO_WAKE = "own_smtp_to_wake"
"""Where a session keeps the relays whose drains are to be enqueued after its commit."""


class OwnSMTP:
    """The extension.

    `OwnSMTP(app, db)` for a host with hook implementations of its own passes them in `plugins`; one without pluggy
    passes an object with methods of the same names in `host`. Raises `ConfigurationError` when a setting is missing
    or wrong, and `pluggy.PluginValidationError` for a hook that does not exist.
    """

    def __init__(
        self,
        app: Flask | None = None,
        db: SQLAlchemy | None = None,
        *,
        host: object | None = None,
        plugins: pluggy.PluginManager | None = None,
    ) -> None:
        if app is not None and db is not None:
            self.init_app(app, db, host=host, plugins=plugins)

    def __repr__(self) -> str:
        return f"<OwnSMTP for {self._app.name!r}>" if hasattr(self, "_app") else "<OwnSMTP without an application>"

    def init_app(
        self,
        app: Flask,
        db: SQLAlchemy,
        *,
        host: object | None = None,
        plugins: pluggy.PluginManager | None = None,
    ) -> None:
        """Set up the extension for `app`, whose configuration must be complete."""
        if KEY in app.extensions:
            raise ConfigurationError("Own SMTP is set up for this application already.")
        self._app, self.db = app, db
        self.settings = Settings.from_config(app.config)
        self.vault = Vault.from_keys(_encryption_keys(app, self.settings))
        _check_public_url(app, self.settings)
        _check_metrics(self.settings)
        self.rules = Policy.of(self.settings, app.config)
        manager = plugins or manager_for(host)
        add_specifications(manager)
        self.host = HookedHost(app, manager, self._count_hook_failure)
        self.wakeup = Wakeup(self.settings)
        app.extensions[KEY] = self
        app.register_blueprint(blueprint, url_prefix=self.settings.url_prefix)
        ensure_babel(app)
        event.listen(db.session, "after_commit", self._wake_committed)
        event.listen(db.session, "after_soft_rollback", _forget)

    # What hosts ask (own_smtp.hooks.survey)

    def send_invitations(self, batch: InvitationBatch) -> Receipt | None:
        """Take over a batch, or return `None` when the platform's own mail is to send it. See the hook of that name."""
        session = self.db.session()
        chosen = relay_for(session, batch)
        if chosen is None:
            return None
        relay, route = chosen
        profile = relays.load_profile(session.connection(), relay.id, self.vault)
        if profile is None:
            return None
        receipt = outbox.add(
            session.connection(), batch, profile, fallback_after=route.fallback_after if route else None
        )
        session.info.setdefault(_TO_WAKE, set()).add(relay.id)
        waits = waits_for(relay) or offers.refusal(session, self.rules, batch.tenant_id)
        finishes_at = self._finishes_at(relay.id, profile.limits)
        return replace(receipt, waits_for=waits, finishes_at=finishes_at, url=batch_url(batch, receipt.batch_id))

    def _finishes_at(self, relay_id: int, limits: Limits) -> datetime | None:
        connection = self.db.session().connection()
        waiting = counts.count_waiting(connection, relay_id)
        return finish_time(
            capped(limits, self.rules.in_force(connection)),
            ledger.kept_pace(connection, relay_id),
            waiting,
            read_clock(connection),
        )

    def settings_links(self, tenant_id: str) -> Sequence[Link]:
        """Return the pages for the tenant's settings menu."""
        links = settings_links(self.host, tenant_id)
        return links if links and self._has_pages(tenant_id) else []

    def project_links(self, tenant_id: str, project_id: str) -> Sequence[Link]:
        """Return the pages for the project's menu."""
        links = project_links(self.host, tenant_id, project_id)
        return links if links and self._has_pages(tenant_id) else []

    def _has_pages(self, tenant_id: str) -> bool:
        """Look beside the host's session: its menus must work before our tables are there."""
        try:
            with Session(self.db.engine) as session:
                return offers.has_pages(session, self.host, self.rules, tenant_id)
        except DBAPIError as error:
            log.warning("Whether tenant %s may use own mail servers is not known: %s", tenant_id, type(error).__name__)
            return True

    def senders(self, tenant_id: str, project_id: str) -> Sequence[SenderChoice]:
        """Return the relays that the acting person may use in the project, as senders for the "send" page.

        Outside a request all of the tenant's are returned.
        """
        return offers.senders(self.db.session(), self.host, self.rules, tenant_id, project_id)

    def estimate(
        self, tenant_id: str, project_id: str, sender: str | None, count: int, expires_at: datetime | None = None
    ) -> Estimate | None:
        """Return by when `count` invitations would have left; `None` when the platform's own mail would send them."""
        session = self.db.session()
        relay = relay_named(session, tenant_id, project_id, sender)
        if relay is None:
            return None
        zone = self.host.tenant(tenant_id).timezone
        return estimate(session, self.rules.in_force(session), relay, count, expires_at=expires_at, timezone=zone)

    def known_statuses(self, tenant_id: str, project_id: str, counted: Sequence[str] = ()) -> Sequence[KnownStatus]:
        """Return what can be known of invitations, by route and status, with the reasons."""
        return known_statuses(reports.ways_of(self.db.session(), tenant_id, project_id), counted)

    def report_columns(self, tenant_id: str, project_id: str) -> Sequence[ReportColumn]:
        """Return which statuses can be known; empty when nothing was sent through a relay and none is chosen."""
        return reports.report_columns() if reports.ways_of(self.db.session(), tenant_id, project_id) else []

    def invitation_statuses(
        self,
        tenant_id: str,
        project_id: str,
        references: Sequence[str] | None = None,
        wanted: StatusFilter | None = None,
    ) -> Iterator[InvitationStatus]:
        """Return what is known of the project's invitations, newest batch first, or as `wanted` says."""
        sought = wanted and with_shortened(wanted, self.vault, tenant_id)
        return statuses.invitation_statuses(self.db.session(), tenant_id, project_id, references, sought)

    def delivery_log(
        self, tenant_id: str, project_id: str | None = None, wanted: StatusFilter | None = None
    ) -> Iterator[LogLine]:
        """Return the tenant's invitations with all their attempts, as the log's pages show them, read as a stream."""
        projects = None if project_id is None else frozenset({project_id})
        scope = LogScope(tenant_id=tenant_id, project_ids=projects)
        return delivery_log.stream(
            self.db.session(), scope, with_shortened(wanted or StatusFilter(), self.vault, tenant_id)
        )

    def forget_project(self, tenant_id: str, project_id: str) -> None:
        """The project is deleted: cancel what waits and delete what is kept of it, in the host's transaction."""
        outbox.forget(self.db.session().connection(), tenant_id, project_id)

    def forget_tenant(self, tenant_id: str) -> None:
        """The tenant is deleted: cancel what waits and delete what is kept of it, in the host's transaction."""
        outbox.forget(self.db.session().connection(), tenant_id, None)

    def forget_person(self, tenant_id: str, address: str) -> Forgotten:
        """A person is to be forgotten in all of a tenant's projects, in the host's transaction. See the hook."""
        return forgetting.forget_person(self.db.session().connection(), self.vault, tenant_id, address)

    # What pages and workers ask (own_smtp.current.Extension)

    def wake(self, relay_id: int) -> bool:
        """Enqueue a drain, best effort."""
        return self.wakeup.wake(relay_id)

    def awake(self, relay_id: int) -> None:
        """A drain's job has begun."""
        self.wakeup.awake(relay_id)

    def enqueue(self, job: str, *arguments: int) -> bool:
        """Enqueue a job; `False` means that Redis did not answer."""
        return self.wakeup.enqueue(job, *arguments)

    def queue_depth(self) -> int | None:
        """Return how many jobs wait; `None` when Redis does not answer."""
        return self.wakeup.depth()

    def queue_is_up(self) -> bool:
        """Whether Redis answers."""
        return self.wakeup.is_up()

    @property
    def policy(self) -> NetworkPolicy:
        """What tenants may connect to at this moment."""
        return NetworkPolicy.from_settings(self.in_force())

    def in_force(self) -> Settings:
        """Return the settings with what administrators changed. Read beside the session: no transaction begins."""
        with self.db.engine.connect() as connection:
            return self.rules.in_force(connection)

    @cached_property
    def surroundings(self) -> Surroundings:
        """What drains need. Made in workers only: it prepares the journal's folder."""
        folder = self.settings.journal_dir or Path(self._app.instance_path) / "own-smtp"
        return Surroundings(
            engine=self._engine(),
            settings=self.settings,
            vault=self.vault,
            machine=Machine.at(folder),
            policy=self.rules,
            resolver=lambda settings: resolver_for(NetworkPolicy.from_settings(settings)),
            listener=self.host,
            context=self._context,
            resolve_platform=resolver_for(NetworkPolicy.trusting()),
            platform=platform_for(self._app.config),
            urgent=self._send_urgent,
        )

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """What finds the work that nobody was woken for."""
        return Dispatcher(self.surroundings, self.wakeup, self._session)

    def _send_urgent(self) -> None:
        with self._app.app_context():
            for test_id in relay_tests.unstarted(self.db.session()):
                relay_test_runs.run(test_id, self)
            for confirmation_id in confirmations.unsent(self.db.session()):
                confirmation_mails.deliver(confirmation_id, self)

    def _session(self) -> Session:
        return self.db.session()

    def _context(self) -> AbstractContextManager[object]:
        return self._app.app_context()

    def _count_hook_failure(self, hook: str) -> None:
        with self._app.app_context():
            engine = self.db.engine
        with engine.begin() as connection:
            counters.add(connection, counters.HOOK_FAILURES, 1, hook)

    def _engine(self) -> Engine:
        with self._app.app_context():
            engine = self.db.engine
        return for_workers(engine)

    def _wake_committed(self, session: Session) -> None:
        if session.in_nested_transaction():
            return  # a savepoint was released: nobody can see the batch yet
        for relay_id in session.info.pop(_TO_WAKE, ()):
            if not self.wakeup.wake(relay_id):
                break  # the dispatcher finds all of them; the request must not wait for each


def _forget(session: Session, _previous: Any) -> None:
    if not session.in_transaction() or not session.in_nested_transaction():
        session.info.pop(_TO_WAKE, None)


def _encryption_keys(app: Flask, settings: Settings) -> tuple[str, ...]:
    if not app.secret_key:
        raise ConfigurationError(
            "Set SECRET_KEY: sessions and forms need it. Make one with"
            " `python -c 'import secrets; print(secrets.token_urlsafe(32))'`."
        )
    if settings.encryption_keys:
        return settings.encryption_keys
    if app.debug or app.testing:
        log.warning("OWN_SMTP_ENCRYPTION_KEYS is not set: passwords are encrypted with a key made from SECRET_KEY.")
        return (derive_development_key(str(app.secret_key)),)
    raise ConfigurationError(
        "Set OWN_SMTP_ENCRYPTION_KEYS: stored passwords are encrypted with it. Make one with `flask own-smtp make-key`."
    )


def _check_public_url(app: Flask, settings: Settings) -> None:
    if settings.public_url is None and not (app.debug or app.testing):
        raise ConfigurationError(
            "Set OWN_SMTP_PUBLIC_URL to where people reach the platform, such as https://surveys.example.org: links in"
            " mails are made from it, never from a request."
        )


def _check_metrics(settings: Settings) -> None:
    if settings.metrics_token is not None and find_spec("prometheus_client") is None:
        raise ConfigurationError(
            "OWN_SMTP_METRICS_TOKEN is set, but prometheus-client is missing: pip install 'flask-own-smtp[metrics]'."
        )


class Plugin:
    """What the entry-point group `survey.plugins` loads: each hook is passed on to the application's extension."""

    @hookimpl
    def survey_init_app(self, app: Flask, db: SQLAlchemy, plugins: pluggy.PluginManager) -> None:
        OwnSMTP(app, db, plugins=plugins)

    @hookimpl
    def survey_send_invitations(self, batch: InvitationBatch) -> Receipt | None:
        return _present().send_invitations(batch)

    @hookimpl
    def survey_settings_links(self, tenant_id: str) -> Sequence[Link]:
        return _present().settings_links(tenant_id)

    @hookimpl
    def survey_project_links(self, tenant_id: str, project_id: str) -> Sequence[Link]:
        return _present().project_links(tenant_id, project_id)

    @hookimpl
    def survey_senders(self, tenant_id: str, project_id: str) -> Sequence[SenderChoice]:
        return _present().senders(tenant_id, project_id)

    @hookimpl
    def survey_estimate(
        self, tenant_id: str, project_id: str, sender: str | None, count: int, expires_at: datetime | None
    ) -> Estimate | None:
        return _present().estimate(tenant_id, project_id, sender, count, expires_at)

    @hookimpl
    def survey_known_statuses(self, tenant_id: str, project_id: str, counted: Sequence[str]) -> Sequence[KnownStatus]:
        return _present().known_statuses(tenant_id, project_id, counted)

    @hookimpl
    def survey_report_columns(self, tenant_id: str, project_id: str) -> Sequence[ReportColumn]:
        return _present().report_columns(tenant_id, project_id)

    @hookimpl
    def survey_invitation_statuses(
        self, tenant_id: str, project_id: str, references: Sequence[str] | None, wanted: StatusFilter | None
    ) -> Iterator[InvitationStatus]:
        return _present().invitation_statuses(tenant_id, project_id, references, wanted)

    @hookimpl
    def survey_project_deleted(self, tenant_id: str, project_id: str) -> None:
        _present().forget_project(tenant_id, project_id)

    @hookimpl
    def survey_tenant_deleted(self, tenant_id: str) -> None:
        _present().forget_tenant(tenant_id)

    @hookimpl
    def survey_person_deleted(self, tenant_id: str, address: str) -> None:
        _present().forget_person(tenant_id, address)


plugin = Plugin()


def _present() -> OwnSMTP:
    extension: OwnSMTP = current_app.extensions[KEY]
    return extension


__all__ = ["OwnSMTP", "plugin"]
