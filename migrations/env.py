"""Alembic's environment; `pacslite.index.migrate` hands over the connection."""

from alembic import context

from pacslite.index.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite alters a table by copying it, and unlike Alembic's default takes its DDL back with a transaction.
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
