"""The node: registers, asks for leases ahead of need, renders, delivers, and leaves in order.

Three threads talk to the manager (leasing, sending, heartbeat). What is in hand is shared under one lock, under which
no call to the manager is made. `run` only waits for the end, so that leaving never waits for an answer.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from renderers.client import Interrupted, ManagerClient, ManagerError, ManagerGone, NotAuthorized, StaleLease
from renderers.lease import BadLease, Lease, parse_lease
from renderers.mandelbrot.deep.model import DeepView, Reference
from renderers.mandelbrot.deep.orbit import OrbitInterrupted
from renderers.mandelbrot.native import load
from renderers.mandelbrot.render import Renderer, Work
from renderers.models import HeldModels
from renderers.node import Exit, Identity
from renderers.preloading import Preloading
from renderers.steps import Hand, Step, next_step

log = logging.getLogger(__name__)

SHORTEST_REST = 0.05  # between two answers without work, whatever the manager says
GOODBYE_SECONDS = 5.0
HASTY_GOODBYE_SECONDS = 1.0


@dataclass(frozen=True)
class Delivery:
    """What the manager has to be told about a lease: its results, or why there are none."""

    lease_id: str
    work: Work | None
    tile: int | None = None
    error: str | None = None
    stage: str = "render"


@dataclass(frozen=True)
class Refusal:
    """A call that brought no work, and the (monotonic) instant before which it is not repeated."""

    step: Step
    until: float


NOTHING_REFUSED = Refusal(Step.REST, 0.0)


class SessionSide(Protocol):
    """What shows the node to a person who has booked it."""

    def start(self, drain: Callable[[], None]) -> None:
        """Answer; `drain` is called when somebody asks the node to leave."""

    def announce(self, session: Mapping[str, Any] | None) -> None:
        """What the manager says about the node's session."""

    def close(self, timeout: float) -> None:
        """Send everybody away."""


