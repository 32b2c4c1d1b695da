"""Reads the first RRM's format: a shell file with one `curl -X POST --data '{…}' http://…/config/` for each renderer.

The file is text to this module. Nothing in it is executed, expanded or fetched.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrm.farm.populating.document import BadFile, Complaint, Document

FIELDS = (
    "id",
    "command_line",
    "environment_variables",
    "modules",
    "process_rest_parameters_format",
    "scheduler_rest_parameters_format",
    "project",
    "queue",
    "exclusive",
    "nb_nodes",
    "nb_cpus",
    "nb_gpus",
    "memory",
    "graceful_exit",
    "wait_until_running",
    "name",
    "description",
)

NUMBERS = frozenset({"nb_nodes", "nb_cpus", "nb_gpus", "memory"})
FLAGS = frozenset({"exclusive", "graceful_exit", "wait_until_running"})
_TRUTH = {"true": True, "1": True, "false": False, "0": False}

_CURL = re.compile(r"^\s*curl\s", re.MULTILINE)
_DATA = re.compile(r"(?:--data(?:-raw|-binary|-ascii)?|--json)(?:=|$)|-d")
_CONFIG_URL = re.compile(r"https?://.*/config/?")
_QUOTED = re.compile(r"'[^']*'|\\.")
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r]+|\\\n|\#[^\n]*)
    |(?P<end>[\n;&|()<>]+)
    |(?P<word>(?:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[^\s'"\\;&|()<>])+)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Command:
    """One command of a shell file: its words as they are written, and the line it begins on."""

    words: tuple[str, ...]
    line: int


def is_first_rrm(text: str) -> bool:
    """Whether this looks like a shell file that calls curl, rather than YAML."""
    return bool(_CURL.search(text))


def read(path: Path, text: str, sites: Sequence[str] = ()) -> Document:
    """The resources that the calls would register, at `sites`. Raises BadFile with every call not understood."""
    resources: dict[str, dict[str, Any]] = {}
    lines: dict[str, int] = {}
    complaints: list[Complaint] = []
    for command in _commands(path, text):
        if shlex.split(command.words[0])[:1] != ["curl"]:
            continue
        try:
            key, values = _resource(command)
        except ValueError as error:
            complaints.append(Complaint("", str(error), command.line))
            continue
        if key in resources:
            complaints.append(Complaint(f"resources.{key}", "Registered twice.", command.line))
        resources[key] = {**values, "renderer": "external", "sites": list(sites)}
        lines[f"resources.{key}"] = command.line
    if complaints:
        raise BadFile(path.name, complaints)
    return Document(path, {"resources": resources}, lines)


def _commands(path: Path, text: str) -> Iterator[_Command]:
    """The simple commands of a shell file. Raises BadFile at a quote without its end."""
    words: list[str] = []
    line = position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise BadFile(path.name, [Complaint("", "A quote has no end.", text.count("\n", 0, position) + 1)])
        if token["word"]:
            line = line if words else text.count("\n", 0, position) + 1
            words.append(token["word"])
        elif token["end"] and words:
            yield _Command(tuple(words), line)
            words = []
        position = token.end()
    if words:
        yield _Command(tuple(words), line)


def _resource(command: _Command) -> tuple[str, dict[str, Any]]:
    """Id and fields of the resource that one call registers. Raises ValueError saying what is not understood."""
    if not any(_CONFIG_URL.fullmatch(_unquoted(word)) for word in command.words):
        raise ValueError("Only calls that post to …/config/ are understood.")
    body = _body(command.words)
    unknown = sorted(set(body) - set(FIELDS))
    if unknown:
        raise ValueError(f"The first RRM has no field {', '.join(unknown)}.")
    key = body.pop("id", None)
    if not isinstance(key, str) or not key:
        raise ValueError("The data has no id.")
    return key.lower(), {field: value_of(field, value) for field, value in body.items()}


def _body(words: Sequence[str]) -> dict[str, Any]:
    raw = _data_word(words)
    if re.search(r"[$`]", _QUOTED.sub("", raw)):
        raise ValueError("The data uses shell variables; only data in single quotes is understood.")
    try:
        body = json.loads(_unquoted(raw))
    except ValueError as error:
        raise ValueError(f"The data is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise ValueError("The data is not a JSON object.")
    return body


def _data_word(words: Sequence[str]) -> str:
    """The argument of curl's data option, as it is written."""
    for index, word in enumerate(words):
        option = _DATA.match(word)
        if option and option.end() < len(word):
            return word[option.end() :]
        if option and index + 1 < len(words):
            return words[index + 1]
    raise ValueError("The call has no --data.")


def _unquoted(word: str) -> str:
    return "".join(shlex.split(word.replace("\\\n", "")))


def value_of(field: str, value: object) -> object:
    """A value as the first RRM took it: numbers and booleans may be given as text."""
    if field in FLAGS and not isinstance(value, bool):
        return _TRUTH.get(str(value).strip().lower(), value)
    if field in NUMBERS and isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return value
