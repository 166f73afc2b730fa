"""The servers that the other tests rely on."""

import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage

import pytest
import redis
from playwright.sync_api import Page
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.servers.databases import MariaDB, PostgreSQL
from tests.servers.postfix import Postfix
from tests.servers.process import program
from tests.servers.redis import Redis
from tests.servers.smtp_sink import SmtpSink


def test_redis_comes_back_empty_on_the_same_port_after_a_kill(redis_server: Redis) -> None:
    """A killed Redis stops, and after a start it listens on the same port without data."""
    redis_server.client().set("key", "value")
    redis_server.kill()
    with pytest.raises(redis.ConnectionError):
        redis_server.client().ping()
    redis_server.start()
    assert redis_server.client().get("key") is None


def test_the_shared_redis_is_empty(redis_url: str) -> None:
    """Each test gets the shared Redis without keys."""
    assert redis.Redis.from_url(redis_url).dbsize() == 0


def test_a_fresh_database_is_empty_and_stores_any_character(database_url: str) -> None:
    """A test can create its tables, and four-byte characters are stored unchanged."""
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE word (word VARCHAR(20))"))
        connection.execute(text("INSERT INTO word VALUES (:word)"), {"word": "żółć 漢字 🦉"})
    with engine.connect() as connection:
        assert connection.execute(text("SELECT word FROM word")).scalars().all() == ["żółć 漢字 🦉"]


@pytest.mark.servers
@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
def test_a_killed_database_server_keeps_what_was_committed(kind: type[PostgreSQL] | type[MariaDB]) -> None:
    """After a kill and a start the same URL has the same rows."""
    with kind() as server, server.fresh() as url:
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE word (word VARCHAR(20))"))
            connection.execute(text("INSERT INTO word VALUES ('kept')"))
        server.kill()
        server.start()
        with engine.connect() as connection:
            assert connection.execute(text("SELECT word FROM word")).scalars().all() == ["kept"]


def mail(recipient: str, subject: str = "Invitation") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "sender@example.org", recipient, subject
    message.set_content(".a line that begins with a dot\n")
    return message


def submit(server: Postfix, *messages: EmailMessage) -> None:
    context = ssl.create_default_context(cafile=server.ca_file)
    with smtplib.SMTP(server.host, server.submission_port) as client:
        client.starttls(context=context)
        client.login(*next(iter(server.users.items())))
        for message in messages:
            client.send_message(message)


@pytest.mark.servers
def test_postfix_keeps_each_copy_as_it_was_sent(postfix: Postfix) -> None:
    """A message submitted with STARTTLS and sign-in is delivered once to each recipient, unchanged."""
    sent = mail("one@example.org")
    submit(postfix, sent, mail("two@example.net"))
    copies = postfix.copies()
    assert sorted(copy.recipient for copy in copies) == ["one@example.org", "two@example.net"]
    assert [copy.sender for copy in copies] == ["sender@example.org"] * 2
    (first,) = [copy for copy in copies if copy.recipient == "one@example.org"]
    assert first.data == sent.as_bytes()
    assert first.message["Subject"] == "Invitation"


@pytest.mark.servers
def test_postfix_speaks_implicit_tls_and_refuses_a_wrong_password(postfix: Postfix) -> None:
    """The implicit-TLS port shows a certificate for localhost and answers 535 to a wrong password."""
    context = ssl.create_default_context(cafile=postfix.ca_file)
    with (
        smtplib.SMTP_SSL(postfix.host, postfix.implicit_port, context=context) as client,
        pytest.raises(smtplib.SMTPAuthenticationError) as refused,
    ):
        client.login("survey", "wrong")
    assert refused.value.smtp_code == 535


@pytest.mark.servers
def test_postfix_accepts_nothing_without_tls_and_sign_in(postfix: Postfix) -> None:
    """The submission port requires STARTTLS, and then sign-in."""
    with smtplib.SMTP(postfix.host, postfix.submission_port) as client:
        assert client.docmd("MAIL", "FROM:<sender@example.org>")[0] == 530
        client.starttls(context=ssl.create_default_context(cafile=postfix.ca_file))
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.send_message(mail("one@example.org"))


@pytest.mark.servers
def test_postfix_sends_the_configured_replies() -> None:
    """Replies depend on the address, on a function of the request at each stage, and on rate limits."""
    seen: list[str] = []

    def decide(request: Mapping[str, str]) -> str:
        seen.append(request["protocol_state"])
        is_first = request["protocol_state"] == "RCPT" and seen.count("RCPT") == 1
        return "450 4.2.0 Come back later" if is_first else "DUNNO"

    replies = {"gone@example.org": "550 5.1.1 No such user"}
    limits = {"smtpd_client_message_rate_limit": 3, "smtpd_client_event_limit_exceptions": ""}
    with (
        Postfix(replies=replies, policy=decide, main=limits) as server,
        smtplib.SMTP(server.host, server.plain_port) as client,
    ):
        assert refusal(client, "gone@example.org") == (
            550,
            b"5.1.1 <gone@example.org>: Recipient address rejected: No such user",
        )
        assert refusal(client, "late@example.org")[0] == 450
        client.send_message(mail("late@example.org"))
        with pytest.raises(smtplib.SMTPSenderRefused, match="too much mail"):
            client.send_message(mail("late@example.org"))
        assert seen == ["RCPT", "RCPT", "DATA", "END-OF-MESSAGE"]
        assert [copy.recipient for copy in server.copies()] == ["late@example.org"]


def refusal(client: smtplib.SMTP, recipient: str) -> tuple[int, bytes]:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        client.send_message(mail(recipient))
    return refused.value.recipients[recipient]


@pytest.mark.servers
def test_postfix_keeps_its_copies_when_it_is_killed() -> None:
    """After a kill and a start Postfix has each accepted message once."""
    with Postfix() as server:
        submit(server, mail("one@example.org"))
        server.kill()
        server.start()
        assert [copy.recipient for copy in server.copies()] == ["one@example.org"]


@pytest.mark.servers
def test_smtp_sink_keeps_copies_and_fails_on_demand() -> None:
    """Postfix's test server shows the accepted messages, and fails as configured."""
    with SmtpSink() as sink, smtplib.SMTP(sink.host, sink.port) as client:
        sent = mail("one@example.org")
        client.send_message(sent)
        (copy,) = sink.copies()
        assert (copy.sender, copy.recipient) == ("sender@example.org", "one@example.org")
        assert copy.data == sent.as_bytes()
    with (
        SmtpSink("-q", "data") as sink,
        smtplib.SMTP(sink.host, sink.port) as client,
        pytest.raises(smtplib.SMTPServerDisconnected),
    ):
        client.send_message(mail("one@example.org"))
    assert client.sock is None


@pytest.mark.browser
def test_chromium_shows_a_page_in_any_script(browser_page: Page) -> None:
    """A page is laid out and its script runs."""
    browser_page.set_content("<p id=word>żółć 漢字</p><script>document.title = word.textContent</script>")
    assert browser_page.title() == "żółć 漢字"
    assert browser_page.locator("#word").bounding_box() is not None


def test_a_missing_program_is_a_visible_skip() -> None:
    """A test that needs a missing program is skipped, with the package to install."""
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed; on Debian: apt-get install it"):
        program("no-such-program", package="it")
