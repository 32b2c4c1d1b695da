"""Compares a document with the database: what would be created, changed and left, and the writing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from django.db import transaction

from rrm.farm.populating.document import BadFile, Complaint, Document

CREATED, CHANGED, UNCHANGED = "+", "~", "="


@dataclass(frozen=True, slots=True)
class Change:
    """What one entry of the file means for the database; `fields` maps what differs to its old and new value."""

    noun: str
    key: str
    is_new: bool
    fields: Mapping[str, tuple[Any, Any]]
    write: Callable[[], None] = field(repr=False, compare=False)

    @property
    def mark(self) -> str:
        if self.is_new:
            return CREATED
        return CHANGED if self.fields else UNCHANGED

    def __str__(self) -> str:
        said = [
            f"{name} {_shown(new)}" if self.is_new else f"{name}: {_shown(old)} → {_shown(new)}"
            for name, (old, new) in self.fields.items()
        ]
        return f"{self.mark} {self.noun} {self.key}" + (": " + ", ".join(said) if said else "")


@dataclass(slots=True)
class Check:
    """A document while it is compared: collects complaints instead of stopping at the first."""

    document: Document
    complaints: list[Complaint] = field(default_factory=list)

    def complain(self, where: str, message: str) -> None:
        self.complaints.append(self.document.complaint(where, message))

    def has_only(self, where: str, values: Mapping[str, Any], allowed: Sequence[str]) -> bool:
        """Whether all fields are known; complains about each one that is not."""
        strangers = [name for name in values if name not in allowed]
        for name in strangers:
            self.complain(f"{where}.{name}", f"There is no such field; there are {', '.join(allowed)}.")
        return not strangers


Planner = Callable[[Check], list[Change]]


def make(document: Document, planners: Sequence[Planner], *, create_only: bool = False) -> list[Change]:
    """The changes that make the database agree with `document`. Raises BadFile with everything that is wrong.

    With `create_only`, what exists is left as it is.
    """
    check = Check(document)
    changes = [change for planner in planners for change in planner(check)]
    if check.complaints:
        raise BadFile(document.path.name, sorted(check.complaints, key=lambda complaint: complaint.line or 0))
    if create_only:
        return [change if change.is_new else replace(change, fields={}) for change in changes]
    return changes


def apply(changes: Sequence[Change]) -> None:
    """Write what differs, all of it or nothing."""
    with transaction.atomic():
        for change in changes:
            if change.mark != UNCHANGED:
                change.write()


def inside(folder: Path, name: str) -> Path | None:
    """The path of `name` under `folder`; None when it leads out of it."""
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) else None


def _shown(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, list):
        return f"[{', '.join(_shown(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_shown(item)}' for name, item in value.items())}}}"
    text = str(value)
    return text if text and text.isprintable() and " " not in text else repr(text)
