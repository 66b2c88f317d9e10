"""Generate the migration that drops tables. dev.py runs this module, with the database."""

import sys

from alembic import command
from alembic.config import Config
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect


def main(message: str, *names: str) -> None:
    """Write a migration that drops the tables, and creates them again in its downgrade.

    Autogenerate compares with the database, in which types have lost details, and orders the tables
    by name. The models have the types and the references.
    """

    def drop_tables(
        context: MigrationContext, _: object, directives: list[ops.MigrationScript]
    ) -> None:
        metadata, database = context.opts["target_metadata"], inspect(context.connection)
        tables = [
            table
            for table in metadata.sorted_tables
            if table.name in names and database.has_table(table.name)
        ]
        if not tables:  # no migration creates them
            directives.clear()
            return
        create: list[ops.MigrateOperation] = []
        for table in tables:
            create.append(ops.CreateTableOp.from_table(table))
            indexes = sorted(table.indexes, key=lambda index: index.name)
            create += [ops.CreateIndexOp.from_index(index) for index in indexes]
        [script] = directives
        script.upgrade_ops = ops.UpgradeOps([operation.reverse() for operation in reversed(create)])
        script.downgrade_ops = ops.DowngradeOps(create)

    config = Config("alembic.ini", "pyproject.toml")
    command.revision(config, message, autogenerate=True, process_revision_directives=drop_tables)


main(*sys.argv[1:])
