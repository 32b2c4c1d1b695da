"""Running our own modules at a site where nothing of ours is installed: they travel with each question.

`bundle` makes one Python text of several modules of the standard library alone, as `Connection.call` runs it.
"""

from __future__ import annotations

import inspect
from types import ModuleType

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
