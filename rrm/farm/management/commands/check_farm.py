"""`manage.py check_farm`: look for anything in the database or the files that must not be."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from rrm.farm import consistency


class Command(BaseCommand):
    help = "Check the invariants between rows, and between rows and files. Exit status 1 and a list when one is broken."

    def handle(self, *args: Any, **options: Any) -> None:
        found = list(consistency.problems())
        for problem in found:
            self.stdout.write(problem)
        if found:
            raise CommandError(f"{len(found)} problem(s) found; nothing was changed.")
        if options["verbosity"] > 0:
            self.stdout.write(self.style.SUCCESS(f"All {len(consistency.INVARIANTS)} invariants hold."))
