"""Certificates, fingerprints and resumed sessions."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import pytest

from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.tls import MOST_SESSIONS, ResumingContext, context_for, pinning_context, verifying_context
from own_smtp.states import PauseReason, Security
from tests.scripted import KINDS, ScriptedServer
from tests.wire_kit import LOGIN, converse

SECURITIES = [Security.STARTTLS, Security.IMPLICIT]


def server_with(authority, kind, security):
    return ScriptedServer(tls=authority.server_context(kind), implicit_tls=security is Security.IMPLICIT)


def test_the_contexts_verify_and_are_made_once():
    """Creating one costs more than a hundred messages."""
    context = verifying_context()
    assert context is verifying_context() is context_for(None)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context_for("ab") is context_for("ab")
    assert context_for("ab") is not context_for("cd")


@pytest.mark.parametrize("security", SECURITIES)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "good"])
def test_a_bad_certificate_pauses_and_no_password_is_sent(trusted, kind, security):
    """Another name, another authority, an expired one: refused before any AUTH."""
    with server_with(trusted, kind, security) as server:
        sent = converse(server, security=security, credentials=LOGIN)
    assert (sent.refusal.stage, sent.refusal.pause) == (Stage.TLS, PauseReason.CERTIFICATE)
    assert not any(line.startswith("AUTH") for line in server.commands)
    assert server.copies == []


@pytest.mark.parametrize("security", SECURITIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_trusted_fingerprint_replaces_the_authorities(trusted, kind, security):
    """The one certificate is accepted whatever its content, in any notation of its fingerprint."""
    with server_with(trusted, kind, security) as server:
        sent = converse(server, security=security, fingerprint=trusted.fingerprint(kind).upper(), credentials=LOGIN)
    assert sent.states == ["accepted"]


def test_any_other_certificate_than_the_trusted_one_is_refused(trusted):
    """Also one of a known authority."""
    with server_with(trusted, "good", Security.STARTTLS) as server:
        sent = converse(
            server, security=Security.STARTTLS, fingerprint=trusted.fingerprint("other_ca"), credentials=LOGIN
        )
    assert sent.refusal.pause is PauseReason.CERTIFICATE
    assert server.attempts == []


@pytest.mark.parametrize("fingerprint", [None, "good"])
@pytest.mark.parametrize("security", SECURITIES)
def test_the_second_connection_resumes_the_first_ones_session(trusted, security, fingerprint):
    """A resumed handshake needs no signature on either side; the certificate's name still counts."""
    context = trusted.server_context()
    with ScriptedServer(tls=context, implicit_tls=security is Security.IMPLICIT) as server:
        pinned = fingerprint and trusted.fingerprint(fingerprint)
        context_for(pinned)._sessions.clear()
        for _ in range(2):
            assert converse(server, security=security, fingerprint=pinned).states == ["accepted"]
    statistics = context.session_stats()
    assert (statistics["accept_good"], statistics["hits"]) == (2, 1)


def test_a_session_is_not_carried_to_another_fingerprint(trusted):
    """A resumed session shows the certificate of its first handshake, which may be an older one."""
    with server_with(trusted, "good", Security.STARTTLS) as server:
        old = trusted.fingerprint("good")
        assert converse(server, security=Security.STARTTLS, fingerprint=old).states == ["accepted"]
        server.tls = trusted.server_context("other_ca")
        new = trusted.fingerprint("other_ca")
        assert converse(server, security=Security.STARTTLS, fingerprint=new).states == ["accepted"]
    assert pinning_context(old)._sessions.keys() == pinning_context(new)._sessions.keys() == {"127.0.0.1"}


@dataclass
class FakeSession:
    has_ticket: bool = True


@dataclass
class FakeTls:
    server_hostname: str | None
    session: FakeSession | None


def test_kept_sessions_are_bounded():
    """Thousands of servers do not fill the memory: the least recently used sessions are dropped."""
    context = ResumingContext()
    for number in range(MOST_SESSIONS + 10):
        context.keep_session(FakeTls(f"mail{number}.example", FakeSession()))
        context.keep_session(FakeTls("mail0.example", FakeSession()))
    assert len(context._sessions) == MOST_SESSIONS
    assert {"mail0.example", f"mail{MOST_SESSIONS + 9}.example"} <= context._sessions.keys()


def test_sessions_that_cannot_be_resumed_are_not_kept():
    """No session, a session without a ticket, or a server without a name."""
    context = ResumingContext()
    for tls in (FakeTls("a.example", None), FakeTls("a.example", FakeSession(False)), FakeTls(None, FakeSession())):
        context.keep_session(tls)
    assert not context._sessions


def test_text_injected_before_tls_ends_the_connection(trusted):
    """Plain text behind the 220 is never accepted (CVE-2021-38371)."""
    with server_with(trusted, "good", Security.STARTTLS) as server:
        server.on("starttls", ("220 go ahead\n250-mail.example.test\n250 AUTH PLAIN",))
        sent = converse(server, security=Security.STARTTLS, credentials=LOGIN)
    assert sent.refusal.stage in {Stage.STARTTLS, Stage.TLS}
    assert (sent.refusal.state, sent.refusal.pause) == ("queued", None)
    assert [line.split()[0] for line in server.commands] == ["EHLO", "STARTTLS"]


def test_half_a_line_injected_before_tls_ends_the_connection(trusted):
    """Neither is the beginning of a reply, which the server would complete inside TLS."""
    with server_with(trusted, "good", Security.STARTTLS) as server:
        server.on("starttls", ("220 go ahead", b"250 AUTH"))
        sent = converse(server, security=Security.STARTTLS, credentials=LOGIN)
    assert sent.refusal.stage is Stage.TLS
    assert server.attempts == []


def test_extensions_offered_before_tls_are_forgotten(trusted):
    """Only what the server offers inside TLS counts (RFC 3207, 4.2)."""
    with ScriptedServer(
        tls=trusted.server_context(), extensions=["8BITMIME"], extensions_before_tls=["PIPELINING", "CHUNKING"]
    ) as server:
        sent = converse(server, 2, security=Security.STARTTLS, window=4)
    assert sent.states == ["accepted", "accepted"]
    assert server.violations == []
    assert not sent.session.capabilities.pipelining
