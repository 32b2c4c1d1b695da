"""A client of the v2 API over HTTP: submit a job, follow it, fetch its results; book a renderer and use it.

Knows no Django and no database.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

PREFIX = "/rendering-resource-manager/v2/"
FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
RESULTS = {"png": "image.png", "counts": "counts.npy", "smooth": "smooth.npy", "webp": "image.webp"}

_POLL_SECONDS = 1.0
_SESSION_POLL_SECONDS = 0.2
_TRIES = 5
_TIMEOUT = httpx.Timeout(30, connect=5)
_QUIET_SECONDS = 45.0  # a stream says something at least every 15 s
_CHUNK = 2**20
_MAKING_SECONDS = 300.0


class Unreachable(Exception):
    """The manager does not answer."""


class Refused(Exception):
    """The manager answered with an error; `errors` maps fields to messages, `retry_after` is in seconds."""

    def __init__(
        self, status: int, detail: str, errors: Mapping[str, list[str]] | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.errors = errors or {}
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. Rate in tiles per second, `eta` in seconds; None while they cannot be told."""

    state: str = "QUEUED"
    reason: str = ""
    tiles: int = 0
    done: int = 0
    rate: float | None = None
    eta: float | None = None

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    def with_job(self, body: Mapping[str, Any]) -> Progress:
        """The progress that the body of a job tells."""
        reason = body.get("reason") or body.get("pending_reason") or ""
        return replace(self, state=body["state"], reason=reason).with_counts(body.get("progress", {}))

    def with_counts(self, counts: Mapping[str, Any]) -> Progress:
        return replace(
            self,
            tiles=counts.get("tiles", self.tiles),
            done=counts.get("done", self.done),
            rate=counts.get("tiles_per_second"),
            eta=counts.get("eta_seconds"),
        )

    def with_event(self, kind: str, data: Mapping[str, Any]) -> Progress:
        """The progress after one event of the job's stream."""
        if kind == "state":
            return replace(self, state=data.get("state", self.state), reason=data.get("reason", ""))
        return self.with_counts(data) if kind == "progress" else self


