"""Running our own modules at a site where nothing of ours is installed: they travel with each question.

`bundle` makes one Python text of several modules of the standard library alone, as `Connection.call` runs it; `ask` has
one that starts, stops and shows nodes answer a question.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol

from rrm.errors import LauncherError, SiteUnavailable
from rrm.launchers.connection import Target

_LOADER = """
import importlib.abc, importlib.util, linecache, sys

class _Carried(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path=None, target=None):
        is_package = any(other.startswith(name + ".") for other in SOURCES)
        if name in SOURCES or is_package:
            return importlib.util.spec_from_loader(name, self, is_package=is_package)

    def get_source(self, name):
        return SOURCES.get(name, "")

sys.meta_path.insert(0, _Carried())

def main(request):
    return importlib.import_module(ENTRY).main(request)
"""


def bundle(entry: ModuleType, *others: ModuleType) -> str:
    """The Python text whose `main` is that of `entry`, which may import `others`."""
    sources = {module.__name__: inspect.getsource(module) for module in (entry, *others)}
    return f"SOURCES = {sources!r}\nENTRY = {entry.__name__!r}\n{_LOADER}"


class Line(Protocol):
    """What is needed of a `Connection`."""

    @property
    def target(self) -> Target: ...

    def call(self, source: str, request: Any, timeout: float) -> Any: ...


def ask(line: Line, source: str, deed: str, what: Mapping[str, Any], timeout: float) -> Any:
    """What `main` of `source` says at the site to {"folder", "deed", "with"}, `timeout` in seconds.

    Raises SiteUnavailable for what may pass by itself, and LauncherError for what was refused.
    """
    answer = line.call(source, {"folder": line.target.folder, "deed": deed, "with": what}, timeout)
    if "trouble" in answer:
        raise SiteUnavailable(answer["trouble"])
    if "refused" in answer:
        raise LauncherError(answer["refused"])
    return answer["answer"]
