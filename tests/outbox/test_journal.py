"""The local journal of messages about to be sent, as a dead drain leaves it."""

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.errors import JournalError
from own_smtp.outbox import journal
from own_smtp.outbox.journal import JournalWriter, Machine, peek_journal, read_journal
from own_smtp.outbox.journal_lines import Findings, _take, ended_line, numbered, parse_journal
from own_smtp.smtp.replies.outcomes import Stage, classify, interrupted
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import PauseReason, State

ACCEPTED = classify(Stage.MESSAGE, Reply(code=250, text="2.0.0 Ok: queued as 1", enhanced="2.0.0"), server="mx [::1]")


@pytest.fixture
def machine(tmp_path):
    """A folder for journals."""
    return Machine.at(tmp_path / "journal")


def test_a_full_disk_is_found_by_writing(machine):
    """The file can be created, but not written: here because of a limit of the process."""
    machine.ensure_usable()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(JournalError, match="File too large"):
            machine.ensure_usable()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in machine.folder.iterdir()] == ["machine"]


def open_files():
    """The numbers of this process's open files."""
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def write(machine, *steps, name="a"):
    """Write a journal and leave it as a dying process does."""
    writer = JournalWriter(machine, name)
    for step in steps:
        if isinstance(step, tuple):
            writer.end(*step)
        else:
            writer.begin(step)
    writer.close(delete=False)
    return writer.path


def test_a_journal_distinguishes_begun_and_ended(machine):
    """Begun ones may have been sent; ended ones have their outcome; it has no record of the rest."""
    write(machine, 1, 2, (1, ACCEPTED, 10.5), 3)
    found = read_journal(machine, "a")
    assert found.begun == {2, 3}
    assert found.ended[1].at == 10.5
    assert (found.ended[1].outcome.state, found.ended[1].outcome.words) == (State.ACCEPTED, "2.0.0 Ok: queued as 1")


def test_a_journal_says_what_the_host_knows(machine):
    """If an invitation ends a second time, the host knows only the first outcome."""
    writer = JournalWriter(machine, "a")
    for invitation_id in (1, 2):
        writer.end(invitation_id, ACCEPTED, 1.0)
    writer.told([1, 2])
    writer.begin(1)
    writer.close(delete=False)
    assert read_journal(machine, "a").told == {2}


def test_the_host_does_not_know_an_outcome_that_came_after_it_was_told(machine):
    """An invitation whose next attempt ended before its message began, too: the host is told of the second outcome."""
    writer = JournalWriter(machine, "a")
    for invitation_id in (1, 2):
        writer.end(invitation_id, interrupted(Stage.RCPT, "lost"), 1.0)
    writer.told([1, 2])
    writer.end(1, ACCEPTED, 2.0)
    writer.close(delete=False)
    found = read_journal(machine, "a")
    assert found.told == {2}
    assert found.ended[1].outcome == ACCEPTED


def test_a_journal_names_all_that_may_have_been_sent(machine):
    """Those without a reply, and those whose outcome is known."""
    write(machine, 1, 2, (1, ACCEPTED, 1.0), 3, (4, interrupted(Stage.RCPT, "lost"), 2.0))
    assert read_journal(machine, "a").named == {1, 2, 3, 4}


@given(
    text=st.text(max_size=200),
    code=st.none() | st.integers(200, 599),
    state=st.sampled_from(sorted(State)),
    pause=st.none() | st.sampled_from(sorted(PauseReason)),
    slows_down=st.booleans(),
)
def test_any_outcome_comes_back_as_it_was(text, code, state, pause, slows_down):
    """Texts with line ends, quotes or lone surrogates survive the journal."""
    reply = None if code is None else Reply(code=code, text=text, enhanced="5.1.1")
    outcome = Outcome(
        state=state, stage="rcpt", reply=reply, text="" if reply else text, pause=pause, slows_down=slows_down
    )
    line = ended_line(7, outcome, 1.5)
    assert b"\n" not in line
    assert b"\0" not in line
    assert line.isascii()
    findings = Findings()
    _take(line, findings)
    assert findings.ended[7].outcome == outcome
    assert findings.ended[7].at == 1.5


