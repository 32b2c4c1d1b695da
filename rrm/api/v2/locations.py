"""Where things are, relative to the server."""

from __future__ import annotations

PREFIX = "/rendering-resource-manager/v2/"


def at(noun: str, id: object, rest: str = "") -> str:
    """The path of a thing, or of something below it."""
    return f"{PREFIX}{noun}/{id}/{rest}"
