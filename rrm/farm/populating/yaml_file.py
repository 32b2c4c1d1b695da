"""Reads the YAML format: `section: {id: {field: value}}`, with a line for every path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rrm.farm.populating.document import SECTIONS, BadFile, Complaint, Document

_DEEPEST = 8  # a file has five levels; more is a structure that contains itself
_PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_FLOAT = "tag:yaml.org,2002:float"


def read(path: Path, text: str) -> Document:
    """The document in `text`. Raises BadFile for broken YAML, repeated keys and what is not section → id → fields."""
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        reader = _Reader(loader)
        sections = reader.value(root, ()) if root is not None else {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise BadFile(path.name, [Complaint("", f"Not YAML: {error.problem or error}.", line)]) from None
    except yaml.YAMLError as error:
        raise BadFile(path.name, [Complaint("", f"Not YAML: {' '.join(str(error).split())}.")]) from None
    complaints = reader.complaints or _shape_complaints(sections, reader.lines)
    if complaints:
        raise BadFile(path.name, complaints)
    return Document(path, {name: section or {} for name, section in sections.items()}, reader.lines)


class _Reader:
    """Builds plain values from YAML nodes and notes where each one stands."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self._loader = loader
        self.lines: dict[str, int] = {}
        self.complaints: list[Complaint] = []

    def value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        if len(path) > _DEEPEST:
            return self._complain(node, path, "Nested too deeply.")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in _PLAIN:
            return self._complain(node, path, f"Must not have the tag {node.tag}.")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, str(index))) for index, item in enumerate(node.value)]
        raise TypeError(f"a YAML node of an unknown kind: {node}")

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> Any:
        # A float that locates a view keeps all its digits: as text it is an exact decimal.
        if node.tag == _FLOAT and "params" in path and path[-1] != "escape_radius":
            return node.value
        try:
            return self._loader.construct_object(node)
        except ValueError as error:  # a date that is none, a number too long
            return self._complain(node, path, f"Cannot be read: {error}.")

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(key_node, path, "A key must be a plain word.")
                continue
            key, below = key_node.value, (*path, key_node.value)
            if key in result:
                self._complain(key_node, below, "Stands here twice.")
            self.lines.setdefault(".".join(below), key_node.start_mark.line + 1)
            result[key] = self.value(value_node, below)
        return result

    def _complain(self, node: yaml.Node, path: tuple[str, ...], message: str) -> None:
        self.complaints.append(Complaint(".".join(path), message, node.start_mark.line + 1))


def _shape_complaints(sections: object, lines: dict[str, int]) -> list[Complaint]:
    """What is not section → id → fields."""
    if not isinstance(sections, dict):
        return [Complaint("", f"Must hold sections: {', '.join(SECTIONS)}.", 1)]
    found = []
    for name, section in sections.items():
        if name not in SECTIONS:
            found.append(
                Complaint(name, f"There is no such section; there are {', '.join(SECTIONS)}.", lines.get(name))
            )
        elif section is not None and not isinstance(section, dict):
            found.append(Complaint(name, "Must hold ids, each with its fields.", lines.get(name)))
        else:
            found += [
                Complaint(f"{name}.{key}", "Must hold fields.", lines.get(f"{name}.{key}"))
                for key, values in (section or {}).items()
                if not isinstance(values, dict)
            ]
    return found
