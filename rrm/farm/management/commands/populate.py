"""`manage.py populate`: make the database agree with a file of registered things."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from rrm.farm.populating import first_rrm, people, plan, registered, shares, yaml_file
from rrm.farm.populating.document import BadFile, Document

DEFAULT_FILE = settings.BASE_DIR / "deployment" / "populate" / "embedded.yaml"
_PLANNERS = (
    *(registered.sites, registered.resources, registered.named_models),
    *(people.users, shares.shares, people.tokens),
)


class Command(BaseCommand):
    help = (
        "Register sites, resources, named models, users, quotas and tokens from a YAML file, or resources from a file"
        " to fill the first RRM. Repeating it changes nothing. Exit status 1 says that the file was refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, default=DEFAULT_FILE, help="default: %(default)s")
        parser.add_argument("--dry-run", action="store_true", help="show the difference and write nothing")
        parser.add_argument("--create-only", action="store_true", help="leave what exists as it is")
        parser.add_argument(
            "--site",
            action="append",
            default=[],
            metavar="ID",
            help="site of the resources in a file of the first RRM, which names none; may be repeated",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            document = _read(options["file"], options["site"])
            changes = plan.make(document, _PLANNERS, create_only=options["create_only"])
        except BadFile as error:
            raise CommandError(f"Nothing was written.\n{error}") from None
        if not options["dry_run"]:
            plan.apply(changes)
        if options["verbosity"] > 0:
            self._show(changes, options["dry_run"])

    def _show(self, changes: list[plan.Change], is_dry: bool) -> None:
        style: dict[str, Callable[[str], str]] = {
            plan.CREATED: self.style.SUCCESS,
            plan.CHANGED: self.style.WARNING,
            plan.UNCHANGED: str,
        }
        for change in changes:
            self.stdout.write(style[change.mark](str(change)))
        count = Counter(change.mark for change in changes)
        self.stdout.write(
            f"{count[plan.CREATED]} created, {count[plan.CHANGED]} changed, {count[plan.UNCHANGED]} unchanged"
            + (" (dry run: nothing was written)" if is_dry else "")
        )


def _read(path: Path, sites: list[str]) -> Document:
    """The document in a file of either format. Raises CommandError for an unreadable file, BadFile for a bad one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a UTF-8 text"
        raise CommandError(f"Cannot read {path}: {reason}.") from None
    if path.suffix not in {".yaml", ".yml"} and first_rrm.is_first_rrm(text):
        return first_rrm.read(path, text, sites)
    if sites:
        raise CommandError("--site goes with a file of the first RRM only; a YAML file names its sites.")
    return yaml_file.read(path, text)