class Agent:
    """One node's life. `run` returns the exit code; `drain` and `abandon` may be called from any thread."""

    def __init__(
        self,
        client: ManagerClient,
        identity: Identity,
        models: HeldModels | None = None,
        side: SessionSide | None = None,
    ) -> None:
        self._client = client
        self._identity = identity
        self._changed = threading.Condition()
        self._rendering: dict[str, Lease] = {}
        self._loading: set[str] = set()  # those of them whose model is not there yet
        self._sending: list[Delivery] = []
        self._models = models or HeldModels()
        self._models.depot = client
        self._preloading = Preloading(self._models)
        self._side = side
        self._session: str | None = None
        self._deliveries = 0
        self._refused = NOTHING_REFUSED
        self._draining = False
        self._exit: Exit | None = None
        self._over = threading.Event()
        self._renderer = Renderer(identity.cores, self._begun, self._rendered)
        self._registered = False
        self._max_upload = 0
        self._heartbeat = 0.0

    def run(self) -> Exit:
        """Register, work until told to leave, say goodbye."""
        self._start(self._lease_loop)
        self._over.wait()
        outcome = self._exit or Exit.DONE
        if self._registered and outcome not in (Exit.MANAGER_GONE, Exit.NOT_AUTHORIZED):
            patience = GOODBYE_SECONDS if outcome is Exit.DONE else HASTY_GOODBYE_SECONDS
            self._client.goodbye(outcome.name.lower(), patience)
        return outcome

    def close(self, timeout: float) -> bool:
        """Release threads and connections; False when a thread is still computing after so many seconds."""
        self._client.close()
        self._models.close()
        if self._side:
            self._side.close(timeout)
        return self._renderer.close(timeout)

    def drain(self, reason: str) -> None:
        """Take no more work; finish and deliver what is in hand, then leave."""
        with self._changed:
            if not self._draining:
                log.info("draining: %s; %d leases in hand", reason, len(self._rendering) + len(self._sending))
            self._draining = True
            self._notice_change()

    def abandon(self, reason: str, outcome: Exit = Exit.ABANDONED) -> None:
        """Leave now; the manager gives the leases to others."""
        log.info("leaving at once: %s", reason)
        self._finish(outcome)

    @property
    def draining(self) -> bool:
        """It was told to leave."""
        return self._draining

    # --- threads

    def _start(self, loop: Callable[[], None]) -> None:
        threading.Thread(target=self._guard, args=(loop,), name=loop.__name__.strip("_"), daemon=True).start()

    def _guard(self, loop: Callable[[], None]) -> None:
        """Run a thread's loop; an exception that ends it ends the node, with the exit code that says why."""
        try:
            loop()
        except Interrupted:
            return
        except NotAuthorized as error:
            log.error("the manager does not accept this node: %s", error)
            self._finish(Exit.NOT_AUTHORIZED)
        except ManagerGone as error:
            log.error("%s", error)
            self._finish(Exit.MANAGER_GONE)
        except Exception:
            if self._over.is_set():  # the connections were closed under it
                return
            log.exception("the node cannot go on")
            self._finish(Exit.BROKEN)

    def _register(self) -> None:
        registration = self._client.register(self._identity.as_json())
        self._max_upload, self._heartbeat = registration.max_upload_bytes, registration.heartbeat
        self._registered = True
        log.info("registered as %s with %d cores", self._identity.name, self._identity.cores)

    def _heartbeat_loop(self) -> None:
        while not self._over.wait(self._heartbeat):
            answer = self._client.heartbeat(
                self._in_hand(), self._models.digests(), self._identity.cores, unloaded=self._preloading.failures()
            )
            for lease_id in answer.get("revoked", ()):
                if self._renderer.abandon(lease_id) or self._forget(lease_id):
                    log.info("lease %s was taken back", lease_id)
            self._models.pin(answer.get("pinned", ()))
            self._obey(answer)

    def _lease_loop(self) -> None:
        self._register()
        self._start(self._heartbeat_loop)
        self._start(self._send_loop)
        if self._side:
            self._side.start(lambda: self.drain("asked by whoever has booked it"))
        load()
        while (step := self._await_step()) is not Step.LEAVE:
            asked_at, deliveries = time.monotonic(), self._deliveries
            answer = self._ask(wait=step is Step.POLL)
            if answer.get("lease"):
                self._accept(answer["lease"])
            elif answer.get("preload"):
                self._preloading.begin(answer["preload"])
            elif deliveries == self._deliveries and not self._is_news(answer):
                retry_after = max(SHORTEST_REST, float(answer.get("retry_after") or 0.0))
                self._refused = Refusal(step, asked_at + retry_after)
            if "session" in answer and not answer.get("lease"):
                self._meet(answer["session"])
            self._obey(answer)

    def _ask(self, *, wait: bool) -> dict[str, Any]:
        return self._client.lease(
            self._in_hand(),
            self._models.as_json(),
            self._identity.cores,
            wait=wait,
            session=self._session,
            memory=self._models.memory,
            unloaded=self._preloading.failures(),
        )

    def _is_news(self, answer: Mapping[str, Any]) -> bool:
        """Whether the answer tells of another session: the next may begin at once, and is asked for without a rest."""
        session = answer.get("session")
        return "session" in answer and (session["id"] if session else None) != self._session

    def _meet(self, session: Mapping[str, Any] | None) -> None:
        """Serve this session from now on, or none."""
        self._session = session["id"] if session else None
        if self._side:
            self._side.announce(session)

    def _send_loop(self) -> None:
        while (delivery := self._next_delivery()) is not None:
            self._deliver(delivery)
            with self._changed:
                self._sending.remove(delivery)
                self._deliveries += 1
                self._refused = NOTHING_REFUSED  # with less in hand the manager may answer otherwise
                self._notice_change()

    # --- leasing

    def _await_step(self) -> Step:
        """The next call to make; one that brought nothing is not repeated before the manager's `retry_after`."""
        with self._changed:
            while not self._over.is_set():
                step = next_step(self._hand())
                remaining = self._refused.until - time.monotonic() if step is self._refused.step else 0.0
                if step is not Step.REST and remaining <= 0.0:
                    return step
                self._changed.wait(remaining if remaining > 0.0 else None)
        return Step.LEAVE

    def _hand(self) -> Hand:
        return Hand(
            rendering=len(self._rendering),
            tiles=sum(lease.stop - lease.start for lease in self._rendering.values()),
            unstarted=self._renderer.unstarted(),
            sending=len(self._sending),
            threads=self._identity.cores,
            draining=self._draining,
        )

    def _accept(self, document: dict[str, Any]) -> None:
        started = time.perf_counter()
        try:
            lease = parse_lease(document)
        except BadLease as error:
            log.error("lease %s: %s", error.lease_id, error)
            with self._changed:
                self._sending.append(Delivery(error.lease_id, None, None, str(error)))
                self._notice_change()
            return
        with self._changed:
            if lease.id in self._rendering:
                return
            self._rendering[lease.id] = lease
            if lease.reference is not None:
                self._loading.add(lease.id)
        log.info("lease %s: tiles %d to %d of job %s", lease.id, lease.start, lease.stop - 1, lease.job)
        if isinstance(lease.view, DeepView) and lease.reference is not None:
            loading = (lease, lease.reference, lease.view)
            threading.Thread(target=self._load, args=loading, name="load", daemon=True).start()
            return
        self._models.note(lease.digest, time.perf_counter() - started, len(str(document["model"])))
        self._renderer.submit(lease)

    def _load(self, lease: Lease, reference: Reference, view: DeepView) -> None:
        """Render a deep lease when its model is there; other leases are rendered meanwhile."""
        try:
            model = self._models.load(reference, view)
        except OrbitInterrupted:
            return
        except Exception as error:  # whatever a load does, its lease is handed back and the node lives
            log.exception("the model of lease %s cannot be loaded", lease.id)
            self._forget(lease.id, Delivery(lease.id, None, None, f"{type(error).__name__}: {error}", "load"))
            return
        with self._changed:
            wanted = lease.id in self._loading
            self._loading.discard(lease.id)
        if wanted:
            self._renderer.submit(lease, model)

    def _forget(self, lease_id: str, delivery: Delivery | None = None) -> bool:
        """Drop a lease whose model is still being loaded, and deliver this instead; False if there is none."""
        with self._changed:
            if lease_id not in self._loading:
                return False
            self._loading.remove(lease_id)
            del self._rendering[lease_id]
            if delivery:
                self._sending.append(delivery)
            self._notice_change()
            return True

    def _begun(self) -> None:
        """A core has begun a tile: it may be time for the next lease."""
        with self._changed:
            self._changed.notify_all()

    # --- delivering

    def _rendered(self, work: Work) -> None:
        """The last tile of a lease ended; called from the pool."""
        with self._changed:
            self._rendering.pop(work.lease.id, None)
            if not work.abandoned:
                self._sending.append(Delivery(work.lease.id, work, work.failed_tile, work.error))
            self._notice_change()

    def _next_delivery(self) -> Delivery | None:
        """The oldest delivery, which stays in hand until it has been made; None when the node is leaving."""
        with self._changed:
            while not self._over.is_set():
                if self._sending:
                    return self._sending[0]
                self._changed.wait()
        return None

    def _deliver(self, delivery: Delivery) -> None:
        try:
            if delivery.work is None or delivery.error is not None:
                error = delivery.error or "nothing was rendered"
                self._obey(self._client.fail(delivery.lease_id, delivery.tile, error, delivery.stage))
                return
            self._obey(self._upload(delivery.lease_id, delivery.work))
        except NotAuthorized:
            raise
        except StaleLease:
            log.info("lease %s was finished elsewhere", delivery.lease_id)
        except ManagerError as error:
            log.error("lease %s was refused: %s", delivery.lease_id, error)
            self._hand_back(delivery.lease_id, str(error))

    def _upload(self, lease_id: str, work: Work) -> dict[str, Any]:
        bundle = work.bundle()
        if len(bundle) > self._max_upload:
            return self._client.fail(
                lease_id, None, f"the results have {len(bundle)} bytes, {self._max_upload} may be sent"
            )
        return self._client.upload(lease_id, bundle)

    def _hand_back(self, lease_id: str, error: str) -> None:
        """Say that refused results will not come; the manager may know already."""
        try:
            self._client.fail(lease_id, None, error)
        except NotAuthorized:
            raise
        except ManagerError as refusal:
            log.warning("lease %s: %s", lease_id, refusal)

    # --- shared state

    def _in_hand(self) -> list[str]:
        with self._changed:
            return [*self._rendering, *(delivery.lease_id for delivery in self._sending)]

    def _obey(self, answer: dict[str, Any]) -> None:
        command = answer.get("command", "run")
        if command == "drain":
            self.drain("told by the manager")
        elif command == "stop":
            self.abandon("told by the manager", Exit.DONE)

    def _notice_change(self) -> None:
        """Call under the lock after any change of what is in hand."""
        if self._draining and not self._rendering and not self._sending:
            self._finish(Exit.DONE)
        self._changed.notify_all()

    def _finish(self, outcome: Exit) -> None:
        with self._changed:
            if self._exit is None:
                self._exit = outcome
            self._client.patience.leaving.set()
            self._over.set()
            self._changed.notify_all()
