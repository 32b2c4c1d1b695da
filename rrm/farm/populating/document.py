"""A file of registered things as it was read, and the complaints about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Values = Mapping[str, Any]
Section = Mapping[str, Values]

SECTIONS = ("sites", "resources", "models", "users", "quotas", "tokens")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with one place of a file; `where` is the dotted path of the field, empty for the whole file."""

    where: str
    message: str
    line: int | None = None


class BadFile(Exception):
    """A file that cannot be accepted, with everything that is wrong with it."""

    def __init__(self, name: str, complaints: Sequence[Complaint]) -> None:
        self.complaints = tuple(complaints)
        super().__init__("\n".join(_sentence(name, complaint) for complaint in complaints))


@dataclass(frozen=True, slots=True)
class Document:
    """Section → id → field → value, with the line on which each dotted path stands (counted from 1)."""

    path: Path
    sections: Mapping[str, Section]
    lines: Mapping[str, int] = field(default_factory=dict)

    def section(self, name: str) -> Section:
        return self.sections.get(name, {})

    def complaint(self, where: str, message: str) -> Complaint:
        return Complaint(where, message, self._line(where))

    def _line(self, where: str) -> int | None:
        """The line of the path, or of the nearest part above it that stands in the file."""
        while where and where not in self.lines:
            where = where.rpartition(".")[0]
        return self.lines.get(where)


def _sentence(name: str, complaint: Complaint) -> str:
    place = name if complaint.line is None else f"{name}:{complaint.line}"
    return ": ".join(part for part in (place, complaint.where, complaint.message) if part)
