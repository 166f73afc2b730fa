"""The main job, whole and on real servers: Postfix with STARTTLS and SASL, Redis, and each database in turn.

The platform is the README's. Its pages are filled in by their labels, its worker is the command that operators run, and
what counts is what Postfix holds afterwards.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from demo.browser import Page
from own_smtp.hooks import Content, Invitation, InvitationBatch, Receipt
from own_smtp.storage.encryption import generate_key
from tests.examples.test_readme import blocks, load
from tests.servers.copies import Copy
from tests.servers.databases import PostgreSQL
from tests.servers.postfix import Postfix
from tests.servers.process import eventually, free_port
from tests.servers.redis import Redis

pytestmark = [pytest.mark.servers, pytest.mark.slow]

SENDER = "surveys@acme.example"
GONE = "gone@example.org"
REFUSAL = "550 5.1.1 No such person here, gone since spring"
SAVE = "Save and send the confirmation mail"
CONTENT = Content(subject="Your opinion, {NAME}", text="Dear {NAME},\n\nplease take part: {SURVEYURL}\n")


class Host:
    """The README's platform in a folder: its pages in this process, its worker in others."""

    def __init__(self, folder: Path, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        (folder / "app.py").write_text("\n".join(blocks("python")), encoding="utf-8")
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        self.flask("db", "upgrade")
        self.module = load(folder / "app.py", monkeypatch)
        self.app, self.own_smtp, self.db = self.module.app, self.module.own_smtp, self.module.db
        self.browser: FlaskClient = self.app.test_client()

    # What operators do

    def flask(self, *arguments: str) -> None:
        """Run a command of `flask own-smtp` to its end."""
        command = [sys.executable, "-m", "flask", "own-smtp", *arguments]
        result = subprocess.run(command, check=False, cwd=self._folder, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stdout + result.stderr
        print(result.stdout, result.stderr)

    def work(self) -> None:
        """Let a worker do what is in the queue."""
        self.flask("worker", "--burst")

    @contextmanager
    def working(self) -> Iterator[None]:
        """Have a worker inside the context, which is asked to stop afterwards."""
        path = self._folder / "worker.log"
        with path.open("w") as log:
            command = [sys.executable, "-m", "flask", "own-smtp", "worker"]
            worker = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True)
            try:
                yield
                worker.terminate()
                assert worker.wait(60) == 0
            finally:
                if worker.poll() is None:
                    os.killpg(worker.pid, signal.SIGKILL)
                    worker.wait()
                print(path.read_text())

    # What people do

    def open(self, path: str) -> Page:
        answer = self.browser.get(path, follow_redirects=True)
        return Page(f"http://localhost{answer.request.path}", answer.status_code, answer.data)

    def press(self, page: Page, button: str, **fields: str) -> Page:
        """Fill in a form by its labels, `_` for spaces, and press its button."""
        form = page.form(button)
        for label, value in fields.items():
            if value == "on":
                form.tick(label.replace("_", " "))
            else:
                form.fill(label.replace("_", " "), value)
        pressed = form.button(button)
        path = (pressed.action or page.url).removeprefix("http://localhost")
        answer = self.browser.post(path, data=dict(form.pairs(pressed)), follow_redirects=True)
        return Page(f"http://localhost{answer.request.path}", answer.status_code, answer.data)

    def add_server(self, port: int, button: str = SAVE, **fields: str) -> Page:
        """Enter Postfix as the tenant's mail server and press `button`; `fields` are what is entered otherwise."""
        typed = {
            "Name_of_this_server": "Acme",
            "Mail_server": "localhost",
            "Port": str(port),
            "User_name": "survey",
            "Password": "correct horse",
            "Sender_address": SENDER,
            "Sender_name": "Acme Research",
        }
        return self.press(self.open("/own-smtp/servers/new"), button, **typed | fields)

    def tested(self, page: Page) -> Page:
        """Let a worker do the test that a page shows, and look again."""
        page.expect("Testing …")
        self.work()
        return self.open(page.url.removeprefix("http://localhost"))

    def confirm(self, postfix: Postfix) -> None:
        """Follow the link in the mail that arrived at Postfix."""
        (mail,) = [copy for copy in postfix.copies() if copy.recipient == SENDER]
        page = self.press(self.open(link_in(mail, "/own-smtp/confirm/")), "Yes, this server may send for us")
        page.expect("Confirmed")

    def switch_on(self) -> None:
        page = self.press(self.open("/own-smtp/projects/7/settings"), "Save", Acme="on")
        page.expect("invitations of this project leave through “Acme”")

    def send(self, number: int, *others: str) -> Receipt:
        """Send the project's invitations to so many people, and to others."""
        addresses = [*(f"person{i}@example.org" for i in range(1, number + 1)), *others]
        invitations = [
            Invitation(reference=str(i), address=address, values={"NAME": f"Zoë {i}", "SURVEYURL": link_for(i)})
            for i, address in enumerate(addresses, start=1)
        ]
        batch = InvitationBatch(tenant_id="acme", project_id="7", content=CONTENT, invitations=invitations)
        with self.app.app_context():
            receipt = self.own_smtp.send_invitations(batch)
            self.db.session.commit()
        assert receipt is not None
        return receipt

    def counts(self) -> dict[str, int]:
        """Return what the host itself can ask for."""
        with self.app.app_context():
            return dict(Counter(str(status.state) for status in self.own_smtp.invitation_statuses("acme", "7")))

    def set_up(self, postfix: Postfix) -> None:
        """Add Postfix, confirm it, and switch the project on."""
        self.add_server(postfix.submission_port)
        self.work()
        self.confirm(postfix)
        self.switch_on()


def link_for(number: int) -> str:
    return f"https://surveys.example.org/s/{number}-token"


def link_in(copy: Copy, path: str) -> str:
    """Return the path of the one link to the platform in a mail's text."""
    body = copy.message.get_body(("plain",))
    assert body is not None
    (link,) = re.findall(rf"http://platform\.example({path}\S+)", body.get_content())
    return str(link)


def environment(database_url: str, redis_url: str, postfix: Postfix) -> dict[str, str]:
    ports = [postfix.submission_port, postfix.implicit_port, postfix.plain_port, *CLOSED]
    return {
        "FLASK_SECRET_KEY": "a key for tests",
        "FLASK_SQLALCHEMY_DATABASE_URI": database_url,
        "FLASK_OWN_SMTP_ENCRYPTION_KEYS": generate_key("tests"),
        "FLASK_OWN_SMTP_PUBLIC_URL": "http://platform.example",
        "FLASK_OWN_SMTP_REDIS_URL": redis_url,
        "FLASK_OWN_SMTP_ALLOWED_NETWORKS": "127.0.0.0/8 ::1/128",
        "FLASK_OWN_SMTP_ALLOWED_PORTS": str(ports),
        # Postfix's certificate is signed by an authority of the tests.
        "SSL_CERT_FILE": str(postfix.ca_file),
    }


CLOSED = [free_port()]
"""A port that nobody listens on."""


@pytest.fixture
def host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str, redis_url: str, postfix: Postfix
) -> Iterator[Host]:
    """The platform on SQLite, PostgreSQL and MariaDB in turn."""
    yield from _host(tmp_path, monkeypatch, environment(database_url, redis_url, postfix))


