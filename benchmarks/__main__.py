"""Lists the benchmarks, or runs some: python -m benchmarks [NAME [ITS OPTIONS …]]."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

_FOLDER = Path(__file__).parent


def programs() -> dict[str, str]:
    """Each program's name and what its first line says of it."""
    found = sorted(path for path in _FOLDER.glob("*.py") if not path.name.startswith("_"))
    return {path.stem: (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0] for path in found}


def main(arguments: list[str]) -> int:
    """Run the program that is named first with the other arguments; without one, say what there is."""
    known = programs()
    if not arguments or arguments[0] not in known:
        print("python -m benchmarks NAME [--json FILE] [OPTIONS]; NAME --help tells the options.\n")
        print("\n".join(f"  {name:<12} {about}" for name, about in known.items()))
        return 2 if arguments else 0
    sys.argv = [f"python -m benchmarks {arguments[0]}", *arguments[1:]]
    runpy.run_module(f"benchmarks.{arguments[0]}", run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
