"""Talks to the manager: one method per route, retries while the manager is away, typed errors for its refusals."""

import json
import logging
import random
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import httpx

log = logging.getLogger(__name__)

PREFIX = "/rendering-resource-manager/v2/node-agent/"
BUNDLE_TYPE = "application/vnd.rrm.bundle"
MODEL_TYPE = "application/vnd.rrm.model"
PIECE = 1 << 20  # bytes of a model that are sent or received at a time
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
LONGEST_ERROR = 2000  # characters of an error that are sent
LONGEST_PROBLEM = 300
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
FEWEST_ATTEMPTS = 3  # also after a long silence of our own, e.g. of a suspended machine
MOST_FAULTS = 8  # server errors to one request while the manager answers others
GIVE_UP_BEFORE_REGISTRATION = 60.0
TOO_MANY_REQUESTS, SERVER_ERROR = 429, 500


class ManagerError(Exception):
    """The manager refused a request; `code` is its machine-readable reason."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}" if detail else f"{status} {code}")
        self.status = status
        self.code = code


class NotAuthorized(ManagerError):
    """The token is not, or no longer, accepted."""


class StaleLease(ManagerError):
    """The lease was taken back; its results are not wanted."""


class ManagerGone(Exception):
    """The manager did not answer for longer than it may."""


class Interrupted(Exception):
    """The node is leaving and does not wait for the manager any longer."""


@dataclass(frozen=True)
class Registration:
    """What the manager told this node when it registered; durations in seconds."""

    node_id: str
    token: str
    heartbeat: float
    lease_wait: float
    give_up: float
    max_upload_bytes: int


class Patience:
    """How long the manager may stay silent. Shared by all threads: an answer to any of them counts."""

    def __init__(self, give_up: float) -> None:
        self.give_up = give_up
        self.leaving = threading.Event()
        self._last_answer = time.monotonic()

    def answered(self) -> None:
        """The manager is there."""
        self._last_answer = time.monotonic()

    def heard_since(self, instant: float) -> bool:
        """It answered a request after that (monotonic) instant."""
        return self._last_answer > instant

    def pause(self, attempt: int, reason: str) -> None:
        """Wait before the next attempt. Raises ManagerGone when it has been silent too long, Interrupted on leaving."""
        if self.leaving.is_set():
            raise Interrupted(reason)
        silent = time.monotonic() - self._last_answer
        if silent > self.give_up and attempt >= FEWEST_ATTEMPTS:
            raise ManagerGone(f"no answer for {silent:.0f} s: {reason}")
        if attempt == 0:
            log.warning("the manager does not answer (%s), trying again", reason)
        seconds = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt, 10))
        if self.leaving.wait(seconds * random.uniform(0.5, 1.0)):  # noqa: S311  (jitter, not cryptography)
            raise Interrupted(reason)


class ManagerClient:
    """The manager's node routes. Safe to use from several threads; no call is made under a lock.

    `manager` is its address, or a file that holds it, which is read again when nobody answers: a way through a tunnel
    may come back at another port. A second word in the file is the name by which the manager knows itself.
    """

    def __init__(self, manager: str | Path, token: str, give_up: float = GIVE_UP_BEFORE_REGISTRATION) -> None:
        self.patience = Patience(give_up)
        self._manager = manager
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        self._http = httpx.Client(timeout=timeout, trust_env=False, verify=_authorities())
        self._find_manager()
        self._lease_timeout = timeout
        self._use(token)

    @property
    def manager_host(self) -> str:
        """The host of the manager's address."""
        return self._http.base_url.host

    def _find_manager(self) -> None:
        """Use the address that is told now; an unreadable file changes nothing."""
        try:
            told = self._manager.read_text().strip() if isinstance(self._manager, Path) else self._manager
        except OSError as error:
            log.warning("the manager's address cannot be read: %s", error)
            return
        address, _, known_as = told.partition(" ")
        if address:
            self._http.base_url = httpx.URL(address.rstrip("/") + PREFIX)
        if known_as:
            self._http.headers["Host"] = known_as.strip()

    def _use(self, token: str) -> None:
        self._http.headers["Authorization"] = f"Bearer {token}"

    def register(self, about: Mapping[str, Any]) -> Registration:
        """Exchange the launch token for a node token, which all later calls use."""
        answer = self._call("POST", "register", json=about)
        registration = Registration(
            node_id=str(answer["node_id"]),
            token=str(answer["token"]),
            heartbeat=float(answer["heartbeat_seconds"]),
            lease_wait=float(answer["lease_wait_seconds"]),
            give_up=float(answer["give_up_seconds"]),
            max_upload_bytes=int(answer["max_upload_bytes"]),
        )
        self._use(registration.token)
        self.patience.give_up = registration.give_up
        self._lease_timeout = httpx.Timeout(registration.lease_wait + ANSWER_SECONDS, connect=CONNECT_SECONDS)
        return registration

    def heartbeat(
        self,
        leases: Iterable[str],
        models: Iterable[str],
        cores: int,
        problem: str | None = None,
        unloaded: Iterable[str] = (),
    ) -> dict[str, Any]:
        """Say that the node lives, and what ails it where that is news; answers {"command", "revoked", "pinned"}.

        `unloaded` as in `lease`: told by whichever call comes first.
        """
        body: dict[str, Any] = {"leases": [*leases], "models": [*models], "cores": cores}
        if problem is not None:
            body["problem"] = problem[:LONGEST_PROBLEM]
        if unloaded:
            body["unloaded"] = [*unloaded]
        return self._call("POST", "heartbeat", json=body)

    def lease(
        self,
        leases: Iterable[str],
        models: Iterable[Mapping[str, Any]],
        cores: int,
        *,
        wait: bool,
        session: str | None = None,
        memory: int | None = None,
        unloaded: Iterable[str] = (),
    ) -> dict[str, Any]:
        """Ask for work; answers {"command", "lease", "retry_after", "session", "preload"}, later when `wait` allows it.

        `session` is the one that the node knows of: of another it is told at once. `memory` is how many bytes of
        models it keeps, `unloaded` are those that it was told to load and could not.
        """
        body = {"leases": [*leases], "models": [*models], "cores": cores, "wait": wait, "session": session}
        body |= {"memory": memory} if memory is not None else {}
        body |= {"unloaded": [*unloaded]} if unloaded else {}
        return self._call("POST", "lease", json=body, timeout=self._lease_timeout)

    def upload(self, lease_id: str, bundle: bytes) -> dict[str, Any]:
        """Deliver a lease. Raises StaleLease when it is not wanted any more. Safe to repeat."""
        headers = {"Content-Type": BUNDLE_TYPE}
        return self._call("PUT", f"lease/{lease_id}", content=bundle, headers=headers)

    def fail(self, lease_id: str, tile: int | None, error: str, stage: str = "render") -> dict[str, Any]:
        """Hand a lease back, with the tile that cannot be rendered where there is one.

        The stage is "load" where the model could not be loaded, so that no tile was tried.
        """
        body = {"tile": tile, "error": error[:LONGEST_ERROR], "stage": stage}
        return self._call("POST", f"lease/{lease_id}/fail", json=body)

    def fetch_model(self, digest: str) -> Iterator[bytes]:
        """What another node has loaded, in pieces, or nothing: one attempt. Raises ManagerError, httpx.HTTPError."""
        with self._http.stream("GET", f"model/{digest}/data") as response:
            if not response.is_success:
                response.read()
                _read(response)
            yield from response.iter_raw(PIECE)

    def keep_model(self, digest: str, path: Path) -> None:
        """Leave a loaded model for other nodes: one attempt. Raises ManagerError, httpx.HTTPError, OSError."""
        headers = {"Content-Type": MODEL_TYPE, "Content-Length": str(path.stat().st_size)}
        with path.open("rb") as file:
            pieces = iter(lambda: file.read(PIECE), b"")
            _read(self._http.put(f"model/{digest}/data", content=pieces, headers=headers))

    def goodbye(self, reason: str, timeout: float) -> None:
        """Say that the node leaves: one attempt."""
        try:
            _read(self._http.post("goodbye", json={"reason": reason}, timeout=timeout))
        except (httpx.HTTPError, ManagerError) as error:
            log.warning("goodbye was not heard: %s", error)

    def close(self) -> None:
        """Give up all connections; calls in progress in other threads fail."""
        self._http.close()

    def _call(self, method: str, route: str, **options: Any) -> dict[str, Any]:
        """Send until there is an answer. Raises ManagerError, ManagerGone, Interrupted."""
        started = time.monotonic()
        attempt = 0
        while True:
            try:
                response = self._http.request(method, route, **options)
            except httpx.TransportError as error:
                reason = f"{type(error).__name__}: {error}"
                self._find_manager()
            else:
                if not _worth_repeating(response):
                    self.patience.answered()
                    return _read(response)
                if attempt >= MOST_FAULTS and self.patience.heard_since(started):
                    return _read(response)
                reason = f"{method} {route} answered {response.status_code}"
            self.patience.pause(attempt, reason)
            attempt += 1


def _authorities() -> ssl.SSLContext:
    """The well-known certificate authorities and those of this machine, where a site registers its own."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _worth_repeating(response: httpx.Response) -> bool:
    """A fault of the server, or of a proxy before it, may have passed at the next attempt."""
    return response.status_code == TOO_MANY_REQUESTS or response.status_code >= SERVER_ERROR


REFUSALS = {401: NotAuthorized, 409: StaleLease}


def _read(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of a success. Raises ManagerError as the problem document says."""
    document = _document(response.content)
    if response.is_success:
        return document
    code, detail = str(document.get("code", "error")), str(document.get("detail", ""))
    raise REFUSALS.get(response.status_code, ManagerError)(response.status_code, code, detail)


def _document(body: bytes) -> dict[str, Any]:
    """A JSON object, or an empty one: a proxy's error page has no code to tell."""
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
