"""Forms of messages: cameras in JSON or in a query, refusals of them, and what a WebSocket's client says."""

import contextlib
import json
from dataclasses import dataclass
from typing import Any

from renderers.streaming.camera import Refused
from renderers.streaming.http import Problem
from renderers.streaming.subject import Subject

PAIRS = ("center", "julia")
WHOLE_NUMBERS = ("width", "height", "max_iter")
NUMBERS = ("escape_radius", "offset", "scale", "light_angle", "light_height")


@dataclass(frozen=True)
class Change:
    """A client changes its camera."""

    fields: dict[str, Any]


@dataclass(frozen=True)
class Ack:
    """A client has received all frames up to this one."""

    frame: int


class Unreadable(ValueError):
    """The message is none of ours."""


def read_message(text: str | None) -> Change | Ack:
    """What a client says. Raises Unreadable."""
    try:
        document = json.loads(text or "", parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Unreadable("Send JSON: a camera, or an acknowledgement of a frame.") from None
    if not isinstance(document, dict):
        raise Unreadable("Send an object: a camera, or an acknowledgement of a frame.")
    if "ack" not in document:
        return Change(document)
    frame = document["ack"]
    if not isinstance(frame, int) or isinstance(frame, bool) or len(document) > 1:
        raise Unreadable('An acknowledgement is {"ack": number of a frame}.')
    return Ack(frame)


def read_camera(content: bytes) -> Any:
    """The JSON of a request. Raises Problem."""
    try:
        return json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise refusal(Refused({"camera": ["The body is not JSON."]})) from None


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def from_query(parameters: dict[str, str]) -> dict[str, Any]:
    """A camera from a query: pairs are written x,y. What cannot be read is left for the camera to refuse."""
    fields: dict[str, Any] = {}
    for name, text in parameters.items():
        value: Any = text.split(",") if name in PAIRS else text
        for names, kind in ((WHOLE_NUMBERS, int), (NUMBERS, float)):
            if name in names and len(text) <= 32:
                with contextlib.suppress(ValueError):
                    value = kind(text)
        fields[name] = value
    return fields


def camera_json(subject: Subject) -> dict[str, Any]:
    """The camera, and the iteration limit that it comes to."""
    return subject.camera.as_json() | {"iterations": subject.limits.max_iter, "deep": subject.is_deep}


def refusal(refused: Refused) -> Problem:
    """A refused camera as a problem."""
    return Problem(422, "invalid", str(refused), errors=refused.errors)


def error_json(code: str, camera: object, errors: dict[str, list[str]]) -> str:
    """A refusal as a WebSocket's client gets it."""
    return json.dumps({"error": code, "camera": camera, "errors": errors})
