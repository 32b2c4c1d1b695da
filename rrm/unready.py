"""Why a command could not use the database, in words for whoever runs it."""

from __future__ import annotations

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from rrm.spelling import without_password


def why() -> str:
    """What the operator has to do; empty when the database is there and has all its tables."""
    where = f"DATABASE_URL, {without_password(settings.RRM.database_url)},"
    try:
        connection.close()
        connection.ensure_connection()
    except DatabaseError as error:
        told = " ".join(str(error).split())
        return (
            f"The database of {where} cannot be reached: {told}\nStart it, or correct DATABASE_URL, and run this again."
        )
    executor = MigrationExecutor(connection)
    if lacking := len(executor.migration_plan(executor.loader.graph.leaf_nodes())):
        steps = f"{lacking} migration{'' if lacking == 1 else 's'}"
        return f"The database of {where} lacks {steps}.\nRun: ./manage.py migrate"
    return ""
