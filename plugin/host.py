"""The host as Own SMTP sees it: its hook implementations, with the contract's defaults where there are none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pluggy
from flask import Flask
from flask_babel import force_locale
from sqlalchemy.exc import SQLAlchemyError

from own_smtp.errors import ConfigurationError, ContentError, HookError
from own_smtp.hooks import host as host_specs
from own_smtp.hooks import survey
from own_smtp.hooks.events import (
    Action,
    Actor,
    InvitationStatus,
    Person,
    PlatformMail,
    Project,
    RelayAlert,
    RelayChange,
    Tenant,
)
from own_smtp.hooks.markers import PROJECT
from own_smtp.i18n import known_locale, undirected, zone_of
from own_smtp.operations.notice_limit import NoticeLimit, cause_of
from own_smtp.operations.notice_mails import alert_notice, message_for_flask_mail, notice_of
from own_smtp.states import TEST_PROJECT

log = logging.getLogger(__name__)

T = TypeVar("T")

HOST_PREFIX = "own_smtp_"


class ObjectPluginManager(pluggy.PluginManager):
    """For a host without pluggy: any method whose name begins like our hooks is an implementation."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        if name.startswith(HOST_PREFIX) and callable(getattr(plugin, name, None)):
            return pluggy.HookimplOpts(
                wrapper=False,
                hookwrapper=False,
                optionalhook=False,
                tryfirst=False,
                trylast=False,
                specname=None,
            )
        return super().parse_hookimpl_opts(plugin, name)


def manager_for(host: object | None) -> pluggy.PluginManager:
    """Return a plugin manager that knows only `host`. Raises `ConfigurationError` for a class in an object's place."""
    if isinstance(host, type):
        raise ConfigurationError(f"`host` must be an object, not a class: write {host.__name__}().")
    plugins = ObjectPluginManager(PROJECT)
    if host is not None:
        plugins.register(host)
    return plugins


def add_specifications(plugins: pluggy.PluginManager) -> None:
    """Add our specifications, and refuse implementations that none of them describes.

    Raises `pluggy.PluginValidationError` for a misspelt hook, and for one without `@hookimpl`: none would be called.
    """
    for specs in (host_specs, survey):
        if not _knows(plugins, specs):
            plugins.add_hookspecs(specs)
    plugins.check_pending()
    for _name, plugin in plugins.list_name_plugin():
        if plugin is not None:  # which stands for one that the host has blocked
            _check_marked(plugins, plugin)


def _check_marked(plugins: pluggy.PluginManager, plugin: object) -> None:
    marked = {caller.name for caller in plugins.get_hookcallers(plugin) or ()}
    for name in sorted({name for name in dir(plugin) if name.startswith(HOST_PREFIX)} - marked):
        if hasattr(host_specs, name) and callable(getattr(plugin, name)):
            raise pluggy.PluginValidationError(
                plugin, f"{name!r} in plugin {plugin!r} would never be called: put @hookimpl above it"
            )


def _readable(tenant: Tenant) -> Tenant:
    """Return a tenant whose name scrambles no sentence around it, in a language with texts and a zone that exists."""
    zone = zone_of(tenant.timezone).key
    return replace(tenant, name=undirected(tenant.name), locale=known_locale(tenant.locale), timezone=zone)


def _knows(plugins: pluggy.PluginManager, specs: object) -> bool:
    name = next(name for name in dir(specs) if name.startswith(("survey_", HOST_PREFIX)))
    caller = getattr(plugins.hook, name, None)
    return caller is not None and caller.spec is not None


def _only(kind: type[T], hook: pluggy.HookCaller, answer: object) -> T | None:
    """Return an answer of the contract's kind, or raise `HookError` with what it is instead."""
    if answer is None or isinstance(answer, kind):
        return answer
    raise HookError(f"The host's {hook.name} must give {kind.__name__}, and gave {type(answer).__name__}.")


