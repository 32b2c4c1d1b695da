"""The render models this node holds, as it tells the manager, which prefers nodes that hold the model of a job."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

MODELS_HELD = 64


@dataclass(frozen=True)
class Model:
    """A loaded model; the first load is the one that is told."""

    digest: str
    load_seconds: float
    size_bytes: int


class HeldModels:
    """The models used last. Safe to use from several threads."""

    def __init__(self, limit: int = MODELS_HELD) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._models: OrderedDict[str, Model] = OrderedDict()

    def note(self, digest: str, load_seconds: float, size_bytes: int) -> None:
        """A lease uses this model; the one unused for longest makes room."""
        with self._lock:
            self._models.setdefault(digest, Model(digest, load_seconds, size_bytes))
            self._models.move_to_end(digest)
            while len(self._models) > self._limit:
                self._models.popitem(last=False)

    def digests(self) -> list[str]:
        """Least recently used first."""
        with self._lock:
            return list(self._models)

    def as_json(self) -> list[dict[str, Any]]:
        """What a request for work says about them."""
        with self._lock:
            return [
                {"digest": model.digest, "load_seconds": model.load_seconds, "size_bytes": model.size_bytes}
                for model in self._models.values()
            ]
