#!/usr/bin/env python
"""Django's command line for the rendering resource manager."""

import os
import sys
from typing import Any, NoReturn

from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import DatabaseError

from rrm import unready

_REFUSED = 2


def main(arguments: list[str]) -> None:
    """Run a command. Settings that cannot be used end it with one line and status 2."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rrm.settings")
    try:
        settings.DATABASES  # noqa: B018  (reads the environment, and makes the data folder)
    except OSError as error:
        _refuse(f"RRM_DATA cannot be used: {error.filename}: {error.strerror}")
    except ValueError as error:  # a ConfigError, or an address that the standard library cannot take apart
        _refuse(str(error))
    _connect_for_one()
    try:
        execute_from_command_line(arguments)
    except DatabaseError:
        if trouble := unready.why():
            _refuse(trouble)
        raise


def _connect_for_one() -> None:
    """A command needs few connections, and no pool: that would try for long, and not tell what is wrong."""
    database: dict[str, Any] = settings.DATABASES["default"]
    options = database["OPTIONS"]
    if "pool" in options:
        database["OPTIONS"] = {"connect_timeout": 10, **options, "pool": False}


def _refuse(reason: str) -> NoReturn:
    sys.stderr.write(f"rrm: {reason}\n")
    raise SystemExit(_REFUSED)


if __name__ == "__main__":
    main(sys.argv)
