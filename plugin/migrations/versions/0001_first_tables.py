"""First tables.

Revision ID: 0001
Revises:
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import LONGBLOB

from own_smtp.storage.clock import UTCDateTime, db_now

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# As they were when this migration was written; `own_smtp.storage.models` may have moved on.
BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Blob = sa.LargeBinary().with_variant(LONGBLOB, "mysql", "mariadb")
TABLE_OPTIONS: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}


def again(condition: str) -> dict[str, Any]:
    """Pass over what is done already, where an interrupted migration leaves that: MariaDB commits each statement."""
    return {condition: op.get_context().dialect.name in {"mysql", "mariadb"}}


def upgrade() -> None:
    create_audit()
    create_relay()
    create_batch()
    create_batch_counts()
    create_tally()
    create_confirmation()
    create_test()
    create_journal()
    create_lease()
    create_project()
    create_suggestion()
    create_policy()
    create_limit()
    create_batch_file()
    create_invitation()
    create_attempt()
    create_shortened()
    create_forgetting()
    create_alert()
    create_notice()
    create_errand()
    create_counter()


def downgrade() -> None:
    # MariaDB keeps the indexes that foreign keys need, so they go with their tables.
    op.drop_table("own_smtp_counter", **again("if_exists"))
    op.drop_table("own_smtp_errand", **again("if_exists"))
    op.drop_table("own_smtp_notice", **again("if_exists"))
    op.drop_table("own_smtp_alert", **again("if_exists"))
    op.drop_table("own_smtp_forgetting", **again("if_exists"))
    op.drop_table("own_smtp_shortened", **again("if_exists"))
    op.drop_table("own_smtp_attempt", **again("if_exists"))
    op.drop_table("own_smtp_invitation", **again("if_exists"))
    op.drop_table("own_smtp_batch_file", **again("if_exists"))
    op.drop_table("own_smtp_limit", **again("if_exists"))
    op.drop_table("own_smtp_policy", **again("if_exists"))
    op.drop_table("own_smtp_suggestion", **again("if_exists"))
    op.drop_table("own_smtp_project", **again("if_exists"))
    op.drop_table("own_smtp_lease", **again("if_exists"))
    op.drop_table("own_smtp_journal", **again("if_exists"))
    op.drop_table("own_smtp_test", **again("if_exists"))
    op.drop_table("own_smtp_confirmation", **again("if_exists"))
    op.drop_table("own_smtp_tally", **again("if_exists"))
    op.drop_table("own_smtp_batch_counts", **again("if_exists"))
    op.drop_table("own_smtp_batch", **again("if_exists"))
    op.drop_table("own_smtp_relay", **again("if_exists"))
    op.drop_table("own_smtp_audit", **again("if_exists"))


def create_audit() -> None:
    op.create_table(
        "own_smtp_audit",
        sa.Column("id", BigId, nullable=False),
        sa.Column("at", UTCDateTime(), server_default=db_now(), nullable=False),
        sa.Column("tenant_id", sa.String(255), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=True),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("relay_id", sa.BigInteger(), nullable=True),
        sa.Column("project_id", sa.String(255), nullable=True),
        sa.Column("details", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_own_smtp_audit"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )
    op.create_index("ix_own_smtp_audit_tenant_id_id", "own_smtp_audit", ["tenant_id", "id"], **again("if_not_exists"))


def create_relay() -> None:
    op.create_table(
        "own_smtp_relay",
        sa.Column("id", BigId, nullable=False),
        sa.Column("tenant_id", sa.String(255), nullable=False),
        sa.Column("label", sa.String(100), nullable=False),
        sa.Column("description", sa.String(1000), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("security", sa.String(20), nullable=False),
        sa.Column("username", sa.String(320), nullable=True),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.String(64), nullable=True),
        sa.Column("sender_address", sa.String(320), nullable=False),
        sa.Column("sender_name", sa.String(200), nullable=False),
        sa.Column("reply_to", sa.String(320), nullable=True),
        sa.Column("envelope_sender", sa.String(320), nullable=True),
        sa.Column("confirmation_address", sa.String(320), nullable=True),
        sa.Column("ehlo_name", sa.String(255), nullable=True),
        sa.Column("max_connections", sa.Integer(), nullable=False),
        sa.Column("messages_per_connection", sa.Integer(), nullable=True),
        sa.Column("min_interval", sa.Double(), nullable=True),
        sa.Column("jitter", sa.Double(), nullable=False),
        sa.Column("per_second", sa.Double(), nullable=True),
        sa.Column("per_minute", sa.Integer(), nullable=True),
        sa.Column("per_hour", sa.Integer(), nullable=True),
        sa.Column("per_day", sa.Integer(), nullable=True),
        sa.Column("sending_windows", sa.JSON(), nullable=True),
        sa.Column("timezone", sa.String(64), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("pause_reason", sa.String(40), nullable=True),
        sa.Column("pause_text", sa.String(600), nullable=True),
        sa.Column("paused_at", UTCDateTime(), nullable=True),
        sa.Column("probe_at", UTCDateTime(), nullable=True),
        sa.Column("confirmed_at", UTCDateTime(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("preset", sa.String(40), nullable=True),
        sa.Column("saved_by", sa.String(255), nullable=True),
        sa.Column("saved_by_address", sa.String(320), nullable=True),
        sa.Column("created_at", UTCDateTime(), server_default=db_now(), nullable=False),
        sa.Column("updated_at", UTCDateTime(), server_default=db_now(), nullable=False),
        sa.Column("deleted_at", UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_own_smtp_relay"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )
    op.create_index(
        "ix_own_smtp_relay_tenant_id_deleted_at",
        "own_smtp_relay",
        ["tenant_id", "deleted_at"],
        **again("if_not_exists"),
    )


def create_batch() -> None:
    op.create_table(
        "own_smtp_batch",
        sa.Column("id", BigId, nullable=False),
        sa.Column("tenant_id", sa.String(255), nullable=False),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("relay_id", BigId, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("is_urgent", sa.Boolean(), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("content", sa.JSON(), nullable=True),
        sa.Column("message_key", sa.String(32), nullable=False),
        sa.Column("message_domain", sa.String(255), nullable=False),
        sa.Column("fallback_at", UTCDateTime(), nullable=True),
        sa.Column("expires_at", UTCDateTime(), nullable=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("taken_count", sa.Integer(), nullable=False),
        sa.Column("refused_count", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(255), nullable=True),
        sa.Column("created_at", UTCDateTime(), server_default=db_now(), nullable=False),
        sa.Column("purged_at", UTCDateTime(), nullable=True),
        sa.Column("shortened_at", UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_own_smtp_batch"),
        sa.ForeignKeyConstraint(["relay_id"], ["own_smtp_relay.id"], name="fk_own_smtp_batch_relay_id"),
        sa.UniqueConstraint(
            "tenant_id", "project_id", "idempotency_key", name="uq_own_smtp_batch_tenant_id_project_id_idempotency_key"
        ),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )
    op.create_index(
        "ix_own_smtp_batch_relay_id_state", "own_smtp_batch", ["relay_id", "state"], **again("if_not_exists")
    )
    op.create_index("ix_own_smtp_batch_fallback_at", "own_smtp_batch", ["fallback_at"], **again("if_not_exists"))


def create_batch_counts() -> None:
    op.create_table(
        "own_smtp_batch_counts",
        sa.Column("batch_id", BigId, autoincrement=False, nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("unknown", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.Column("by_platform", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", name="pk_own_smtp_batch_counts"),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["own_smtp_batch.id"], name="fk_own_smtp_batch_counts_batch_id", ondelete="CASCADE"
        ),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )


def create_tally() -> None:
    op.create_table(
        "own_smtp_tally",
        sa.Column("relay_id", BigId, autoincrement=False, nullable=False),
        sa.Column("hour", UTCDateTime(), nullable=False),
        sa.Column("batch_id", BigId, autoincrement=False, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("code", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("relay_id", "hour", "batch_id", "state", "code", name="pk_own_smtp_tally"),
        sa.ForeignKeyConstraint(
            ["relay_id"], ["own_smtp_relay.id"], name="fk_own_smtp_tally_relay_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["own_smtp_batch.id"], name="fk_own_smtp_tally_batch_id", ondelete="CASCADE"
        ),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )
    op.create_index("ix_own_smtp_tally_batch_id", "own_smtp_tally", ["batch_id"], **again("if_not_exists"))


def create_confirmation() -> None:
    op.create_table(
        "own_smtp_confirmation",
        sa.Column("id", BigId, nullable=False),
        sa.Column("relay_id", BigId, nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=True),
        sa.Column("configuration", sa.String(64), nullable=False),
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("requested_by", sa.String(255), nullable=True),
        sa.Column("created_at", UTCDateTime(), server_default=db_now(), nullable=False),
        sa.Column("expires_at", UTCDateTime(), nullable=False),
        sa.Column("used_at", UTCDateTime(), nullable=True),
        sa.Column("superseded_at", UTCDateTime(), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("next_attempt_at", UTCDateTime(), server_default=db_now(), nullable=True),
        sa.Column("sent_at", UTCDateTime(), nullable=True),
        sa.Column("server", sa.String(300), nullable=True),
        sa.Column("stage", sa.String(12), nullable=True),
        sa.Column("code", sa.SmallInteger(), nullable=True),
        sa.Column("enhanced", sa.String(12), nullable=True),
        sa.Column("pause_reason", sa.String(40), nullable=True),
        sa.Column("error", sa.String(600), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_own_smtp_confirmation"),
        sa.ForeignKeyConstraint(
            ["relay_id"], ["own_smtp_relay.id"], name="fk_own_smtp_confirmation_relay_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("token_hash", name="uq_own_smtp_confirmation_token_hash"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )
    op.create_index(
        "ix_own_smtp_confirmation_relay_id", "own_smtp_confirmation", ["relay_id"], **again("if_not_exists")
    )


def create_test() -> None:
    op.create_table(
        "own_smtp_test",
        sa.Column("id", BigId, nullable=False),
        sa.Column("tenant_id", sa.String(255), nullable=False),
        sa.Column("requested_by", sa.String(255), nullable=False),
        sa.Column("relay_id", BigId, nullable=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=True),
        sa.Column("saves", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("created_at", UTCDateTime(), server_default=db_now(), nullable=False),
        sa.Column("started_at", UTCDateTime(), nullable=True),
        sa.Column("finished_at", UTCDateTime(), nullable=True),
        sa.Column("saved_at", UTCDateTime(), nullable=True),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("transcript", sa.JSON(), nullable=False),
        sa.Column("certificate", sa.JSON(), nullable=True),
        sa.Column("stage", sa.String(12), nullable=True),
        sa.Column("code", sa.SmallInteger(), nullable=True),
        sa.Column("enhanced", sa.String(12), nullable=True),
        sa.Column("pause_reason", sa.String(40), nullable=True),
        sa.Column("error", sa.String(600), nullable=True),
        sa.ForeignKeyConstraint(
            ["relay_id"], ["own_smtp_relay.id"], name="fk_own_smtp_test_relay_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_own_smtp_test"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )
    op.create_index("ix_own_smtp_test_relay_id", "own_smtp_test", ["relay_id"], **again("if_not_exists"))
    op.create_index(
        "ix_own_smtp_test_tenant_id_created_at", "own_smtp_test", ["tenant_id", "created_at"], **again("if_not_exists")
    )
    op.create_index(
        "ix_own_smtp_test_host_port_created_at",
        "own_smtp_test",
        ["host", "port", "created_at"],
        **again("if_not_exists"),
    )


def create_journal() -> None:
    op.create_table(
        "own_smtp_journal",
        sa.Column("id", BigId, nullable=False),
        sa.Column("relay_id", BigId, nullable=False),
        sa.Column("machine", sa.String(64), nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("boot", sa.String(64), nullable=False),
        sa.Column("route", sa.String(12), nullable=False),
        sa.Column("opened_at", UTCDateTime(), server_default=db_now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_own_smtp_journal"),
        sa.ForeignKeyConstraint(
            ["relay_id"], ["own_smtp_relay.id"], name="fk_own_smtp_journal_relay_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )
    op.create_index("ix_own_smtp_journal_relay_id", "own_smtp_journal", ["relay_id"], **again("if_not_exists"))


def create_lease() -> None:
    op.create_table(
        "own_smtp_lease",
        sa.Column("relay_id", BigId, autoincrement=False, nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(120), nullable=True),
        sa.Column("expires_at", UTCDateTime(), nullable=True),
        sa.Column("drained_at", UTCDateTime(), nullable=True),
        sa.Column("wake_at", UTCDateTime(), nullable=True),
        sa.Column("fallback_since", UTCDateTime(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", UTCDateTime(), nullable=True),
        sa.Column("pace", sa.JSON(), nullable=True),
        sa.Column("last_success_at", UTCDateTime(), nullable=True),
        sa.Column("last_error_at", UTCDateTime(), nullable=True),
        sa.Column("last_error", sa.String(600), nullable=True),
        sa.Column("error_cause", sa.String(60), nullable=True),
        sa.Column("error_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error_since", UTCDateTime(), nullable=True),
        sa.Column("facts", sa.JSON(), nullable=True),
        sa.Column("certificate_until", UTCDateTime(), nullable=True),
        sa.Column("drains", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("drain_seconds", sa.Double(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("relay_id", name="pk_own_smtp_lease"),
        sa.ForeignKeyConstraint(
            ["relay_id"], ["own_smtp_relay.id"], name="fk_own_smtp_lease_relay_id", ondelete="CASCADE"
        ),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )


def create_project() -> None:
    op.create_table(
        "own_smtp_project",
        sa.Column("id", BigId, nullable=False),
        sa.Column("tenant_id", sa.String(255), nullable=False),
        sa.Column("project_id", sa.String(255), nullable=False),
        sa.Column("relay_id", BigId, nullable=True),
        sa.Column("fallback_after", sa.Integer(), nullable=True),
        sa.Column("changed_by", sa.String(255), nullable=True),
        sa.Column("changed_at", UTCDateTime(), server_default=db_now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_own_smtp_project"),
        sa.ForeignKeyConstraint(
            ["relay_id"], ["own_smtp_relay.id"], name="fk_own_smtp_project_relay_id", ondelete="SET NULL"
        ),
        sa.UniqueConstraint("tenant_id", "project_id", name="uq_own_smtp_project_tenant_id_project_id"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )
    op.create_index("ix_own_smtp_project_relay_id", "own_smtp_project", ["relay_id"], **again("if_not_exists"))


def create_suggestion() -> None:
    op.create_table(
        "own_smtp_suggestion",
        sa.Column("id", BigId, nullable=False),
        sa.Column("tenant_id", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("relay_id", BigId, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_own_smtp_suggestion"),
        sa.ForeignKeyConstraint(
            ["relay_id"], ["own_smtp_relay.id"], name="fk_own_smtp_suggestion_relay_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("tenant_id", "kind", "subject", name="uq_own_smtp_suggestion_tenant_id_kind_subject"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )
    op.create_index("ix_own_smtp_suggestion_relay_id", "own_smtp_suggestion", ["relay_id"], **again("if_not_exists"))


def create_policy() -> None:
    op.create_table(
        "own_smtp_policy",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("changed_by", sa.String(255), nullable=False),
        sa.Column("changed_at", UTCDateTime(), server_default=db_now(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_own_smtp_policy"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )


def create_limit() -> None:
    op.create_table(
        "own_smtp_limit",
        sa.Column("tenant_id", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(60), nullable=False),
        sa.Column("since", UTCDateTime(), nullable=True),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "kind", name="pk_own_smtp_limit"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )


def create_batch_file() -> None:
    op.create_table(
        "own_smtp_batch_file",
        sa.Column("id", BigId, nullable=False),
        sa.Column("batch_id", BigId, nullable=False),
        sa.Column("filename", sa.String(255), nullable=False),
        sa.Column("content_type", sa.String(255), nullable=False),
        sa.Column("content_id", sa.String(255), nullable=True),
        sa.Column("data", Blob, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_own_smtp_batch_file"),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["own_smtp_batch.id"], name="fk_own_smtp_batch_file_batch_id", ondelete="CASCADE"
        ),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )
    op.create_index("ix_own_smtp_batch_file_batch_id", "own_smtp_batch_file", ["batch_id"], **again("if_not_exists"))


def create_invitation() -> None:
    op.create_table(
        "own_smtp_invitation",
        sa.Column("id", BigId, nullable=False),
        sa.Column("batch_id", BigId, nullable=False),
        sa.Column("reference", sa.String(255), nullable=False),
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("values", sa.JSON(), nullable=True),
        sa.Column("override", sa.JSON(), nullable=True),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("changed_at", UTCDateTime(), server_default=db_now(), nullable=False),
        sa.Column("next_attempt_at", UTCDateTime(), server_default=db_now(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("first_failure_at", UTCDateTime(), nullable=True),
        sa.Column("token", sa.BigInteger(), nullable=True),
        sa.Column("route", sa.String(12), nullable=False),
        sa.Column("untold_since", UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_own_smtp_invitation"),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["own_smtp_batch.id"], name="fk_own_smtp_invitation_batch_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("batch_id", "reference", name="uq_own_smtp_invitation_batch_id_reference"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )
    op.create_index(
        "ix_own_smtp_invitation_batch_id_state_next_attempt_at_id",
        "own_smtp_invitation",
        ["batch_id", "state", "next_attempt_at", "id"],
        **again("if_not_exists"),
    )
    op.create_index(
        "ix_own_smtp_invitation_untold_since",
        "own_smtp_invitation",
        ["untold_since"],
        sqlite_where=sa.text("untold_since IS NOT NULL"),
        postgresql_where=sa.text("untold_since IS NOT NULL"),
        **again("if_not_exists"),
    )


def create_attempt() -> None:
    op.create_table(
        "own_smtp_attempt",
        sa.Column("id", BigId, nullable=False),
        sa.Column("invitation_id", BigId, nullable=False),
        sa.Column("relay_id", sa.BigInteger(), nullable=False),
        sa.Column("at", UTCDateTime(), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("route", sa.String(12), nullable=False),
        sa.Column("stage", sa.String(12), nullable=False),
        sa.Column("code", sa.SmallInteger(), nullable=True),
        sa.Column("enhanced", sa.String(12), nullable=True),
        sa.Column("text", sa.String(500), nullable=False),
        sa.Column("server", sa.String(300), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_own_smtp_attempt"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )
    op.create_index(
        "ix_own_smtp_attempt_invitation_id", "own_smtp_attempt", ["invitation_id"], **again("if_not_exists")
    )
    op.create_index("ix_own_smtp_attempt_relay_id_at", "own_smtp_attempt", ["relay_id", "at"], **again("if_not_exists"))


def create_shortened() -> None:
    op.create_table(
        "own_smtp_shortened",
        sa.Column("invitation_id", BigId, autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["invitation_id"],
            ["own_smtp_invitation.id"],
            name="fk_own_smtp_shortened_invitation_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("invitation_id", name="pk_own_smtp_shortened"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )
    op.create_index("ix_own_smtp_shortened_digest", "own_smtp_shortened", ["digest"], **again("if_not_exists"))


def create_forgetting() -> None:
    op.create_table(
        "own_smtp_forgetting",
        sa.Column("invitation_id", BigId, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["invitation_id"],
            ["own_smtp_invitation.id"],
            name="fk_own_smtp_forgetting_invitation_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("invitation_id", name="pk_own_smtp_forgetting"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )


def create_alert() -> None:
    op.create_table(
        "own_smtp_alert",
        sa.Column("id", BigId, nullable=False),
        sa.Column("relay_id", BigId, nullable=False),
        sa.Column("cause", sa.String(20), nullable=False),
        sa.Column("raised_at", UTCDateTime(), server_default=db_now(), nullable=False),
        sa.Column("taken_at", UTCDateTime(), nullable=True),
        sa.Column("told_at", UTCDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["relay_id"], ["own_smtp_relay.id"], name="fk_own_smtp_alert_relay_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_own_smtp_alert"),
        sa.UniqueConstraint("relay_id", "cause", name="uq_own_smtp_alert_relay_id_cause"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )


def create_notice() -> None:
    op.create_table(
        "own_smtp_notice",
        sa.Column("relay_id", BigId, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("taken_at", UTCDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["relay_id"], ["own_smtp_relay.id"], name="fk_own_smtp_notice_relay_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("relay_id", "kind", name="pk_own_smtp_notice"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )


def create_errand() -> None:
    op.create_table(
        "own_smtp_errand",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("due_at", UTCDateTime(), nullable=False),
        sa.Column("taken_at", UTCDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_own_smtp_errand"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )


def create_counter() -> None:
    op.create_table(
        "own_smtp_counter",
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("label", sa.String(60), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", "label", name="pk_own_smtp_counter"),
        **TABLE_OPTIONS,
        **again("if_not_exists"),
    )
