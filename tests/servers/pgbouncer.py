"""PgBouncer, a pool of connections to a PostgreSQL."""

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.servers.databases import PostgreSQL
from tests.servers.process import Server, program


class PgBouncer(Server):
    """In front of a PostgreSQL, in transaction mode: a client keeps a server process for one transaction only."""

    user = "postgres"

    def __init__(self, postgres: PostgreSQL) -> None:
        super().__init__()
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": 10,
            "ignore_startup_parameters": "extra_float_digits",
        }
        lines = ["[databases]", f"* = host=127.0.0.1 port={postgres.port} user=postgres", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        (self.folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [program("pgbouncer", package="pgbouncer"), "pgbouncer.ini"]

    def is_ready(self) -> bool:
        if not super().is_ready():
            return False
        try:
            with create_engine(self.url("postgres"), poolclass=NullPool).connect() as connection:
                connection.execute(text("SELECT 1"))
        except OperationalError:
            return False
        return True

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of one of the databases behind it."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"
