"""Own SMTP's Alembic environment. `own_smtp.storage.schema` runs it."""