def test_a_second_attempt_makes_the_first_outcome_old(machine):
    """An invitation that was begun again after an outcome may have been sent again."""
    write(machine, 1, (1, interrupted(Stage.RCPT, "lost"), 1.0), 1)
    found = read_journal(machine, "a")
    assert (found.begun, found.ended) == ({1}, {})


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_an_incomplete_last_line_is_ignored(machine, cut):
    """Wherever a crash cuts the last line, the journal is read up to it: the dot that it announces was not written."""
    path = write(machine, 1, (1, ACCEPTED, 1.0), 22222, (22222, ACCEPTED, 2.0))
    whole, written = path.read_bytes(), len(path.read_bytes().rstrip(b"\0"))
    path.write_bytes(whole[: written - cut] + bytes(len(whole) - written + cut))
    found = read_journal(machine, "a")
    assert found.ended.keys() | found.begun <= {1, 22222}
    assert 1 in found.ended
    assert 22222 not in found.ended


def test_a_truncated_journal_is_not_trusted(machine):
    """Wherever it ends, at a line's end or within one: records of sent messages may be missing."""
    path = write(machine, 1, (1, ACCEPTED, 1.0), 2, (2, ACCEPTED, 2.0))
    whole = path.read_bytes().rstrip(b"\0")
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        with pytest.raises(JournalError):
            read_journal(machine, "a")
    path.write_bytes(whole + b"\0")
    assert read_journal(machine, "a").ended.keys() == {1, 2}


def test_a_journal_that_lost_lines_in_the_middle_is_not_trusted(machine):
    """Neither with a missing line, nor with swapped or repeated ones, nor with a hole."""
    path = write(machine, 1, (1, ACCEPTED, 1.0), 2, (2, ACCEPTED, 2.0))
    header, *lines, filler = path.read_bytes().splitlines(keepends=True)
    for spoilt in (
        [header, *lines[1:], filler],
        [header, lines[0], lines[2], lines[3], filler],
        [header, lines[1], lines[0], *lines[2:], filler],
        [header, *lines, lines[-1], filler],
        [header, lines[0], bytes(len(lines[1])), *lines[2:], filler],
        [*lines, filler],
    ):
        path.write_bytes(b"".join(spoilt))
        with pytest.raises(JournalError):
            read_journal(machine, "a")


def test_a_journal_that_is_cut_while_it_is_written_is_not_trusted(machine):
    """Its writer continues behind the hole."""
    writer = JournalWriter(machine, "a")
    writer.begin(1)
    os.truncate(writer.path, 0)
    writer.begin(2)
    writer.close(delete=False)
    with pytest.raises(JournalError):
        read_journal(machine, "a")


@given(at=st.integers(0, 200), bit=st.integers(0, 7))
def test_no_changed_bit_is_overlooked(tmp_path_factory, at, bit):
    """Each line begins with a checksum; in the filler, any other octet than zero is damage."""
    machine = Machine.at(tmp_path_factory.mktemp("journal"))
    path = write(machine, 1, (1, ACCEPTED, 1.0), 2)
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)
    last = data.rfind(b"\n", 0, bytes(data).rstrip(b"\0").__len__() - 1)
    try:
        found = read_journal(machine, "a")
    except JournalError:
        return
    # The end of the last line alone: then it counts as torn, as if it had not been written.
    assert at > last
    assert found.ended.keys() == {1}


@pytest.mark.parametrize("at", [1, 2, 100, -2, -1])
def test_anything_in_the_filler_is_damage(machine, at):
    """Behind a torn last line there is nothing but zeros: anything else may be left of the record of a sent message."""
    path = write(machine, 1, 2)
    data = bytearray(path.read_bytes())
    filler = data[len(bytes(data).rstrip(b"\0")) :]
    filler[at] = ord("B")
    path.write_bytes(bytes(data).rstrip(b"\0") + filler)
    with pytest.raises(JournalError):
        read_journal(machine, "a")


@pytest.mark.parametrize("kept", [0, 1, 10])
def test_a_journal_of_which_only_filler_is_left_is_not_trusted(machine, kept):
    """It held records of sent messages before its contents were lost: it does not say that none was sent."""
    path = write(machine, 1, (1, ACCEPTED, 1.0))
    whole = path.read_bytes()
    path.write_bytes(whole[:kept] + bytes(len(whole) - kept))
    with pytest.raises(JournalError, match="line 1"):
        read_journal(machine, "a")


def test_damage_is_named_with_its_line(machine):
    """Whoever looks into the file finds the place."""
    path = write(machine, 1, 2)
    header, first, second, filler = path.read_bytes().splitlines(keepends=True)
    for spoilt, line in (
        ([header, second, filler], 2),
        ([header, first, second], 3),
        ([header, first, second.replace(b"B2", b"B3"), filler], 3),
        ([first, second, filler], 1),
    ):
        path.write_bytes(b"".join(spoilt))
        with pytest.raises(JournalError, match=rf"at line {line}\."):
            read_journal(machine, "a")


