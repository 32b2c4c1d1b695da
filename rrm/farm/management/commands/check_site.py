"""`manage.py check_site`: try whether nodes could work at a site, and say what to do where they could not."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from rrm.errors import RrmError
from rrm.farm import checking, sites
from rrm.farm.models import Site


class Command(BaseCommand):
    help = (
        "Try whether nodes could work at a site, the way a node would; it takes half a minute at most and changes"
        " nothing there. Exit status 1 when something is wrong."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("site", metavar="SITE")
        parser.add_argument(
            "--accept",
            metavar="FINGERPRINT",
            help="first trust the key that the host shows, if it is this",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        site = Site.objects.filter(pk=options["site"]).first()
        if site is None:
            raise CommandError(f"There is no site {options['site']}.")
        if options["accept"]:
            try:
                sites.accept_host_key(site, options["accept"], "manage.py check_site")
            except RrmError as error:
                raise CommandError(error.detail) from None
        checks = checking.check(site)
        for check in checks:
            wrong = self.style.ERROR("WRONG") if check.was_tried else self.style.WARNING("  -  ")
            mark = self.style.SUCCESS("well ") if check.ok else wrong
            self.stdout.write(f"{mark} {check.name} ({check.seconds:.2f} s)\n      {check.detail}")
        untried = sum(not check.was_tried for check in checks)
        ill = sum(not check.ok for check in checks) - untried
        if ill or untried:
            rest = f", {untried} could not be made" if untried else ""
            raise CommandError(f"{ill} of {len(checks)} checks did not go well{rest}.")
        self.stdout.write(self.style.SUCCESS(f"Nodes can work at {site.pk}."))
