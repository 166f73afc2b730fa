"""The base of all tables: separate metadata, so that the host's migrations ignore them, and column types."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    String,
)
from sqlalchemy.dialects.mysql import LONGBLOB
from sqlalchemy.orm import DeclarativeBase

from own_smtp.storage.clock import UTCDateTime

# In SQLite only an INTEGER PRIMARY KEY is assigned automatically.
BigId = BigInteger().with_variant(Integer, "sqlite")

LARGEST_ID = 2**63 - 1
"""The largest id in all databases; SQLite raises an error for larger numbers, even in a query."""

Blob = LargeBinary().with_variant(LONGBLOB, "mysql", "mariadb")

HostId = String(255)

# Without the binary collation MariaDB treats `Abc` and `abc` as the same reference, and one invitation is lost.
TABLE_OPTIONS = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}


class Base(DeclarativeBase):
    """The base class of all tables of Own SMTP."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UTCDateTime(), float: Double()}  # noqa: RUF012 -- read by SQLAlchemy, never changed
