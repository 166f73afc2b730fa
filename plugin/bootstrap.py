"""The composition root: creates the parts of the extension, and offers them to pages and workers."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pluggy
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from redis import Redis
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from own_smtp.current import KEY
from own_smtp.delivery.workers.dispatcher import Dispatcher
from own_smtp.delivery.workers.urgent import WorkerUrgentTasks
from own_smtp.delivery.workers.wakeup import Wakeup
from own_smtp.errors import ConfigurationError
from own_smtp.host import HookedHost
from own_smtp.i18n import ensure_babel
from own_smtp.operations.notice_limit import NoticeLimit
from own_smtp.outbox.journal import Machine
from own_smtp.plugin_manager import add_specifications, manager_for
from own_smtp.relays.platform_server import platform_for
from own_smtp.relays.policy import Policy
from own_smtp.runtime import Runtime
from own_smtp.settings import Settings
from own_smtp.smtp.network import NetworkPolicy
from own_smtp.smtp.submission import resolver_for
from own_smtp.storage import counters
from own_smtp.storage.encryption import Vault, derive_development_key
from own_smtp.storage.engine import beside, for_workers
from own_smtp.web.views import blueprint

_TO_ENQUEUE = "own_smtp_to_wake"
"""The key in `Session.info` of the relays whose drains are enqueued after the commit, by the queue of their
application: several applications may share one database."""


class Components:
    """The parts for one application: the implementation of `own_smtp.current.Extension`."""

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
        elif any(given is not None for given in (app, db, host, plugins)):
            raise ConfigurationError(
                "OwnSMTP needs the application and its database: `OwnSMTP(app, db, host=...)`, or `OwnSMTP()` and later"
                " `init_app(app, db, host=...)`."
            )

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
        if host is not None and plugins is not None:
            raise ConfigurationError("Give OwnSMTP either `host` or `plugins`: register the host with the plugins.")
        self._app, self.db = app, db
        self.settings = Settings.from_config(app.config)
        self.vault = Vault.from_keys(encryption_keys(app, self.settings))
        check_public_url(app, self.settings)
        check_redis_url(self.settings)
        check_metrics(self.settings)
        self.policy = Policy.of(self.settings, app.config)
        manager = plugins or manager_for(host)
        add_specifications(manager)
        limit = NoticeLimit(self._host_engine, self.settings.notices_per_tenant)
        self.host = HookedHost(app, manager, self._count_hook_failure, limit)
        self.wakeup = Wakeup(self.settings)
        app.extensions[KEY] = self
        app.register_blueprint(blueprint, url_prefix=self.settings.url_prefix)
        ensure_babel(app)
        # SQLAlchemy never removes listeners: one with a reference to this object would keep the application alive. The
        # same function for a second application is registered once.
        event.listen(db.session, "after_commit", _enqueue_committed)
        event.listen(db.session, "after_soft_rollback", _discard)

    def enqueue_drain(self, relay_id: int) -> bool:
        """Enqueue a drain, best effort; return whether Redis answered."""
        return self.wakeup.enqueue_drain(relay_id)

    def enqueue_drain_after_commit(self, session: Session, relay_id: int) -> None:
        """Enqueue a drain once the session's transaction is committed; a rollback discards it."""
        session.info.setdefault(_TO_ENQUEUE, {}).setdefault(self.wakeup, set()).add(relay_id)

    def enqueue(self, job: str, *arguments: int) -> bool:
        """Enqueue a job; `False` means that Redis did not answer in time."""
        return self.wakeup.enqueue(job, *arguments)

    def queue_depth(self) -> int | None:
        """Return the number of waiting jobs; `None` if Redis does not answer."""
        return self.wakeup.depth()

    def queue_problem(self) -> str | None:
        """Return why jobs would not be accepted or run, as a `QueueProblem`; `None` if they would."""
        return self.wakeup.problem()

    def queue_is_up(self) -> bool:
        """Whether jobs are accepted and run."""
        return self.queue_problem() is None

    @property
    def network_policy(self) -> NetworkPolicy:
        """The current policy for tenants' connections."""
        return NetworkPolicy.from_settings(self.in_force())

    def in_force(self) -> Settings:
        """Return the settings with administrators' changes. They are read outside the session: it begins no
        transaction."""
        with beside(self.db) as connection:
            return self.policy.in_force(connection)

    @cached_property
    def runtime(self) -> Runtime:
        """The dependencies of drains. Created in workers only, because it prepares the journal's folder."""
        folder = self.settings.journal_dir or Path(self._app.instance_path) / "own-smtp"
        return Runtime(
            engine=self._engine(),
            settings=self.settings,
            vault=self.vault,
            machine=Machine.at(folder),
            policy=self.policy,
            resolver=lambda settings: resolver_for(NetworkPolicy.from_settings(settings)),
            listener=self.host,
            context=self._context,
            resolve_platform=resolver_for(NetworkPolicy.trusting()),
            platform=platform_for(self._app.config),
            urgent=WorkerUrgentTasks(self, self._context),
        )

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher, which finds work that no job was enqueued for."""
        return Dispatcher(self.runtime, self.wakeup, self._session)

    def _session(self) -> Session:
        return self.db.session()

    def _context(self) -> AbstractContextManager[object]:
        return self._app.app_context()

    def _count_hook_failure(self, hook: str) -> None:
        with self._host_engine().begin() as connection:
            counters.increment(connection, counters.HOOK_FAILURES, 1, hook)

    def _engine(self) -> Engine:
        return for_workers(self._host_engine())

    def _host_engine(self) -> Engine:
        with self._app.app_context():
            return self.db.engine


def _enqueue_committed(session: Session) -> None:
    if session.in_nested_transaction():
        return  # only a savepoint was released: the batch is not visible to others yet
    for wakeup, relay_ids in session.info.pop(_TO_ENQUEUE, {}).items():
        for relay_id in relay_ids:
            if not wakeup.enqueue_drain(relay_id):
                break  # Redis does not answer; the dispatcher will find all of them, and the request must not wait


def _discard(session: Session, _previous: Any) -> None:
    if not session.in_transaction() or not session.in_nested_transaction():
        session.info.pop(_TO_ENQUEUE, None)


log = logging.getLogger(__name__)


def encryption_keys(app: Flask, settings: Settings) -> tuple[str, ...]:
    """Return the configured keys of the vault; in development, a derived one. Raises `ConfigurationError`."""
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


def check_public_url(app: Flask, settings: Settings) -> None:
    """Require the URL with which links in emails begin. Raises `ConfigurationError`."""
    if settings.public_url is None and not (app.debug or app.testing):
        raise ConfigurationError(
            "Set OWN_SMTP_PUBLIC_URL to where people reach the platform, such as https://surveys.example.org: links in"
            " mails are made from it, never from a request."
        )


def check_redis_url(settings: Settings) -> None:
    """Require a valid Redis URL at the start; otherwise a commit of the host would fail later. Raises
    `ConfigurationError`."""
    try:
        # This does not connect yet. A parameter that the client does not know, or cannot use, is detected only here.
        pool = Redis.from_url(settings.redis_url).connection_pool
        connection: Any = pool.make_connection()
        connection.pack_command("SET", "text", 1)
        if pool.connection_kwargs.get("decode_responses"):
            raise ValueError("RQ reads bytes.")
    except Exception:  # noqa: BLE001 -- wrong parameters raise different errors
        # The message contains neither the URL nor the reason, which may quote it, because of the password in it.
        raise ConfigurationError(
            "OWN_SMTP_REDIS_URL cannot be read. It looks like redis://:password@localhost:6379/0, where special"
            " characters of the password are percent-encoded, and any parameters behind a ? are those of redis-py."
        ) from None


def check_metrics(settings: Settings) -> None:
    """Require `prometheus-client` if the metrics page is enabled. Raises `ConfigurationError`."""
    if settings.metrics_token is not None and find_spec("prometheus_client") is None:
        raise ConfigurationError(
            "OWN_SMTP_METRICS_TOKEN is set, but prometheus-client is missing: pip install 'flask-own-smtp[metrics]'."
        )