class Client:
    """One manager, as one token's owner sees it. Raises Unreachable and Refused."""

    def __init__(self, url: str, token: str) -> None:
        # A proxy of the environment is for other hosts than this one.
        is_here = urlsplit(url).hostname in {"127.0.0.1", "::1", "localhost"}
        self._http = httpx.Client(
            base_url=url.rstrip("/") + PREFIX,
            headers={"Authorization": f"Bearer {token}"},
            timeout=_TIMEOUT,
            trust_env=not is_here,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._http.close()

    def submit(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """The body of the new job. Sent again after a broken connection; the key makes that one job all the same."""
        return self._json("POST", "job/", json=order, headers={"Idempotency-Key": str(uuid.uuid4())})

    def recolor(self, job: str, coloring: Mapping[str, Any]) -> dict[str, Any]:
        """The body of the new job that paints the finished one in other colours; nothing is rendered."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return self._json("POST", f"job/{job}/recolor", json={"coloring": coloring}, headers=headers)

    def job(self, job: str) -> dict[str, Any]:
        return self._json("GET", f"job/{job}/")

    def cancel(self, job: str) -> None:
        self._json("POST", f"job/{job}/cancel")

    def follow(self, job: str) -> Iterator[Progress]:
        """The progress of a job each time it changes, the last one final. Polls when the stream breaks."""
        body = self.job(job)
        # The stream tells the story from its beginning, so only what it does not tell is taken from the body.
        progress = Progress(tiles=body["progress"]["tiles"], reason=body.get("pending_reason", ""))
        yield progress
        for kind, data in self._events(job):
            told = progress.with_event(kind, data)
            if told.is_final:
                break  # the last counts are in the body
            if told != progress:
                progress = told
                yield progress
        while not progress.is_final:
            told = progress.with_job(self.job(job))
            if told != progress:
                progress = told
                yield progress
            if not progress.is_final:
                time.sleep(_POLL_SECONDS)

    def save(self, job: str, output: str, target: Path) -> int:
        """Fetch a result into `target`, which is complete or not there; its size in bytes. Waits while it is made."""
        ends = time.monotonic() + _MAKING_SECONDS
        while True:
            try:
                return self._fetch(job, output, target)
            except Refused as refused:
                if refused.status != httpx.codes.CONFLICT or not refused.retry_after or time.monotonic() > ends:
                    raise
                time.sleep(refused.retry_after)

    def book(self, **order: Any) -> dict[str, Any]:
        """The body of a new session, READY or PENDING; `order` has resource, model or params, max_wait, …

        Raises Refused with status 503 when nothing is free in time. Sent once: nobody pays for two.
        """
        return self._json("POST", "session/", tries=1, json=order)

    def session(self, session: str) -> dict[str, Any]:
        return self._json("GET", f"session/{session}/")

    def end(self, session: str) -> None:
        """End a session; one that is over stays as it is."""
        self._json("DELETE", f"session/{session}/")

    @contextmanager
    def booked(self, **order: Any) -> Iterator[dict[str, Any]]:
        """A READY session for as long as the block runs. Raises Refused when no renderer came in time."""
        body = self.book(**order)
        try:
            while body["state"] == "PENDING":
                time.sleep(_SESSION_POLL_SECONDS)
                body = self.session(body["id"])
            if body["state"] != "READY":
                raise Refused(httpx.codes.SERVICE_UNAVAILABLE, body["reason"])
            yield body
        finally:
            self.end(body["id"])

    def preload(self, model: str, resource: str, nodes: int = 1, **order: Any) -> dict[str, Any]:
        """Have so many nodes load the model (an id or a name) before anybody needs it; what there is of that.

        `order` may have `until`, an RFC 3339 time. Twice is the same as once.
        """
        return self._json("POST", f"model/{model}/preload", json={"resource": resource, "nodes": nodes, **order})

    def ask(self, session: str, method: str, path: str, **options: Any) -> httpx.Response:
        """What the session's node answers to a request, with the options of `httpx.request`. Raises Refused."""
        try:
            response = self._http.request(method, f"session/{session}/proxy/{path}", **options)
        except httpx.TransportError as error:
            raise Unreachable(f"{self._http.base_url} does not answer: {error}") from None
        _check(response)
        return response

    def _fetch(self, job: str, output: str, target: Path) -> int:
        draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
        try:
            with self._stream(f"job/{job}/{RESULTS[output]}") as response, draft.open("wb") as file:
                for chunk in response.iter_bytes(_CHUNK):
                    file.write(chunk)
            size = draft.stat().st_size
            draft.replace(target)
            return size
        except httpx.TransportError as error:
            raise Unreachable(f"The connection broke while {output} was fetched: {error}") from None
        finally:
            draft.unlink(missing_ok=True)

    def _json(self, method: str, path: str, tries: int = _TRIES, **options: Any) -> dict[str, Any]:
        for attempt in range(tries):
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                if attempt + 1 == tries:
                    raise Unreachable(f"{self._http.base_url} does not answer: {error}") from None
                time.sleep(0.2 * 2**attempt)
                continue
            _check(response)
            return dict(response.json()) if response.content else {}
        raise AssertionError("unreachable")

    def _stream(self, path: str) -> Any:
        return _Checked(self._http.stream("GET", path))

    def _events(self, job: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Kind and data of the job's events; ends quietly when the stream does, for whatever reason."""
        patience = httpx.Timeout(_TIMEOUT.connect, read=_QUIET_SECONDS)
        try:
            with self._http.stream("GET", f"job/{job}/events", timeout=patience) as response:
                if response.status_code == httpx.codes.OK:
                    yield from _parsed(response.iter_lines())
        except httpx.TransportError:
            return


class _Checked:
    """A streamed answer; entering it raises Refused for an error."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __enter__(self) -> httpx.Response:
        response: httpx.Response = self._stream.__enter__()
        try:
            if response.is_error:
                response.read()
            _check(response)
        except BaseException:
            self._stream.__exit__(None, None, None)
            raise
        return response

    def __exit__(self, *exc_info: object) -> None:
        self._stream.__exit__(*exc_info)


def _check(response: httpx.Response) -> None:
    """Raise Refused unless the answer is a success."""
    if response.is_success:
        return
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    detail = problem.get("detail") or problem.get("title") or response.reason_phrase
    wait = response.headers.get("Retry-After", "")
    raise Refused(response.status_code, str(detail), problem.get("errors"), float(wait) if wait.isdecimal() else None)


def _parsed(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Server-sent events: kind and JSON data. Comments, numbers and data that is no JSON object are passed over."""
    kind, data = "message", ""
    for line in lines:
        if line.startswith("event:"):
            kind = line.removeprefix("event:").strip()
        elif line.startswith("data:"):
            data += line.removeprefix("data:").strip()
        elif not line:
            with_data = _object(data)
            if with_data is not None:
                yield kind, with_data
            kind, data = "message", ""


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
