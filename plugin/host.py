"""The adapter for the host: its hook implementations, with the contract's defaults for missing ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pluggy
from flask import Flask
from flask_babel import force_locale
from sqlalchemy.exc import SQLAlchemyError

from own_smtp.errors import ContentError, HookError
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
from own_smtp.i18n import known_locale, undirected, zone_of
from own_smtp.operations.notice_limit import NoticeLimit, cause_of
from own_smtp.operations.notice_mails import alert_notice, message_for_flask_mail, notice_of
from own_smtp.states import TEST_PROJECT

log = logging.getLogger(__name__)

T = TypeVar("T")


def _readable(tenant: Tenant) -> Tenant:
    """Return a tenant with a directionally isolated name, in a known language and a known time zone."""
    zone = zone_of(tenant.timezone).key
    return replace(tenant, name=undirected(tenant.name), locale=known_locale(tenant.locale), timezone=zone)


def _only(kind: type[T], hook: pluggy.HookCaller, answer: object) -> T | None:
    """Return an answer of the expected type, or raise `HookError` with the actual type."""
    if answer is None or isinstance(answer, kind):
        return answer
    raise HookError(f"The host's {hook.name} must give {kind.__name__}, and gave {type(answer).__name__}.")


def _all(kind: type[T], hook: pluggy.HookCaller, answers: Iterable[object] | None) -> list[T]:
    return [item for answer in answers or () if (item := _only(kind, hook, answer)) is not None]


@dataclass(frozen=True, slots=True)
class _NoticeSubject:
    """The subject of a notice to people of a tenant."""

    tenant_id: str
    relay_id: int
    cause: str
    saved_by: str | None


class HookedHost:
    """The host's answers. Exceptions of a listener are logged, and never stop a delivery."""

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
        """The host's own hook callers, without the defaults."""

    def actor(self) -> Actor | None:
        """Return the person of the current request; `None` if signed out."""
        found = _only(Actor, self.hook.own_smtp_actor, self.hook.own_smtp_actor())
        return found and replace(found, name=undirected(found.name))

    def sign_in_url(self, next_path: str) -> str | None:
        """Return the URL of the sign-in page that continues to `next_path`; `None` if the host has none."""
        return _only(str, self.hook.own_smtp_sign_in_url, self.hook.own_smtp_sign_in_url(next_path=next_path))

    def may(self, actor: Actor, action: Action, project_id: str | None = None) -> bool:
        """Return whether `actor` may do `action`."""
        answer = self.hook.own_smtp_may(actor=actor, action=action, project_id=project_id)
        return action is Action.VIEW if answer is None else bool(answer)

    def tenant(self, tenant_id: str) -> Tenant:
        """Return the tenant; if the host does not know it, with its id as the name, in English and UTC.

        Its language is one that has a catalogue, in Babel's notation.
        """
        answer = self.hook.own_smtp_tenant(tenant_id=tenant_id)
        return _readable(
            _only(Tenant, self.hook.own_smtp_tenant, answer) or Tenant(tenant_id=tenant_id, name=tenant_id)
        )

    def all_tenants(self) -> Sequence[Tenant]:
        """Return the platform's tenants; empty if the host does not list them."""
        return [_readable(found) for found in _all(Tenant, self.hook.own_smtp_tenants, self.hook.own_smtp_tenants())]

    def people(self, tenant_id: str) -> Sequence[Person]:
        """Return the tenant's people; empty if the host does not list them."""
        found = _all(Person, self.hook.own_smtp_people, self.hook.own_smtp_people(tenant_id=tenant_id))
        return [replace(person, name=undirected(person.name)) for person in found]

    def user_name(self, tenant_id: str, user_id: str) -> str | None:
        """Return the name of a person who has acted in the tenant; `None` if the host does not know it."""
        name: str | None = self.hook.own_smtp_user_name(tenant_id=tenant_id, user_id=user_id)
        return undirected(name) if name else name

    def projects(self, tenant_id: str) -> Sequence[Project]:
        """Return the tenant's projects."""
        found = _all(Project, self.hook.own_smtp_projects, self.hook.own_smtp_projects(tenant_id=tenant_id))
        return [replace(project, title=undirected(project.title)) for project in found]

    def send_platform_mail(self, mail: PlatformMail) -> bool:
        """Send through the platform's own mail service; `False` if there is none."""
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
        """Whether the host implements `own_smtp_invitations_changed`."""
        return bool(self.hook.own_smtp_invitations_changed.get_hookimpls())

    def invitations_changed(self, changes: Sequence[InvitationStatus]) -> bool:
        """Notify the host, except about test mails; `False` if it raised."""
        known = [change for change in changes if change.project_id != TEST_PROJECT]
        if changes and not known:
            return True
        return self._notify(self.hook.own_smtp_invitations_changed, changes=known)

    def relay_changed(self, change: RelayChange) -> bool:
        """Notify the host; without an implementation, the tenant's people by the platform's mail service.

        `False` if it must be retried. Without an implementation, changes by a person cause no notice: that person sees
        them.
        """
        if self.hook.own_smtp_relay_changed.get_hookimpls():
            return self._notify(self.hook.own_smtp_relay_changed, change=change)
        if not change.is_automatic:
            return True
        subject = _NoticeSubject(change.tenant_id, change.relay_id, cause_of(change), change.address)
        return self._mail_notices(subject, lambda address: notice_of(replace(change, address=address)))

    def relay_alerted(self, alert: RelayAlert) -> bool:
        """Notify the host; without an implementation, the tenant's people. `False` if it must be retried."""
        if self.hook.own_smtp_relay_alert.get_hookimpls():
            return self._notify(self.hook.own_smtp_relay_alert, alert=alert)
        subject = _NoticeSubject(alert.tenant_id, alert.relay_id, alert.cause, alert.address)
        zone = self.tenant(alert.tenant_id).timezone
        return self._mail_notices(subject, lambda address: alert_notice(replace(alert, address=address), zone))

    def notice_recipients(self, tenant_id: str, relay_id: int, saved_by: str | None) -> list[str]:
        """Return the addresses of the tenant's people who get notices about a relay, as named by the host.

        `saved_by` is the address of the person who last saved the relay, the default.
        """
        answers = self.hook.own_smtp_notice_recipients(tenant_id=tenant_id, relay_id=relay_id)
        if answers is None:
            return [saved_by] if saved_by else []
        return list(dict.fromkeys(_all(str, self.hook.own_smtp_notice_recipients, answers)))

    def _mail_notices(self, subject: _NoticeSubject, compose: Callable[[str], PlatformMail | None]) -> bool:
        """Send a notice to the tenant's people. `False` if it must be retried; without a mail service it is only
        logged."""
        try:
            with force_locale(self.tenant(subject.tenant_id).locale):
                found = self.notice_recipients(subject.tenant_id, subject.relay_id, subject.saved_by)
                mails = [mail for address in found if (mail := compose(address)) is not None]
            return not mails or self._send_within_limit(subject, mails)
        except ContentError as error:  # a retry would fail as well
            log.error("A notice cannot be written, and is not retried: %s", error)
            return True
        except Exception:  # the host's mail may fail in any way, and must not stop a delivery
            log.exception("A notice could not be sent.")
            return False

    def _send_within_limit(self, subject: _NoticeSubject, mails: Sequence[PlatformMail]) -> bool:
        if self._limit is not None and not self._limit.take(subject.tenant_id, subject.cause):
            log.warning("Too many notices for tenant %s within an hour: %s.", subject.tenant_id, subject.cause)
            return True
        sent = 0
        try:
            for mail in mails:
                self.send_platform_mail(mail)
                sent += 1
        finally:
            if not sent and self._limit is not None:
                self._limit.give_back(subject.tenant_id, subject.cause)
        return True

    def layout(self) -> str | None:
        """Return the template to extend; `None` means our own layout."""
        layout: str | None = self.hook.own_smtp_layout()
        return layout

    def _notify(self, hook: pluggy.HookCaller, **arguments: Any) -> bool:
        try:
            hook(**arguments)
        except Exception:  # the host's code may raise anything, and must not stop a delivery
            log.exception(
                "Hook %s raised. Automatic events are delivered again, those caused by a person are not.",
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
            log.warning("Cannot count the exception of a hook: %s", type(error).__name__)
