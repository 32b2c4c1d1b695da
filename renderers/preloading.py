"""Models that are loaded before anybody needs them, beside whatever else the node does."""

import logging
import threading
from collections.abc import Mapping
from typing import Any

from renderers.lease import parse_preload
from renderers.mandelbrot.deep.orbit import OrbitInterrupted
from renderers.models import HeldModels

log = logging.getLogger(__name__)


class Preloading:
    """What the manager told to load; what could not be is told back, once. Safe to use from several threads."""

    def __init__(self, models: HeldModels) -> None:
        self._models = models
        self._lock = threading.Lock()
        self._failed: list[str] = []

    def begin(self, document: Mapping[str, Any]) -> None:
        """Load the model in the background."""
        threading.Thread(target=self._load, args=(document,), name="preload", daemon=True).start()

    def failures(self) -> list[str]:
        """The digests of what could not be loaded since the last time."""
        with self._lock:
            failed, self._failed = self._failed, []
        return failed

    def _load(self, document: Mapping[str, Any]) -> None:
        digest = str(document.get("digest"))
        try:
            wanted = parse_preload(document)
            if wanted.reference and wanted.view:
                self._models.load(wanted.reference, wanted.view)
            else:
                self._models.note(wanted.digest, 0.0, wanted.size_bytes)
        except OrbitInterrupted:
            return
        except Exception as error:  # whatever a load does, the node lives
            log.warning("the model %s cannot be preloaded: %s", digest[:12], error)
            with self._lock:
                self._failed.append(digest)
            return
        log.info("the model %s is there before it is needed", digest[:12])