@pytest.fixture
def thin_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str, postfix: Postfix) -> Iterator[Host]:
    """The platform on SQLite alone, for what does not depend on the database."""
    url = f"sqlite:///{tmp_path / 'platform.sqlite3'}"
    yield from _host(tmp_path, monkeypatch, environment(url, redis_url, postfix))


def _host(folder: Path, monkeypatch: pytest.MonkeyPatch, given: Mapping[str, str]) -> Iterator[Host]:
    host = Host(folder, given, monkeypatch)
    yield host
    with host.app.app_context():
        host.db.session.remove()
        host.db.engine.dispose()


# The whole way


def test_from_an_empty_database_to_the_report(host: Host, postfix: Postfix) -> None:
    """50 invitations: each arrives once, with its own link; the report has Postfix's words for the one it refuses."""
    postfix.set_replies({GONE: REFUSAL})
    page = host.add_server(postfix.submission_port)
    page.expect("Not active")
    host.work()
    host.confirm(postfix)
    host.switch_on()
    assert host.send(49, GONE).taken == 50
    host.work()
    assert host.counts() == {"accepted": 49, "refused": 1}
    assert_copies(postfix, 49)
    report = host.open("/own-smtp/projects/7/report")
    report.expect("50 invitations: 49 accepted by your server, 1 refused.")
    report.expect(GONE)
    report.expect("550 5.1.1")
    report.expect("No such person here, gone since spring")