def test_another_journal_is_not_taken_for_this_one(machine):
    """A copy under another name does not count for the drain of that name."""
    path = write(machine, 1)
    machine.path("b").write_bytes(path.read_bytes())
    with pytest.raises(JournalError):
        read_journal(machine, "b")


@pytest.mark.parametrize(
    "damage",
    [
        b"X1",
        b"B",
        b"Bx",
        b"E",
        b"E[1]",
        b"E{}",
        b"",
        b"B1\x00",
        b"E[1,2,3,4,5,6,7,8,9,10]",
        b"\xff",
        b"X[1]",
        b"[1]",
        b"T5",
        b"E[1,2,3,4]",
        b"T[1e999]",
        b"T" + b"[" * 100_000,
    ],
    ids=lambda damage: str(damage[:20]),
)
def test_a_damaged_journal_is_not_trusted(machine, damage):
    """Any invalid content makes the whole journal unusable."""
    path = write(machine, 1)
    path.write_bytes(path.read_bytes().rstrip(b"\0") + numbered(2, damage) + numbered(3, b"B2") + bytes(9))
    with pytest.raises(JournalError):
        read_journal(machine, "a")


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data):
    """Any content is read or refused."""
    with suppress(JournalError):
        parse_journal([b"own-smtp-journal 2 a\n", *data.splitlines(keepends=True)], "a")


def test_a_missing_journal_is_reported(machine):
    """A missing file differs from an empty one."""
    with pytest.raises(JournalError):
        read_journal(machine, "nowhere")
    write(machine)
    assert read_journal(machine, "a") == Findings()


def test_a_living_drains_journal_is_left_alone(machine):
    """While its process is alive no other reads a journal, not even in the same process; afterwards any can."""
    writer = JournalWriter(machine, "a")
    writer.begin(1)
    assert read_journal(machine, "a") is None
    writer.close(delete=False)
    assert read_journal(machine, "a").begun == {1}


def test_a_drains_own_bookkeeper_reads_its_journal_while_it_lives(machine):
    """It sees each line at once. A journal that is gone is no empty one."""
    writer = JournalWriter(machine, "a")
    writer.begin(1)
    assert peek_journal(machine, "a").named == {1}
    writer.begin(2)
    assert peek_journal(machine, "a").named == {1, 2}
    writer.close(delete=True)
    with pytest.raises(JournalError, match="cannot be read: No such file"):
        peek_journal(machine, "a")


def test_the_lock_ends_with_the_process(machine):
    """The journal of a killed process can be read at once."""
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)

    def drain():
        journal = JournalWriter(machine, "a")
        journal.begin(5)
        writer.send("begun")
        signal.pause()

    process = context.Process(target=drain)
    process.start()
    assert reader.recv() == "begun"
    assert read_journal(machine, "a") is None
    process.kill()
    process.join()
    assert read_journal(machine, "a").begun == {5}


def test_a_journal_has_one_writer(machine):
    """A name is never used twice."""
    write(machine)
    with pytest.raises(JournalError):
        JournalWriter(machine, "a")


def test_a_full_disk_stops_sending_and_damages_nothing(machine, monkeypatch):
    """An incomplete line is removed: later lines can still be read."""
    writer = JournalWriter(machine, "a")
    writer.begin(1)
    write_whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write_whole(file, data[:1], at))
    with pytest.raises(JournalError, match="full"):
        writer.begin(2)
    monkeypatch.undo()
    writer.end(1, ACCEPTED, 1.0)
    writer.close(delete=False)
    found = read_journal(machine, "a")
    assert (found.begun, list(found.ended)) == (set(), [1])


def test_a_disk_error_stops_sending(machine, monkeypatch):
    """A message that could not be recorded is not sent."""
    writer = JournalWriter(machine, "a")

    def fail(*_arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(JournalError, match="Input/output"):
        writer.begin(1)
    monkeypatch.undo()
    writer.close(delete=True)
    assert not writer.path.exists()


@pytest.mark.parametrize("octets", [0, 1, 20])
def test_a_disk_that_is_full_from_the_start_stops_the_drain(machine, monkeypatch, octets):
    """There is no writer without a header in its file, and the file that was begun does not stay."""
    write_whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write_whole(file, data[:octets], at))
    with pytest.raises(JournalError, match="full"):
        JournalWriter(machine, "a")
    monkeypatch.undo()
    assert not machine.path("a").exists()
    write(machine, 1)
    assert read_journal(machine, "a").begun == {1}


