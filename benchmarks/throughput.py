"""P1 to P4: from the outbox to "accepted", with all records, against the fastest senders."""

from __future__ import annotations

from benchmarks.measure import Figures, Plan, Rounds, folder, run_python
from benchmarks.peers import runs
from benchmarks.sinks import Sink
from benchmarks.slow_disk import BenchPostgreSQL
from benchmarks.stage import Stage
from benchmarks.table import Row
from tests.servers.redis import Redis

CONNECTIONS = 10


def on_sqlite(port: int, messages: int) -> Figures:
    """One run of ours on a new SQLite database."""
    with folder() as path:
        return _send(Stage.on_sqlite(path), port, messages)


def on_postgresql(server: BenchPostgreSQL, port: int, messages: int) -> Figures:
    """One run of ours on a new database of a PostgreSQL."""
    with folder() as path, server.fresh() as url:
        return _send(Stage(url, str(path)), port, messages)


def _send(stage: Stage, port: int, messages: int) -> Figures:
    given = {"stage": stage.dump(), "port": port, "messages": messages, "connections": CONNECTIONS}
    return run_python("benchmarks.send", given)


def p1(plan: Plan) -> list[Row]:
    """SQLite against smtp-source."""
    messages = plan.pick(20_000, 2_000)
    with Sink() as sink:
        rounds = Rounds().run(
            plan.rounds,
            {
                "ours": lambda: on_sqlite(sink.port, messages),
                "each": lambda: runs.smtp_source(sink.port, messages, CONNECTIONS, reuse=False),
                "kept": lambda: runs.smtp_source(sink.port, messages, CONNECTIONS, reuse=True),
            },
        )
    what = f"{messages:,} messages, outbox to accepted, SQLite, {CONNECTIONS} connections, against "
    cpu = rounds.median("ours", "cpu")
    assert cpu is not None
    return [
        _row(rounds, "P1", what + "`smtp-source -s 10` (a connection each)", "each", ">= 1.0"),
        _row(rounds, "P1", what + "`smtp-source -s 10 -d` (connections kept)", "kept", ">= 0.6"),
        Row(id="P1", what="… processor time of ours", ours=f"{cpu / messages * 1e6:.0f} µs a message"),
    ]


def p2(plan: Plan) -> list[Row]:
    """PostgreSQL against smtp-source, on the unchanged disk and on a slower one."""
    what = f"the same on PostgreSQL, {plan.pick(20_000, 2_000):,} messages, against `smtp-source -s 10 -d`: "
    return [
        _with_postgresql(plan, what + "the disk as it is", ">= 0.45", delay=0.0),
        _with_postgresql(plan, what + "1 ms added to each fsync", ">= 0.3", delay=0.001),
    ]


def _with_postgresql(plan: Plan, what: str, bar: str, *, delay: float) -> Row:
    messages = plan.pick(20_000, 2_000)
    with Sink() as sink, BenchPostgreSQL(delay) as server:
        rounds = Rounds().run(
            plan.pick(3, 2),
            {
                "ours": lambda: on_postgresql(server, sink.port, messages),
                "kept": lambda: runs.smtp_source(sink.port, messages, CONNECTIONS, reuse=True),
            },
        )
    return _row(rounds, "P2", what, "kept", bar)


def p3(plan: Plan) -> list[Row]:
    """Against the usual designs of Flask platforms."""
    messages, few, jobs = plan.pick(20_000, 2_000), plan.pick(1_000, 200), plan.pick(150, 40)
    with Sink() as sink, Redis() as redis:
        rounds = Rounds().run(
            plan.rounds,
            {
                "ours": lambda: on_sqlite(sink.port, messages),
                "loop": lambda: runs.flask_mail(sink.port, few),
                "jobs": lambda: runs.rq_jobs(sink.port, redis.url, jobs),
            },
        )
    what = f"outbox to accepted, SQLite, {CONNECTIONS} connections, against "
    return [
        _row(rounds, "P3", what + "one job: a Flask-Mail loop on one connection kept", "loop", ">= 45"),
        _row(rounds, "P3", what + "one RQ job a message with Flask-Mail, one worker", "jobs", ">= 400"),
    ]


def p4(plan: Plan) -> list[Row]:
    """Against the libraries of most web tools."""
    messages, fewer = plan.pick(20_000, 2_000), plan.pick(5_000, 1_000)
    with Sink() as sink:
        rounds = Rounds().run(
            plan.rounds,
            {
                "ours": lambda: on_sqlite(sink.port, messages),
                "node": lambda: runs.nodemailer(sink.port, fewer, CONNECTIONS),
                "php": lambda: runs.phpmailer(sink.port, fewer, CONNECTIONS),
            },
        )
    what = f"outbox to accepted, SQLite, {CONNECTIONS} connections, against "
    return [
        _row(rounds, "P4", what + f"a Nodemailer pool of {CONNECTIONS}, TCP_NODELAY", "node", ">= 3"),
        _row(rounds, "P4", what + f"{CONNECTIONS} PHPMailer processes that keep theirs, TCP_NODELAY", "php", ">= 3"),
    ]


def _row(rounds: Rounds, name: str, what: str, peer: str, bar: str) -> Row:
    return Row(
        id=name,
        what=what,
        ours=rounds.rate_of("ours"),
        peer=rounds.rate_of(peer),
        ratio=rounds.ratio("ours", peer),
        bar=bar,
    )
