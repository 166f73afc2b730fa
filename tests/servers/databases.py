"""PostgreSQL and MariaDB, with databases that are created quickly."""

import itertools
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.servers.process import Server, program

POSTGRESQL_FOLDERS = tuple(str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))


class DatabaseServer(Server):
    """A database server with room for many databases."""

    admin_database: str
    is_durable = False
    """Whether it waits for the disk at each commit. Without, a killed server loses nothing, but a lost machine may."""

    def __init__(self, *, is_durable: bool = False) -> None:
        super().__init__()
        self.is_durable = is_durable
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of one of its databases."""
        raise NotImplementedError

    def create(self, template: str | None = None) -> str:
        """Make an empty database, or a copy of `template` where the server can, and return its name."""
        raise NotImplementedError

    def drop(self, database: str) -> None:
        raise NotImplementedError

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Stop all its processes (SIGSTOP), and continue them afterwards: connections stay open, none is answered."""
        assert self.process is not None
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for process in family:
            process.suspend()
        try:
            yield
        finally:
            for process in family:
                process.resume()

    @contextmanager
    def fresh(self, template: str | None = None) -> Iterator[str]:
        """Yield the URL of a new database, which is deleted afterwards."""
        name = self.create(template)
        try:
            yield self.url(name)
        finally:
            self.drop(name)

    def is_ready(self) -> bool:
        if not super().is_ready():
            return False
        try:
            self.execute("SELECT 1")
        except OperationalError:
            return False
        return True

    def execute(self, statement: str) -> None:
        """Run one statement as the administrator, outside a transaction."""
        engine = create_engine(self.url(self.admin_database), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))

    def _new_name(self) -> str:
        return f"test_{next(self._numbers)}"


class PostgreSQL(DatabaseServer):
    """PostgreSQL, run as `postgres` when the tests run as root, which it refuses."""

    user = "postgres"
    stop_signal = signal.SIGINT
    admin_database = "postgres"

    def __init__(self, *, is_durable: bool = False) -> None:
        initdb = program("initdb", package="postgresql", folders=POSTGRESQL_FOLDERS)
        super().__init__(is_durable=is_durable)
        command = [initdb, "--pgdata=data", "--username=postgres", "--auth=trust", "--encoding=UTF8"]
        run_quietly([*command, "--locale=C.UTF-8", "--no-sync"], self)

    def command(self) -> list[str]:
        durability = () if self.is_durable else ("fsync=off", "full_page_writes=off")
        settings = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
            "max_connections=200",
            *durability,
        )
        postgres = program("postgres", package="postgresql", folders=POSTGRESQL_FOLDERS)
        return [postgres, "-D", "data", *(word for setting in settings for word in ("-c", setting))]

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, template: str | None = None) -> str:
        name = self._new_name()
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template or 'template1'}")
        return name

    def drop(self, database: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


class MariaDB(DatabaseServer):
    """MariaDB, run as `mysql` when the tests run as root."""

    user = "mysql"
    admin_database = "mysql"

    def __init__(self, *, is_durable: bool = False) -> None:
        install = program("mariadb-install-db", "mysql_install_db", package="mariadb-server")
        super().__init__(is_durable=is_durable)
        # Its own defaults, not those of the machine, which may name folders and users of another server.
        run_quietly([install, "--no-defaults", f"--datadir={self.folder}/data", *self.AUTHENTICATION], self)

    AUTHENTICATION = ("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")

    def command(self) -> list[str]:
        return [
            program("mariadbd", "mysqld", package="mariadb-server"),
            "--no-defaults",
            f"--datadir={self.folder}/data",
            f"--socket={self.folder}/socket",
            f"--pid-file={self.folder}/pid",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=64M",
            "--max-connections=200",
            f"--innodb-flush-log-at-trx-commit={1 if self.is_durable else 2}",
        ]

    def url(self, database: str) -> str:
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{database}?charset=utf8mb4"

    def create(self, template: str | None = None) -> str:
        if template is not None:
            raise NotImplementedError("MariaDB cannot copy a database.")
        name = self._new_name()
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return name

    def drop(self, database: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {database}")


def run_quietly(command: list[str], server: Server) -> None:
    """Run a step of a server's set-up in its folder and as its user; the error holds its output."""
    environment = {**os.environ, "TMPDIR": str(server.folder)}
    result = subprocess.run(
        command, check=False, cwd=server.folder, capture_output=True, text=True, env=environment, **server.run_as
    )
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stdout}\n{result.stderr}")