def test_from_typed_settings_to_a_test_mail(host: Host, postfix: Postfix) -> None:
    """Tested by a worker, saved, confirmed; a wrong new password is not saved, and the server stays active."""
    page = host.tested(host.add_server(postfix.submission_port, "Test without saving"))
    page.expect("All well")
    host.press(page, SAVE).expect("Not active")
    host.work()
    host.confirm(postfix)
    page = host.press(host.open("/own-smtp/servers/1/edit"), "Save", Password="battery staple")
    host.tested(page).expect("Nothing was saved")
    page = host.press(host.open("/own-smtp/servers/1/edit"), "Save", Password="correct horse")
    host.tested(page).expect("Passed and saved")
    host.press(host.open("/own-smtp/servers/1/test-mail"), "Send the test mail").expect("on its way")
    host.work()
    page = host.open("/own-smtp/servers/1/test-mail")
    page.expect("Your server has taken the test mail")
    (mail,) = [copy for copy in postfix.copies() if copy.recipient != SENDER]
    page.expect(mail.recipient)
    assert mail.message["Subject"] == "Test mail through localhost"


def assert_copies(postfix: Postfix, number: int) -> None:
    """Postfix holds each invitation once, to the right person, with the right link."""
    copies = [copy for copy in postfix.copies() if copy.recipient != SENDER]
    assert sorted(copy.recipient for copy in copies) == sorted(f"person{i}@example.org" for i in range(1, number + 1))
    assert len({copy.message["Message-ID"] for copy in copies}) == number
    for copy in copies:
        body = copy.message.get_body(("plain",))
        assert body is not None
        reference = copy.recipient.removeprefix("person").partition("@")[0]
        assert f"please take part: {link_for(int(reference))}\n" in body.get_content()
        assert copy.message["Subject"] == f"Your opinion, Zoë {reference}"
        assert (copy.sender, copy.message["From"]) == (SENDER, f"Acme Research <{SENDER}>")


def test_a_project_deleted_while_it_is_sent_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str, postfix: Postfix, postgres: PostgreSQL
) -> None:
    """A database that insists on foreign keys: what was on the wire arrives, and the rest of the work goes on."""
    with postgres.fresh() as url:
        for host in _host(tmp_path, monkeypatch, environment(url, redis_url, postfix)):
            host.set_up(postfix)
            host.send(400)
            with host.working():
                eventually(lambda host=host: host.counts().get("accepted"), "the first was accepted")
                with host.app.app_context():
                    host.own_smtp.forget_project("acme", "7")
                    host.db.session.commit()
                assert host.counts() == {}
                host.switch_on()
                host.send(20)
                eventually(lambda host=host: host.counts() == {"accepted": 20}, "the next batch was accepted", 90)


# What bad input gets


