"""The render models this node holds, as it tells the manager, which prefers nodes that hold the model of a job.

In double precision a model is its parameters, and is noted. A deep one is loaded, once for all leases that want it: its
reference orbit is read from a file that an earlier load left, or fetched from where another node left it, or computed.
The least recently used make room.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from renderers.mandelbrot.deep import native
from renderers.mandelbrot.deep.model import DeepModel, DeepView, Reference
from renderers.mandelbrot.deep.orbit import Orbit
from renderers.mandelbrot.deep.storage import OrbitFolder

log = logging.getLogger(__name__)

MODELS_HELD = 64
MEMORY = 1 << 30  # bytes of loaded models by default
WORTH_ASKING = 0.05  # seconds that computing an orbit may take before another node's is asked for
WORTH_KEEPING = 0.3  # seconds: an orbit that is computed in less is not written to a file
GIVING_WAY = 50e-6  # seconds that computing an orbit pauses every now and then, so that other threads get their turn


class Depot(Protocol):
    """Where nodes leave loaded models for each other. Both calls may raise whatever goes wrong on the way."""

    def fetch_model(self, digest: str) -> Iterator[bytes]:
        """The file of a model, in pieces."""

    def keep_model(self, digest: str, path: Path) -> None:
        """Leave the file of a model."""


@dataclass(frozen=True)
class Model:
    """A held model; the first load is the one that is told. `deep` is None for one in double precision."""

    digest: str
    load_seconds: float
    noted_bytes: int
    deep: DeepModel | None = None

    @property
    def size_bytes(self) -> int:
        return self.deep.size_bytes if self.deep else self.noted_bytes


class HeldModels:
    """The models used last. Safe to use from several threads."""

    def __init__(self, limit: int = MODELS_HELD, memory: int = MEMORY, folder: OrbitFolder | None = None) -> None:
        self._limit = limit
        self._memory = memory
        self._folder = folder
        self._lock = threading.Lock()
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._loading: dict[str, Future[DeepModel]] = {}
        self._closed = threading.Event()
        self._pinned: frozenset[str] = frozenset()
        self.depot: Depot | None = None

    def note(self, digest: str, load_seconds: float, size_bytes: int) -> None:
        """A lease uses this model; those unused for longest make room."""
        with self._lock:
            self._keep(Model(digest, load_seconds, size_bytes))

    def load(self, reference: Reference, view: DeepView) -> DeepModel:
        """The deep model with its tables for a view; whoever comes while it is being loaded waits for that load.

        Raises `OrbitInterrupted` when the node is leaving, MemoryError when there is no room.
        """
        with self._lock:
            held = self._models.get(reference.digest)
            if held and held.deep:
                self._models.move_to_end(reference.digest)
                return held.deep
            underway = self._loading.get(reference.digest)
            if underway is None:
                mine = self._loading[reference.digest] = Future()
        return underway.result() if underway else self._fulfil(mine, reference, view)

    @property
    def memory(self) -> int:
        """Bytes of loaded models that are kept."""
        return self._memory

    def pin(self, digests: Iterable[str]) -> None:
        """Keep these whatever else is loaded, until told otherwise."""
        with self._lock:
            self._pinned = frozenset(digests)

    def digests(self) -> list[str]:
        """Least recently used first."""
        with self._lock:
            return list(self._models)

    def deep(self) -> list[DeepModel]:
        """Those that are deep, which whoever looks at a view nearby can use."""
        with self._lock:
            return [held.deep for held in self._models.values() if held.deep]

    def as_json(self) -> list[dict[str, Any]]:
        """What a request for work says about them."""
        with self._lock:
            return [
                {"digest": model.digest, "load_seconds": model.load_seconds, "size_bytes": model.size_bytes}
                for model in self._models.values()
            ]

    def close(self) -> None:
        """Give up the loads that are underway."""
        self._closed.set()

    def _fulfil(self, promise: Future[DeepModel], reference: Reference, view: DeepView) -> DeepModel:
        """Load it, and tell everybody who waits how that ended."""
        try:
            model = self._loaded(reference, view)
        except BaseException as error:
            with self._lock:
                del self._loading[reference.digest]
            promise.set_exception(error)
            raise
        with self._lock:
            del self._loading[reference.digest]
            self._keep(Model(reference.digest, model.load_seconds, 0, model))
        promise.set_result(model)
        return model

    def _loaded(self, reference: Reference, view: DeepView) -> DeepModel:
        started = time.perf_counter()
        orbit, how = self._orbit(reference)
        native.perturb()
        model = DeepModel(reference, orbit)
        model.tables(view.farthest)
        model.load_seconds = time.perf_counter() - started
        log.info("model %s: %d steps %s in %.2f s", reference.digest[:12], orbit.last, how, model.load_seconds)
        return model

    def _orbit(self, reference: Reference) -> tuple[Orbit, str]:
        """The orbit, and how it came: read from our own folder, fetched from another node, or computed."""
        if self._folder and (orbit := self._folder.get(reference)):
            return orbit, "read"
        if reference.estimated_seconds > WORTH_ASKING and (orbit := self._fetched(reference)):
            return orbit, "fetched"
        started = time.perf_counter()
        orbit = reference.orbit(self._pause)
        if self._folder and time.perf_counter() - started > WORTH_KEEPING:
            self._folder.put(reference, orbit)
            if self.depot:
                threading.Thread(target=self._leave, args=(reference,), name="leave-model", daemon=True).start()
        return orbit, "computed"

    def _fetched(self, reference: Reference) -> Orbit | None:
        """What another node left with the manager; whatever is wrong with it, it can be computed."""
        if self.depot is None or self._folder is None:
            return None
        try:
            return self._folder.receive(reference, self.depot.fetch_model(reference.digest))
        except Exception as error:
            log.debug("model %s is not fetched: %s", reference.digest[:12], error)
            return None

    def _leave(self, reference: Reference) -> None:
        """Leave a computed orbit for other nodes, beside the rendering that it was computed for."""
        if self.depot is None or self._folder is None:
            return
        try:
            self.depot.keep_model(reference.digest, self._folder.path(reference))
        except Exception as error:
            log.info("model %s is not left with the manager: %s", reference.digest[:12], error)

    def _pause(self) -> bool:
        """Whether to give up. Without a pause rendering threads would wait up to 5 ms for their turn with Python."""
        time.sleep(GIVING_WAY)
        return self._closed.is_set()

    def _keep(self, model: Model) -> None:
        """Call under the lock. The newest stays even if it is larger than the limit: somebody is about to use it."""
        self._models.setdefault(model.digest, model)
        self._models.move_to_end(model.digest)
        others = [held for held in self._models.values() if held.digest not in {*self._pinned, model.digest}]
        surplus = max(len(self._models) - self._limit, 0)
        used = sum(held.size_bytes for held in self._models.values() if held.deep)
        for number, held in enumerate(others):
            if number < surplus or (held.deep and used > self._memory):
                used -= held.size_bytes if held.deep else 0
                del self._models[held.digest]
