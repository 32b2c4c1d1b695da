"""Orbits as files."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from renderers.mandelbrot.deep.orbit import Orbit
from renderers.mandelbrot.deep.storage import BadOrbit, OrbitFolder, read_orbit, write_orbit
from tests.unit.renderers.deep.places import MINIBROT, WIDE_MINIBROT
from tests.unit.renderers.deep.precise import place

REFERENCE, _ = place(MINIBROT, "1e-49", (8, 8), 500)
ORBIT = REFERENCE.orbit()


def written(orbit: Orbit = ORBIT) -> bytes:
    file = io.BytesIO()
    write_orbit(file, REFERENCE, orbit)
    return file.getvalue()


def same(one: Orbit, other: Orbit) -> bool:
    return np.array_equal(one.twice, other.twice) and np.array_equal(one.tiny, other.tiny)


@pytest.mark.parametrize("center", [MINIBROT, WIDE_MINIBROT, ("0", "0")])
def test_what_is_written_is_read(center: tuple[str, str]) -> None:
    reference, _ = place(center, "1e-347", (8, 8), 8000)
    orbit = reference.orbit()
    file = io.BytesIO()
    write_orbit(file, reference, orbit)
    file.seek(0)
    assert same(read_orbit(file, reference), orbit)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:7],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"XXXX" + data[4:],
        lambda data: data[:4] + b"\x02" + data[5:],
        lambda data: data[:8] + b"\xff\xff\xff\x7f" + data[12:],
        lambda data: data[:3000] + bytes([data[3000] ^ 1]) + data[3001:],
        lambda data: data.replace(b'"last": 500', b'"last": 5e9'),
        lambda data: data.replace(b'"last": 500', b'"last": -10'),
        lambda data: data.replace(b'"tiny"', b'"tony"'),
    ],
)
def test_a_damaged_file_is_told(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BadOrbit):
        read_orbit(io.BytesIO(spoil(written())), REFERENCE)


@pytest.mark.parametrize("change", [{"digest": "other"}, {"max_iter": 501}, {"escape_radius": 3.0}])
def test_the_orbit_of_another_model_is_told(change: dict[str, object]) -> None:
    with pytest.raises(BadOrbit):
        read_orbit(io.BytesIO(written()), replace(REFERENCE, **change))  # type: ignore[arg-type]


def test_a_folder_keeps_orbits_and_forgets_damaged_ones(tmp_path: Path) -> None:
    folder = OrbitFolder(tmp_path / "orbits", 1 << 20)
    assert folder.get(REFERENCE) is None
    folder.put(REFERENCE, ORBIT)
    found = folder.get(REFERENCE)
    assert found
    assert same(found, ORBIT)
    (kept,) = (tmp_path / "orbits").iterdir()
    kept.write_bytes(kept.read_bytes()[:-5])
    assert folder.get(REFERENCE) is None
    assert not list((tmp_path / "orbits").iterdir())


def test_the_least_recently_used_files_make_room(tmp_path: Path) -> None:
    folder = OrbitFolder(tmp_path, int(2.5 * len(written())))
    for digest in "abc":
        folder.put(replace(REFERENCE, digest=digest), ORBIT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["orbit-b.rrmo", "orbit-c.rrmo"]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = OrbitFolder(tmp_path / "file", 1 << 20)
    folder.put(REFERENCE, ORBIT)
    assert folder.get(REFERENCE) is None