def test_a_closed_port_is_named_as_unreachable(thin_host: Host) -> None:
    """The page says that the server cannot be reached and leads to the field, and not what is behind the port."""
    thin_host.add_server(CLOSED[0])
    thin_host.work()
    page = thin_host.open("/own-smtp/servers/1")
    page.expect("The confirmation mail to surveys@acme.example could not be sent.")
    page.expect("This server cannot be reached from here.")
    assert page.link("Go to the field").endswith("/own-smtp/servers/1/edit#host")


def test_a_name_that_does_not_exist_is_named(thin_host: Host, postfix: Postfix) -> None:
    """The page says the same as of a closed port, and leads to the field."""
    thin_host.add_server(postfix.submission_port, Mail_server="no-such-host.invalid")
    thin_host.work()
    page = thin_host.open("/own-smtp/servers/1")
    page.expect("This server cannot be reached from here.")
    assert page.link("Go to the field").endswith("#host")


@pytest.mark.parametrize("field", [{"User_name": "nobody"}, {"Password": "wrong"}])
def test_a_wrong_user_or_password_is_said_in_postfix_own_words(
    field: dict[str, str], thin_host: Host, postfix: Postfix
) -> None:
    """The page says that the account is refused, quotes Postfix, and never shows what was typed."""
    thin_host.add_server(postfix.submission_port, **field)
    thin_host.work()
    page = thin_host.open("/own-smtp/servers/1")
    page.expect("The server refuses the user name or the password.")
    page.expect("535 5.7.8 Error: authentication failed")
    assert page.link("Go to the field").endswith("#password")
    assert not any(password in page.text for password in ("wrong", "correct horse"))
    assert set(eventually(lambda: postfix.failed_logins, "Postfix logs it")) == {"auth=0/1"}


def test_a_wrong_encryption_for_the_port_is_said(thin_host: Host, postfix: Postfix) -> None:
    """Implicit TLS on a STARTTLS port: no encrypted connection, and which pairs go together."""
    thin_host.add_server(postfix.submission_port, Implicit_TLS="on")
    thin_host.work()
    page = thin_host.open("/own-smtp/servers/1")
    page.expect("No encrypted connection could be made.")
    page.expect("STARTTLS goes with 587, implicit TLS with 465")


def test_a_form_with_a_mistake_keeps_all_but_the_password(thin_host: Host) -> None:
    """A port that the platform does not allow: the field says so, the rest is still there, the password is not."""
    page = thin_host.add_server(9)
    page.expect("Allowed on this platform: ")
    form = page.form(SAVE)
    assert form.control("Mail server").value == "localhost"
    assert form.control("User name").value == "survey"
    assert form.control("Password").value == ""


# Without Redis


def test_without_redis_a_send_succeeds_and_delivery_starts_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_server: Redis, postfix: Postfix
) -> None:
    """The send takes less than a second, the page says that Redis is away, and all arrives once it is back."""
    url = f"sqlite:///{tmp_path / 'platform.sqlite3'}"
    for host in _host(tmp_path, monkeypatch, environment(url, redis_server.url, postfix)):
        host.set_up(postfix)
        redis_server.stop()
        before = time.monotonic()
        receipt = host.send(20)
        assert time.monotonic() - before < 1
        assert (receipt.taken, host.counts()) == (20, {"queued": 20})
        host.open("/own-smtp/projects/7/report").expect("The platform's queue (Redis) takes no work at the moment.")
        with host.working():
            redis_server.start()
            eventually(lambda host=host: host.counts() == {"accepted": 20}, "all were accepted", 60)
        assert "does not answer" not in host.open("/own-smtp/projects/7/report").text


def test_what_the_worker_is_started_with_is_said_when_it_is_wrong(thin_host: Host, tmp_path: Path) -> None:
    """A worker without tables does not start, and says which command makes them."""
    given = {**os.environ, "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'empty.sqlite3'}"}
    command = [sys.executable, "-m", "flask", "own-smtp", "worker", "--burst"]
    result = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, env=given, timeout=60)
    assert result.returncode == 1
    assert "Run `flask own-smtp db upgrade` first." in result.stderr
