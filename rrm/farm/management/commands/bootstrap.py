"""`manage.py bootstrap`: bring the renderers of this version to a site reached over SSH."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from rrm.errors import LauncherError
from rrm.farm import sites
from rrm.farm.models import Site
from rrm.launchers import bootstrap
from rrm.launchers.bootstrap import Report
from rrm.launchers.connection import connection_to
from rrm.launchers.shipping.stream import Progress

_WAYS = {
    "carried": "carried from this manager's own environment",
    "renewed": "carried onto the distributions of an earlier version",
    "wheels": "carried from the wheels that you gave",
    "index": "the rest fetched there by pip",
}
_EVERY_SECONDS = 0.5
_INTERRUPTED = 130  # as shells have it


class Command(BaseCommand):
    help = (
        "Bring the renderers and what they need to a site, over its SSH connection; nothing is needed there but Python."
        " Repeating it changes nothing. Nodes bring them as well; this shows what happens, and takes wheels for a"
        " Python other than the manager's. Exit status 1 and a sentence when it cannot be done."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("site", metavar="SITE")
        parser.add_argument("--wheels", type=Path, metavar="DIR", help="folder of wheels for the Python of the site")
        parser.add_argument(
            "--requirements", action="store_true", help="print which wheels those are, as pip reads it, and do no more"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        site = Site.objects.filter(pk=options["site"]).first()
        if site is None:
            raise CommandError(f"There is no site {options['site']}.")
        if options["wheels"] is not None and not options["wheels"].is_dir():
            raise CommandError(f"There is no folder {options['wheels']}.")
        try:
            if options["requirements"]:
                self.stdout.write(bootstrap.requirements(connection_to(sites.target_of(site))), ending="")
                return
            report = sites.bring_renderers(
                site, "manage.py bootstrap", wheel_folder=options["wheels"], progress=self._progress()
            )
        except LauncherError as error:
            raise CommandError(f"{site.pk}: {error.detail}") from None
        except KeyboardInterrupt:
            said = f"{site.pk}: interrupted. What was sent is removed there; the next one begins anew."
            raise CommandError(said, returncode=_INTERRUPTED) from None
        self.stdout.write(self.style.SUCCESS(told(site, report)))

    def _progress(self) -> Progress:
        """A line on a terminal, and nothing in a log."""
        last = 0.0

        def show(done: int, total: int) -> None:
            nonlocal last
            if self.stdout.isatty() and (done == total or time.monotonic() - last > _EVERY_SECONDS):
                last = time.monotonic()
                self.stdout.write(f"\r{done / 1e6:6.1f} of {total / 1e6:.1f} MB", ending="\n" if done == total else "")
                self.stdout.flush()

        return show


def told(site: Site, report: Report) -> str:
    """What was done, for people."""
    where = f"{site.pk} has renderers {report.renderers.version}, run by {report.python}"
    if report.did == "nothing":
        return f"{where}. They were there already; nothing was done ({report.seconds:.2f} s)."
    if report.did == "switched":
        return f"{where}. They were there and are used again from now on ({report.seconds:.2f} s)."
    test = report.test or {}
    removed = f" Older versions were removed: {', '.join(report.removed)}." if report.removed else ""
    return (
        f"{where}.\nInstalled in {report.seconds:.1f} s: {report.files} files, {report.size / 1e6:.1f} MB, in"
        f" {report.renderers.lib}; {report.sent / 1e6:.1f} MB were sent ({_WAYS[report.way]}).\nTried there: kernel"
        f" {test.get('kernel')}, {test.get('cores')} cores, a right tile.{removed}"
    )
