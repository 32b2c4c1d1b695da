"""Serving result files: ETags, byte ranges, HEAD; a part of a large file never passes through memory as a whole."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import parse_etags
from rest_framework.request import Request

from rrm.api.errors import PROBLEM_JSON, problem
from rrm.api.views import release_connections
from rrm.errors import NotReady

_CHUNK = 2**20
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
REVALIDATE = "private, no-cache"
FOREVER = "private, max-age=31536000, immutable"


@dataclass(frozen=True)
class Span:
    """Bytes `first` up to, not including, `stop`."""

    first: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.first


class Unsatisfiable(Exception):
    """A byte range that lies outside the file."""


class _FileAnswer(StreamingHttpResponse):
    """Closes the file when the answer is over, however it ends."""

    def __init__(self, file: BinaryIO, content: Iterator[bytes] | AsyncIterator[bytes], **options: Any) -> None:
        super().__init__(content, **options)
        self._file = file

    def close(self) -> None:
        super().close()
        self._file.close()


def serve_file(
    request: Request, path: Path, media_type: str, *, caching: str = REVALIDATE, length: int | None = None
) -> HttpResponseBase:
    """The file, or its first `length` bytes, or what `If-None-Match` and `Range` make of it (RFC 9110).

    Raises NotReady when there is no such file.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise NotReady("The result is not there yet.") from None
    status = os.fstat(file.fileno())
    size = status.st_size if length is None else min(length, status.st_size)
    etag = f'"{status.st_mtime_ns:x}-{status.st_ino:x}-{size:x}"'
    response = _answer(request, file, size, etag, media_type)
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = caching
    response.headers["Accept-Ranges"] = "bytes"
    return response


def serve_bytes(request: Request, content: bytes, media_type: str, etag: str) -> HttpResponseBase:
    """A small result that is the same whenever it is asked for again."""
    if _is_known(request, etag):
        response = HttpResponse(status=304)
    else:
        response = HttpResponse(content, content_type=media_type)
        response.headers["Content-Length"] = str(len(content))
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = FOREVER
    return response


def _answer(request: Request, file: BinaryIO, size: int, etag: str, media_type: str) -> HttpResponseBase:
    if _is_known(request, etag):
        file.close()
        return HttpResponse(status=304)
    try:
        span = requested_span(_range_header(request, etag), size)
    except Unsatisfiable:
        file.close()
        return _out_of_range(size)
    whole = Span(0, size)
    headers = {"Content-Length": str((span or whole).length)}
    if span:
        headers["Content-Range"] = f"bytes {span.first}-{span.stop - 1}/{size}"
    if request.method == "HEAD":
        file.close()
        return HttpResponse(status=206 if span else 200, headers=headers, content_type=media_type)
    release_connections()  # a slow reader must not hold one
    # Under ASGI Django would collect an ordinary iterator into a list: the whole file in memory.
    read = _read_async if isinstance(request._request, ASGIRequest) else _read
    return _FileAnswer(
        file, read(file, span or whole), status=206 if span else 200, headers=headers, content_type=media_type
    )


def _out_of_range(size: int) -> HttpResponse:
    detail = f"The file has {size} bytes."
    said = problem(416, "range-not-satisfiable", "The range lies outside the file", detail)
    return JsonResponse(said, status=416, content_type=PROBLEM_JSON, headers={"Content-Range": f"bytes */{size}"})


def requested_span(header: str, size: int) -> Span | None:
    """The part that a Range header asks for; None for the whole: no header, several parts, or another unit.

    Raises Unsatisfiable for a range without a single byte of the file.
    """
    match = _RANGE.fullmatch(header.strip().replace(" ", ""))
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if not first:
        span = Span(max(0, size - int(last)), size)
    else:
        if last and int(last) < int(first):
            return None  # not a valid range: as if it were not there
        span = Span(int(first), min(int(last) + 1, size) if last else size)
    if span.length <= 0:
        raise Unsatisfiable
    return span


def _range_header(request: Request, etag: str) -> str:
    """The Range header of a GET, unless `If-Range` says that it was meant for other bytes."""
    condition = request.META.get("HTTP_IF_RANGE", etag)
    return request.META.get("HTTP_RANGE", "") if request.method == "GET" and condition == etag else ""


def _is_known(request: Request, etag: str) -> bool:
    known = [tag.removeprefix("W/") for tag in parse_etags(request.META.get("HTTP_IF_NONE_MATCH", ""))]
    return etag in known or "*" in known


def _read(file: BinaryIO, span: Span) -> Iterator[bytes]:
    file.seek(span.first)
    left = span.length
    while left > 0 and (chunk := file.read(min(left, _CHUNK))):
        left -= len(chunk)
        yield chunk


async def _read_async(file: BinaryIO, span: Span) -> AsyncIterator[bytes]:
    position = span.first
    while position < span.stop:
        chunk = await asyncio.to_thread(os.pread, file.fileno(), min(span.stop - position, _CHUNK), position)
        if not chunk:
            return
        position += len(chunk)
        yield chunk