def _all(kind: type[T], hook: pluggy.HookCaller, answers: Iterable[object] | None) -> list[T]:
    return [item for answer in answers or () if (item := _only(kind, hook, answer)) is not None]


@dataclass(frozen=True, slots=True)
class _NoticeLetter:
    """What a notice to people of a tenant is about."""

    tenant_id: str
    relay_id: int
    cause: str
    saved_by: str | None


class HookedHost:
    """The host's answers. What a listener raises is logged, and never stops a delivery."""

    def __init__(
        self,
        app: Flask,
        plugins: pluggy.PluginManager,
        count_failure: Callable[[str], None] = lambda _hook: None,
        limit: NoticeLimit | None = None,
    ) -> None:
        self._app = app
        self._count_failure = count_failure
        self._limit = limit
        self.hook = plugins.hook
        """The host's own answers, without the defaults."""

    def actor(self) -> Actor | None:
        """Return who is behind the current request; `None` when nobody is signed in."""
        found = _only(Actor, self.hook.own_smtp_actor, self.hook.own_smtp_actor())
        return found and replace(found, name=undirected(found.name))

    def sign_in_url(self, next_path: str) -> str | None:
        """Return where to sign in and go on to `next_path`; `None` when the host does not say."""
        return _only(str, self.hook.own_smtp_sign_in_url, self.hook.own_smtp_sign_in_url(next_path=next_path))

    def may(self, actor: Actor, action: Action, project_id: str | None = None) -> bool:
        """Return whether `actor` may do `action`."""
        answer = self.hook.own_smtp_may(actor=actor, action=action, project_id=project_id)
        return action is Action.VIEW if answer is None else bool(answer)

    def tenant(self, tenant_id: str) -> Tenant:
        """Return the tenant; where the host says nothing, its id as its name, in English and UTC.

        Its language is one that there are texts in, as Babel writes it.
        """
        answer = self.hook.own_smtp_tenant(tenant_id=tenant_id)
        return _readable(
            _only(Tenant, self.hook.own_smtp_tenant, answer) or Tenant(tenant_id=tenant_id, name=tenant_id)
        )

    def all_tenants(self) -> Sequence[Tenant]:
        """Return the platform's tenants as far as the host names them all."""
        return [_readable(found) for found in _all(Tenant, self.hook.own_smtp_tenants, self.hook.own_smtp_tenants())]

    def people(self, tenant_id: str) -> Sequence[Person]:
        """Return the tenant's people as far as the host names them."""
        found = _all(Person, self.hook.own_smtp_people, self.hook.own_smtp_people(tenant_id=tenant_id))
        return [replace(person, name=undirected(person.name)) for person in found]

    def user_name(self, tenant_id: str, user_id: str) -> str | None:
        """Return what somebody is called who did something in the tenant; `None` when the host does not say."""
        name: str | None = self.hook.own_smtp_user_name(tenant_id=tenant_id, user_id=user_id)
        return undirected(name) if name else name

    def projects(self, tenant_id: str) -> Sequence[Project]:
        """Return the tenant's projects."""
        found = _all(Project, self.hook.own_smtp_projects, self.hook.own_smtp_projects(tenant_id=tenant_id))
        return [replace(project, title=undirected(project.title)) for project in found]

    def send_platform_mail(self, mail: PlatformMail) -> bool:
        """Send through the platform's own service; `False` when there is none."""
        if self.hook.own_smtp_send_platform_mail(mail=mail):
            return True
        flask_mail = self._app.extensions.get("mail")
        if flask_mail is None:
            log.error("A notice was not sent: the host has neither own_smtp_send_platform_mail nor Flask-Mail.")
            return False
        flask_mail.send(message_for_flask_mail(mail, self._app.config))
        return True

    @property
    def wants_changes(self) -> bool:
        """Whether anybody implements `own_smtp_invitations_changed`."""
        return bool(self.hook.own_smtp_invitations_changed.get_hookimpls())

    def invitations_changed(self, changes: Sequence[InvitationStatus]) -> bool:
        """Tell the host; `False` when it raised. Test mails are none of its business."""
        known = [change for change in changes if change.project_id != TEST_PROJECT]
        if changes and not known:
            return True
        return self._told(self.hook.own_smtp_invitations_changed, changes=known)

    def relay_changed(self, change: RelayChange) -> bool:
        """Tell the host; where it does not listen, people of the tenant get a notice by the platform's own mail.

        `False` when it must be told again. What a person did is not: that person sees it.
        """
        if self.hook.own_smtp_relay_changed.get_hookimpls():
            return self._told(self.hook.own_smtp_relay_changed, change=change)
        if not change.is_automatic:
            return True
        letter = _NoticeLetter(change.tenant_id, change.relay_id, cause_of(change), change.address)
        return self._mail_notices(letter, lambda address: notice_of(replace(change, address=address)))

    def relay_alerted(self, alert: RelayAlert) -> bool:
        """Tell the host; where it does not listen, people of the tenant. `False` when it must be told again."""
        if self.hook.own_smtp_relay_alert.get_hookimpls():
            return self._told(self.hook.own_smtp_relay_alert, alert=alert)
        letter = _NoticeLetter(alert.tenant_id, alert.relay_id, alert.cause, alert.address)
        zone = self.tenant(alert.tenant_id).timezone
        return self._mail_notices(letter, lambda address: alert_notice(replace(alert, address=address), zone))

    def notice_recipients(self, tenant_id: str, relay_id: int, saved_by: str | None) -> list[str]:
        """Return whom the platform mails about a relay: people of the tenant, as the host names them.

        `saved_by` is the address of the person who last saved the relay.
        """
        answers = self.hook.own_smtp_notice_recipients(tenant_id=tenant_id, relay_id=relay_id)
        if answers is None:
            return [saved_by] if saved_by else []
        return list(dict.fromkeys(_all(str, self.hook.own_smtp_notice_recipients, answers)))

    def _mail_notices(self, letter: _NoticeLetter, compose: Callable[[str], PlatformMail | None]) -> bool:
        """Whether it is worth no further try: a platform without mail is said to be one, and left alone."""
        try:
            with force_locale(self.tenant(letter.tenant_id).locale):
                found = self.notice_recipients(letter.tenant_id, letter.relay_id, letter.saved_by)
                mails = [mail for address in found if (mail := compose(address)) is not None]
            return not mails or self._send_within_limit(letter, mails)
        except ContentError as error:  # it is the same the next time
            log.error("A notice cannot be written, and is not tried again: %s", error)
            return True
        except Exception:  # the host's mail may fail in any way, and must not stop a delivery
            log.exception("A notice could not be sent.")
            return False

    def _send_within_limit(self, letter: _NoticeLetter, mails: Sequence[PlatformMail]) -> bool:
        if self._limit is not None and not self._limit.take(letter.tenant_id, letter.cause):
            log.warning("Too many notices for tenant %s within an hour: %s.", letter.tenant_id, letter.cause)
            return True
        sent = 0
        try:
            for mail in mails:
                self.send_platform_mail(mail)
                sent += 1
        finally:
            if not sent and self._limit is not None:
                self._limit.give_back(letter.tenant_id, letter.cause)
        return True

    def layout(self) -> str | None:
        """Return the template to extend; `None` means our own."""
        layout: str | None = self.hook.own_smtp_layout()
        return layout

    def _told(self, hook: pluggy.HookCaller, **arguments: Any) -> bool:
        try:
            hook(**arguments)
        except Exception:  # the host's code may raise anything, and must not stop a delivery
            log.exception(
                "The host's %s raised; what it missed is told again, unless a person did it.",
                hook.name,
                extra={"hook": hook.name},
            )
            self._note_failure(hook.name)
            return False
        return True

    def _note_failure(self, name: str) -> None:
        try:
            self._count_failure(name)
        except SQLAlchemyError as error:
            log.warning("It could not be counted that a hook raised: %s", type(error).__name__)
