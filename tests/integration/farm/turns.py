"""A process that runs a loop: python -m tests.integration.farm.turns FOLDER NAME SECONDS.

Its turn appends a line, works so long, passes the fence and appends another. Then it tries again; whenever it does not
come through a turn, as another process has it, it appends that too.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from pathlib import Path

import django
from django.apps import apps

if not apps.ready:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rrm.settings")
    django.setup()

from rrm.farm import loops


def main(log: Path, name: str, seconds: float) -> None:
    loops.LONGEST_TURN = type(loops.LONGEST_TURN)(seconds=float(os.environ["LONGEST_TURN"]))

    def note(what: str) -> None:
        with log.open("a") as file:
            file.write(f"{what} {name}\n")

    def turn(_now: datetime) -> None:
        note("begins")
        time.sleep(seconds)
        loops.fence()
        note("acts")

    while True:
        if not loops.run("tick", turn):
            note("is refused:")
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
