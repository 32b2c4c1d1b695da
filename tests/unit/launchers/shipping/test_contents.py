"""What belongs to a renderer at a site: no more than it imports, and nothing less."""

from __future__ import annotations

import ast
import gzip
import hashlib
import io
import sys
import tarfile
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.utils import canonicalize_name

from rrm.launchers.shipping import contents, pins
from rrm.launchers.shipping.contents import Contents, Entry
from rrm.launchers.shipping.stream import packed

HERE = {name: str(value) for name, value in default_environment().items()}
ONLY_IF_THERE = {"numba"}  # a path of the kernel for machines without llvmlite
DISTRIBUTIONS = {"PIL": "pillow"}  # whose modules have another name
BY_NAME_ALONE = {"websockets"}  # which uvicorn imports because we tell it to


def imported_by(folder: Path) -> set[str]:
    """The top-level modules that the sources below a folder import, without the standard library."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return {DISTRIBUTIONS.get(name, name) for name in found - set(sys.stdlib_module_names) - {"renderers"}}


def test_the_list_is_what_the_renderers_import() -> None:
    assert {each.name for each in contents.named()} == (imported_by(contents.SOURCES) | BY_NAME_ALONE) - ONLY_IF_THERE


def test_what_those_need_belongs_to_it_and_what_only_extras_need_does_not() -> None:
    found = {each.name for each in contents.closure(HERE)}

    assert {"httpx", "httpcore", "anyio", "idna", "h11"} <= found
    assert not {"trio", "sphinx", "pytest", "brotli", "Django", "rrm"} & found


def test_the_pins_for_this_python_are_what_is_installed() -> None:
    found = {pin.name: pin.version for pin in pins.needed(HERE)}

    assert found == {canonicalize_name(each.name): each.version for each in contents.closure(HERE)}


def test_tests_headers_and_compiled_leftovers_stay_here() -> None:
    paths = contents.needed(
        [
            *("numpy/__init__.py", "numpy/tests/test_x.py", "numpy/__pycache__/x.pyc", "numpy/_core/include/a.h"),
            *("numpy.libs/libopenblas.so", "numpy-2.dist-info/METADATA", "numpy-2.dist-info/RECORD"),
            *("numpy-2.dist-info/licenses/LICENSE.txt", "numpy/core.pyi"),
        ]
    )

    assert paths == [
        *("numpy/__init__.py", "numpy.libs/libopenblas.so", "numpy-2.dist-info/METADATA"),
        "numpy-2.dist-info/licenses/LICENSE.txt",
    ]


def entry(data: bytes) -> Entry:
    return Entry(lambda: data, hashlib.sha256(data).hexdigest(), len(data))


def test_the_version_follows_from_every_file_and_its_name() -> None:
    one = Contents({"a.py": entry(b"1"), "b.py": entry(b"2")})

    assert one.version == Contents({"b.py": entry(b"2"), "a.py": entry(b"1")}).version
    assert one.version != Contents({"a.py": entry(b"1"), "b.py": entry(b"3")}).version
    assert one.version != Contents({"a.py": entry(b"1"), "c.py": entry(b"2")}).version


def test_a_file_that_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("A = 1\n")
    before = contents.on_disk(path)
    path.write_text("A = 22\n")

    assert contents.on_disk(path).digest != before.digest


def test_the_stream_is_a_tar_archive_of_the_named_files_alone() -> None:
    data = bytes(range(256)) * 5000
    all_of_it = Contents({"p/a.bin": entry(data), "p/empty": entry(b""), "q.py": entry(b"x")})
    seen: list[tuple[int, int]] = []

    stream = b"".join(packed(all_of_it, ["p/a.bin", "p/empty"], lambda done, total: seen.append((done, total))))

    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(stream))) as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert found == {"p/a.bin": data, "p/empty": b""}
    assert seen[0] == (0, len(data))
    assert seen[-1] == (len(data), len(data))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("version", ["3.11.2", "3.12.1", "3.13.0"])
def test_everything_is_pinned_with_digests_for_every_python_that_runs_it(version: str) -> None:
    there = HERE | {"python_version": version.rpartition(".")[0], "python_full_version": version}

    found = pins.needed(there)

    assert {"numpy", "llvmlite", "httpx", "certifi", "h11"} <= {pin.name for pin in found}
    assert all(pin.digests for pin in found)
    assert pins.as_text(found).count("--hash=sha256:") == sum(len(pin.digests) for pin in found)
