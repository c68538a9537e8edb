"""Migrations: numbered SQL files, each applied once and in one transaction.

Run them as their own step, as the role that owns the schema::

    CELL_MONITOR_DATABASE_URL=postgresql://… python -m cell_monitor_core.storage.postgres.migrations
"""

from cell_monitor_core.storage.postgres.migrations.files import Migration, MigrationError, load_migrations
from cell_monitor_core.storage.postgres.migrations.runner import SchemaMismatch, check_schema, migrate

__all__ = ["Migration", "MigrationError", "SchemaMismatch", "check_schema", "load_migrations", "migrate"]
