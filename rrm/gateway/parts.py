"""Answers of several parts: each part has headers of its own, and browsers take cookies from them as well. Pure.

Firefox does so for `multipart/x-mixed-replace`, the streams of pictures that are shown as they come. Where such a
header would be, another name of the same length stands afterwards, so that no length changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_WORD = b"set-cookie"
_INSTEAD = b"x-unwanted"
_FOUND = re.compile(re.escape(_WORD), re.IGNORECASE)


def has_parts(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether an answer with these headers has parts. Of several types in one header browsers take the last."""
    return any(name.lower() == b"content-type" and b"multipart/" in value.lower() for name, value in headers)


def is_encoded(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the body is compressed, so that nobody here sees what is in it."""
    return any(name.lower() == b"content-encoding" and value.lower() != b"identity" for name, value in headers)


@dataclass
class Parts:
    """The body of such an answer, piece by piece; only what may be the beginning of the word waits for the next one."""

    _held: bytes = b""

    def passing(self, piece: bytes, *, is_last: bool) -> bytes:
        data = _FOUND.sub(_INSTEAD, self._held + piece)
        kept = len(data) if is_last else len(data) - _begun(data)
        self._held = data[kept:]
        return data[:kept]


def _begun(data: bytes) -> int:
    """How many bytes at the end are the beginning of the word."""
    end = data[-len(_WORD) + 1 :].lower()
    return next((size for size in range(len(end), 0, -1) if _WORD.startswith(end[-size:])), 0)