def test_a_disk_error_from_the_start_stops_the_drain(machine, monkeypatch):
    """The error says the reason, and nothing of the file stays behind, open or on the disk."""

    def fail(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "ftruncate", fail)
    before = open_files()
    with pytest.raises(JournalError, match="cannot be written: No space left"):
        JournalWriter(machine, "a")
    assert open_files() == before
    assert not machine.path("a").exists()


def test_a_journal_can_be_read_after_each_line(machine, monkeypatch):
    """Some filler stays behind the last line, wherever that ends in the room the file was given."""
    for room in range(1, 60):
        monkeypatch.setattr(journal, "FILLER", room)
        name = f"room-{room}"
        writer = JournalWriter(machine, name)
        for invitation_id in range(1, 13):
            writer.begin(invitation_id)
            assert peek_journal(machine, name).begun == set(range(1, invitation_id + 1))
        writer.close(delete=True)


def test_a_drain_ends_though_its_journal_is_gone(machine):
    """All that it said is in the database: nothing is lost with it."""
    writer = JournalWriter(machine, "a")
    before = open_files()
    writer.path.unlink()
    writer.close(delete=True)
    assert len(open_files()) == len(before) - 1


def test_a_folder_is_made_with_those_above_it(tmp_path):
    """At the start, and again with the same name after all of them were deleted."""
    machine = Machine.at(tmp_path / "var" / "lib" / "journal")
    shutil.rmtree(tmp_path / "var")
    machine.ensure_usable()
    assert Machine.at(machine.folder) == machine
    write(machine, 1)
    assert read_journal(machine, "a").begun == {1}


def test_a_folders_name_is_on_the_disk_before_anybody_uses_it(tmp_path, monkeypatch):
    """After a crash of the machine no worker finds an empty one."""
    flushed = []

    def note(file):
        flushed.append((os.fstat(file).st_size, (tmp_path / "machine").exists()))

    monkeypatch.setattr(os, "fsync", note)
    machine = Machine.at(tmp_path)
    assert flushed == [(len(machine.name), False)]


def test_of_two_workers_that_name_a_folder_the_first_one_counts(tmp_path, monkeypatch):
    """Both use the same name, and neither fails."""
    link = os.link

    def be_late(draft, path):
        Path(path).write_text("a" * 32)
        link(draft, path)

    monkeypatch.setattr(os, "link", be_late)
    assert Machine.at(tmp_path).name == "a" * 32
    assert [path.name for path in tmp_path.iterdir()] == ["machine"]


def test_a_folder_that_cannot_be_named_says_why(tmp_path):
    """The error has the reason of the first failure: here that the process may open no more files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(JournalError, match="Too many open files"):
            Machine.at(tmp_path / "journal")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_folder_keeps_its_name(tmp_path):
    """Every worker that uses a folder reads the same name, and two folders never have the same one."""
    first = Machine.at(tmp_path / "a")
    assert Machine.at(tmp_path / "a") == first
    assert Machine.at(tmp_path / "b").name != first.name
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["machine"]


def test_a_folder_whose_name_was_lost_is_not_used(tmp_path):
    """An empty name would be shared by every folder that crashed like this one."""
    folder = Machine.at(tmp_path / "a").folder
    (folder / "machine").write_text("")
    with pytest.raises(JournalError, match="Delete it"):
        Machine.at(folder)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """The error names the folder, and the setting that chooses another."""
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="OWN_SMTP_JOURNAL_DIR"):
        Machine.at(tmp_path / "file" / "journal")


def test_without_a_boot_id_each_line_is_synced(machine, tmp_path, monkeypatch):
    """If a crash of the machine would not be noticed, nothing is left in the kernel's buffers."""
    flushed = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    write(machine, 1, (1, ACCEPTED, 1.0), name="trusting")
    assert flushed == []
    write(Machine(machine.folder, machine.name, ""), 1, (1, ACCEPTED, 1.0), name="careful")
    assert len(flushed) == 3  # and the header


def test_a_machine_that_does_not_tell_its_boots_apart_syncs(tmp_path, monkeypatch):
    """Not every system has a boot id: there a crash would not be noticed."""
    monkeypatch.setattr(journal, "_BOOT_ID", tmp_path / "nothing")
    machine = Machine.at(tmp_path / "journal")
    assert machine.boot == ""
    assert machine.must_flush


def test_nobody_else_reads_a_journal(machine):
    """Journals quote servers' replies about people: only the worker's user can read them."""
    assert stat.S_IMODE(write(machine, 1).stat().st_mode) == 0o600
