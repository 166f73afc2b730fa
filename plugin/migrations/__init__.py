"""Own SMTP's Alembic environment. `own_smtp.schema` runs it."""
