"""The OpenAPI document of version 1, written down: its bodies are what the first RRM's programs send and expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rrm.farm.populating.first_rrm import FIELDS, FLAGS, NUMBERS

PREFIX = "/rendering-resource-manager/v1/"

_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}
_CONTENTS = {"type": "object", "properties": {"contents": _TEXT}}
_SESSION = {"name": "session_id", "in": "query", "required": True, "schema": {"type": "string", "format": "uuid"}}
_PATH = {"name": "path", "in": "path", "required": True, "schema": _TEXT}
_ADMIN = {"name": "command", "in": "path", "required": True, "schema": {"enum": ["keepalive", "suspend", "resume"]}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _kind(field: str) -> dict[str, Any]:
    return {"type": "boolean" if field in FLAGS else "integer" if field in NUMBERS else "string"}


_CONFIG = _object(**{field: _kind(field) for field in FIELDS})
_ROW = _object(id=_TEXT, owner=_TEXT, configuration_id=_TEXT)
_STATUS = _object(session=_TEXT, code={"type": "integer"}, description=_TEXT, hostname=_TEXT, port=_TEXT)
_OPEN = _object(params=_TEXT, environment=_TEXT)
_SCHEDULE = _object(
    **_OPEN["properties"],
    **dict.fromkeys(("nb_nodes", "nb_cpus", "nb_gpus", "memory"), _WHOLE),
    **dict.fromkeys(("queue", "reservation", "allocation_time"), _TEXT),
    exclusive={"type": "boolean"},
)

# method, path, summary, body, answers by status
_Row = tuple[str, str, str, Mapping[str, Any] | None, Mapping[int, Any]]
_OPERATIONS: Sequence[_Row] = (
    ("get", "config/", "List the configurations", None, {200: {"type": "array", "items": _CONFIG}}),
    ("post", "config/", "Register a configuration", _CONFIG, {201: _CONTENTS, 400: _CONTENTS, 409: _CONTENTS}),
    ("put", "config/", "Change a configuration", _CONFIG, {200: _TEXT, 404: _TEXT}),
    ("delete", "config/", "Remove a configuration", _object(id=_TEXT), {200: _TEXT, 404: _TEXT, 409: _TEXT}),
    ("get", "session/", "List your sessions", None, {200: {"type": "array", "items": _ROW}}),
    (
        *("post", "session/", "Reserve a session", _object(owner=_TEXT, configuration_id=_TEXT)),
        {201: _object(session_id=_TEXT), 401: _TEXT, 403: _CONTENTS, 404: _CONTENTS},
    ),
    ("delete", "session/", "End a session", None, {200: _CONTENTS, 404: _CONTENTS}),
    ("get", "session/{session_id}/", "Show a session", None, {200: _ROW, 404: _CONTENTS}),
    (
        *("put", "session/open", "Start its renderer as a process", _OPEN),
        {200: _object(message=_TEXT, processId=_TEXT), 400: _CONTENTS, 401: _CONTENTS, 404: _CONTENTS},
    ),
    (
        *("put", "session/schedule", "Start its renderer as a job of a cluster", _SCHEDULE),
        {200: _object(message=_TEXT), 400: _CONTENTS, 401: _CONTENTS, 404: _CONTENTS},
    ),
    ("get", "session/status", "Show how far its renderer is", None, {200: _STATUS, 404: _STATUS}),
    ("get", "session/log", "Show what its renderer writes", None, {200: _CONTENTS, 404: _CONTENTS}),
    ("get", "session/err", "Show what its renderer writes of errors", None, {200: _CONTENTS, 404: _CONTENTS}),
    ("get", "session/job", "Show what its site says of the job", None, {200: _CONTENTS, 404: _CONTENTS}),
    ("get", "session/{path}", "Ask its renderer", None, {200: {}, 400: _CONTENTS, 404: _CONTENTS}),
    ("put", "session/{path}", "Tell its renderer", {}, {200: {}, 400: _CONTENTS, 404: _CONTENTS}),
    ("put", "admin/{command}", "Keep a session, or switch new ones off and on", None, {200: _TEXT, 401: _TEXT}),
)


def description() -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for method, path, summary, body, answers in _OPERATIONS:
        paths.setdefault(PREFIX + path, {})[method] = _operation(method, path, summary, body, answers)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rendering resource manager, version 1",
            "version": "1",
            "description": "The first RRM's API, for programs that were written against it. Answers call themselves "
            "text/html even where they are JSON. New programs use version 2.",
        },
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
    }


def _operation(
    method: str, path: str, summary: str, body: Mapping[str, Any] | None, answers: Mapping[int, Any]
) -> dict[str, Any]:
    words = path.replace("{", "").replace("}", "").strip("/").split("/")
    operation: dict[str, Any] = {
        "operationId": "_".join((method, *words)),
        "summary": summary,
        "parameters": _parameters(method, path),
        "responses": {
            str(status): {"description": summary, "content": {"text/html": {"schema": schema}}}
            for status, schema in answers.items()
        },
    }
    if body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return operation


def _parameters(method: str, path: str) -> list[dict[str, Any]]:
    if path == "session/{session_id}/":
        return [{**_SESSION, "in": "path"}]
    if path.startswith("session/") and (path != "session/" or method == "delete"):
        return [_SESSION, *([_PATH] if "{path}" in path else [])]
    return [_ADMIN, {**_SESSION, "required": False}] if path.startswith("admin/") else []
