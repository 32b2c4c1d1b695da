"""A bundle is accepted only if it is exactly what its lease asked for; otherwise the tile and the problem are named."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rrm.domain.tiling import TileGrid
from rrm.errors import BadBundle
from rrm.results.bundle import Bundle, display_slice, tile_array, tile_png
from rrm.results.checks import Expected, check
from tests.unit.results.writer import KINDS, Scene, chunk, header_and_blob, packed, sub_png

LEASE = "lease-7"
START, STOP = 4, 10

Json = dict[str, Any]


def scene(**changes: Any) -> Scene:
    return Scene(width=100, height=70, tile_size=32, **{"max_iter": 1000, **changes})


def expected(of: Scene) -> Expected:
    outputs = frozenset(of.kinds) - {"preview"}
    grid = TileGrid(of.width, of.height, of.tile_size)
    return Expected(LEASE, START, STOP, grid, outputs, of.scale, of.max_iter)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def refused(path: Path, wanted: Expected) -> str:
    with pytest.raises(BadBundle) as caught:
        check(path, wanted)
    return caught.value.detail


@pytest.mark.parametrize(
    "of",
    [
        scene(),
        scene(kinds=("png",)),
        scene(kinds=KINDS, scale=4),
        scene(kinds=("preview", "counts"), scale=2),
        scene(counts_coding={"dtype": "<u4", "encoding": "raw", "shuffle": False}, max_iter=100_000),
        scene(counts_coding={"dtype": "<u4", "encoding": "raw", "shuffle": True}),
        scene(smooth_coding={"dtype": "<f4", "encoding": "zlib", "shuffle": False}),
    ],
    ids=["all", "png", "previews", "previews-without-png", "wide-counts", "raw-shuffled", "plain-smooth"],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_right_bundle_is_accepted_and_its_parts_read_back(tmp_path: Path, of: Scene, threads: int) -> None:
    path = write(tmp_path / "b", packed(*header_and_blob(of, LEASE, START, STOP)))
    bundle = check(path, expected(of), threads)
    assert (bundle.header.lease, bundle.header.start, bundle.header.stop) == (LEASE, START, STOP)
    assert bundle.header.render_ms == pytest.approx(1.5 * (STOP - START))
    for tile in range(START, STOP):
        if "png" in of.kinds:
            with Image.open(io.BytesIO(tile_png(path, tile, expected(of).grid))) as image:
                np.testing.assert_array_equal(np.asarray(image), of.tile_pixels(tile))
        for kind in {"counts", "smooth"} & set(of.kinds):
            values = tile_array(path, tile, kind, expected(of).grid)
            assert values.dtype == {"counts": np.uint32, "smooth": np.float32}[kind]
            np.testing.assert_array_equal(values, getattr(of, kind)[of.box(tile)])


@pytest.mark.parametrize(("kinds", "scale", "last"), [(KINDS, 2, "preview"), (("png", "counts"), 1, "png")])
def test_the_display_slice_ends_with_what_a_page_draws(
    tmp_path: Path, kinds: tuple[str, ...], scale: int, last: str
) -> None:
    of = scene(kinds=kinds, scale=scale)
    path = write(tmp_path / "b", packed(*header_and_blob(of, LEASE, START, STOP)))
    assert path.read_bytes()[: display_slice(path)].endswith(of.part(STOP - 1, last))


def _swap_tiles(header: Json) -> None:
    header["tiles"][1], header["tiles"][2] = header["tiles"][2], header["tiles"][1]


def _swap_places(header: Json) -> None:
    first, second = header["tiles"][0], header["tiles"][1]
    first["png"], second["png"] = second["png"], first["png"]


def _overlap(header: Json) -> None:
    header["tiles"][1]["png"] = header["tiles"][0]["png"]


def _put(key: str, value: object) -> Callable[[Json], None]:
    def edit(header: Json) -> None:
        header[key] = value

    return edit


def _put_in_tile(key: str, value: object) -> Callable[[Json], None]:
    def edit(header: Json) -> None:
        header["tiles"][1][key] = value

    return edit


def _put_in_counts(**values: object) -> Callable[[Json], None]:
    def edit(header: Json) -> None:
        header["counts"].update(values)

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_put("version", 2), "version 2"),
        (_put("version", True), "version is not an integer"),
        (_put("lease", "another"), "lease 'another'"),
        (_put("lease", "x" * 5000), "lease 'xxx"),
        (_put("lease", 5), "lease is not a string"),
        (_put("start", 5), "tile 4 stands where tile 5 is due"),
        (_put("stop", 11), "stop 11"),
        (_put("preview_scale", 2), "preview_scale 2"),
        (_put("display_bytes", 1), "display_bytes is 1 instead of"),
        (_put("tiles", {}), "no list of tiles"),
        (_put("tiles", []), "0 tiles instead of 6"),
        (_put("surprise", 1), "unknown fields: 'surprise'"),
        (_put("counts", None), "counts is there unasked, or missing"),
        (_put("counts", []), "counts is not an object"),
        (_put_in_counts(dtype="<f8"), "counts has an unknown dtype"),
        (_put_in_counts(dtype=["<u2"]), "counts has an unknown dtype"),
        (_put_in_counts(encoding="lzma"), "counts has an unknown dtype, encoding"),
        (_put_in_counts(shuffle=1), "counts has an unknown dtype, encoding or shuffle"),
        (_put_in_counts(extra=1), "unknown fields: 'extra'"),
        (_put_in_counts(dtype="<u4"), "tile 4: counts inflates to"),
        (_swap_tiles, "tile 6 stands where tile 5 is due"),
        (lambda header: header["tiles"].pop(), "5 tiles instead of 6"),
        (lambda header: header["tiles"].append(header["tiles"][-1]), "tile 9 stands where tile 10 is due"),
        (_swap_places, "tile 4: png starts at"),
        (_overlap, "tile 5: png starts at 0"),
        (_put_in_tile("png", [0]), "tile 5: png is not [offset, length]"),
        (_put_in_tile("png", [-5, 5]), "tile 5: png is not [offset, length]"),
        (_put_in_tile("png", [0.5, 5]), "tile 5: png is not [offset, length]"),
        (_put_in_tile("preview", [0, 5]), "tile 5: preview was not asked for"),
        (_put_in_tile("render_ms", -1), "tile 5: render_ms"),
        (_put_in_tile("render_ms", 10**400), "tile 5: render_ms"),
        (_put_in_tile("render_ms", None), "tile 5: render_ms"),
        (_put_in_tile("color", "red"), "tile 5 has unknown fields: 'color'"),
        (lambda header: header["tiles"][1].pop("smooth"), "tile 5: smooth is missing"),
        (lambda header: header["tiles"].__setitem__(1, 7), "tile 5 is not an object"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path: Path, edit: Callable[[Json], None], said: str) -> None:
    header, blob = header_and_blob(scene(), LEASE, START, STOP)
    edit(header)
    assert said in refused(write(tmp_path / "b", packed(header, blob)), expected(scene()))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "cut off"),
        (b"RRM", "cut off"),
        (b"ZIPB" + bytes(100), "not a bundle"),
        (b"RRMB" + struct.pack("<I", 50) + b"{}", "the header is cut off"),
        (b"RRMB" + struct.pack("<I", 2) + b"[]", "not an object"),
        (b"RRMB" + struct.pack("<I", 2) + b"\xff\xff", "not JSON"),
        (b"RRMB" + struct.pack("<I", 3) + b"NaN", "not JSON"),
        (b"RRMB" + struct.pack("<I", 8000) + b"[" * 8000, "not JSON"),
        (b"RRMB" + struct.pack("<I", 2**32 - 1), "at most"),
        (b"RRMB" + struct.pack("<I", 17 * 2**20), "at most"),
    ],
)
def test_what_is_not_a_bundle_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in refused(write(tmp_path / "b", data), expected(scene()))


def test_a_header_larger_than_any_is_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(BadBundle, match="at most 16777216"):
        Bundle.read(write(tmp_path / "b", b"RRMB" + struct.pack("<I", 2**24 + 1)))


@pytest.mark.parametrize("cut", [1, 1000])
def test_a_truncated_upload_is_refused(tmp_path: Path, cut: int) -> None:
    data = packed(*header_and_blob(scene(), LEASE, START, STOP))
    assert "bytes long where its header announces" in refused(write(tmp_path / "b", data[:-cut]), expected(scene()))


def test_an_upload_with_more_than_it_announces_is_refused(tmp_path: Path) -> None:
    data = packed(*header_and_blob(scene(), LEASE, START, STOP))
    assert "bytes long where its header announces" in refused(write(tmp_path / "b", data + b"x"), expected(scene()))


def test_narrow_counts_are_refused_where_the_limit_does_not_fit(tmp_path: Path) -> None:
    path = write(tmp_path / "b", packed(*header_and_blob(scene(), LEASE, START, STOP)))
    assert "do not fit in <u2" in refused(path, replace(expected(scene()), max_iter=65536))


def test_outputs_that_the_lease_has_and_the_bundle_has_not_are_missed(tmp_path: Path) -> None:
    path = write(tmp_path / "b", packed(*header_and_blob(scene(kinds=("png",)), LEASE, START, STOP)))
    assert "smooth is there unasked, or missing" in refused(
        path, replace(expected(scene(kinds=("png",))), outputs=frozenset({"png", "smooth"}))
    )


SIGNATURE = b"\x89PNG\r\n\x1a\n"
WIDTH, HEIGHT = 32, 32  # of tile 5
LINES = HEIGHT * (1 + 3 * WIDTH)


def header_chunk(width: int = WIDTH, height: int = HEIGHT, rest: tuple[int, ...] = (8, 2, 0, 0, 0)) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, *rest))


def picture(plain: bytes, *, header: bytes = header_chunk(), end: bytes = chunk(b"IEND", b"")) -> bytes:
    return SIGNATURE + header + chunk(b"IDAT", zlib.compress(plain)) + end


def lines(filter_byte: int = 1, row: int = 0) -> bytes:
    rows = np.ones((HEIGHT, 1 + 3 * WIDTH), np.uint8)
    rows[row, 0] = filter_byte
    return rows.tobytes()


def two_idats() -> bytes:
    data = zlib.compress(lines())
    return SIGNATURE + header_chunk() + chunk(b"IDAT", data[:50]) + chunk(b"IDAT", data[50:]) + chunk(b"IEND", b"")


def flipped(data: bytes, position: int) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GIF89a" + bytes(60), "is not a PNG"),
        (SIGNATURE, "ends before its IHDR"),
        (SIGNATURE + header_chunk(), "ends before its IDAT"),
        (picture(lines(), header=header_chunk(31, 32)), "is (31, 32) pixels instead of 32 x 32"),
        (picture(lines(), header=header_chunk(rest=(16, 2, 0, 0, 0))), "is not 8-bit RGB"),
        (picture(lines(), header=header_chunk(rest=(8, 6, 0, 0, 0))), "is not 8-bit RGB"),
        (picture(lines(), header=header_chunk(rest=(8, 2, 0, 0, 1))), "without interlace"),
        (picture(lines(), header=chunk(b"IHDR", b"short")), "is () pixels"),
        (picture(lines(2, 9)), "filter is not Sub (row 9)"),
        (picture(lines(0, 31)), "filter is not Sub (row 31)"),
        (picture(lines()[:-1]), f"inflates to {LINES - 1} bytes instead of {LINES}"),
        (picture(lines() + b"x"), f"inflates to more than {LINES} bytes"),
        (picture(lines()) + b"x", "has bytes after its end"),
        (picture(lines(), end=b""), "ends before its IEND"),
        (picture(lines(), header=header_chunk() + chunk(b"tEXt", b"a\0b")), "has a chunk b'tEXt'"),
        (two_idats(), "has a chunk b'IDAT' where only IEND"),
        (flipped(picture(lines()), 20), "wrong checksum on its IHDR"),
        (flipped(picture(lines()), 60), "wrong checksum on its IDAT"),
        (picture(lines())[:60], "ends inside its IDAT"),
        (SIGNATURE + header_chunk() + chunk(b"IDAT", b"nonsense") + chunk(b"IEND", b""), "not a deflate stream"),
        (
            SIGNATURE + header_chunk() + chunk(b"IDAT", zlib.compress(lines())[:-2]) + chunk(b"IEND", b""),
            f"ends after {LINES} of {LINES} bytes",
        ),
        (
            SIGNATURE + header_chunk() + chunk(b"IDAT", zlib.compress(lines()) + b"x") + chunk(b"IEND", b""),
            "has bytes after its end",
        ),
    ],
)
def test_a_wrong_picture_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    of = scene(kinds=("png",))
    path = write(tmp_path / "b", packed(*header_and_blob(of, LEASE, START, STOP, {(5, "png"): data})))
    detail = refused(path, expected(of))
    assert detail.startswith("tile 5: png ")
    assert said in detail


def test_a_preview_may_have_any_filter_but_not_any_size(tmp_path: Path) -> None:
    of = scene(kinds=("preview", "png"), scale=2)
    header = header_chunk(16, 16)
    plain = np.full((16, 49), 4, np.uint8)
    fitting = {(5, "preview"): picture(plain.tobytes(), header=header)}
    check(write(tmp_path / "b", packed(*header_and_blob(of, LEASE, START, STOP, fitting))), expected(of))
    plain[3, 0] = 5
    for data in (picture(plain.tobytes(), header=header), sub_png(np.zeros((16, 17, 3), np.uint8))):
        path = write(tmp_path / "c", packed(*header_and_blob(of, LEASE, START, STOP, {(5, "preview"): data})))
        assert refused(path, expected(of)).startswith("tile 5: preview ")


def zipped(values: np.ndarray[Any, Any]) -> bytes:
    return zlib.compress(values.tobytes())


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        ("counts", zipped(np.full(1024, 1001, "<u2")), "reach 1001, beyond max_iter 1000"),
        ("counts", zipped(np.zeros(1023, "<u2")), "instead of 2048"),
        ("counts", zipped(np.zeros(1025, "<u2")), "inflates to more than 2048"),
        ("counts", b"nonsense", "not a deflate stream"),
        ("smooth", zipped(np.full(1024, np.nan, "<f4")), "not finite"),
        ("smooth", zipped(np.full(1024, -np.inf, "<f4")), "not finite"),
        ("smooth", zipped(np.zeros(1, "<f4")), "instead of 4096"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, kind: str, data: bytes, said: str) -> None:
    plain = {"encoding": "zlib", "shuffle": False}
    of = scene(counts_coding={"dtype": "<u2", **plain}, smooth_coding={"dtype": "<f4", **plain})
    path = write(tmp_path / "b", packed(*header_and_blob(of, LEASE, START, STOP, {(5, kind): data})))
    detail = refused(path, expected(of))
    assert detail.startswith(f"tile 5: {kind} ")
    assert said in detail


def test_a_raw_array_of_the_wrong_length_is_refused(tmp_path: Path) -> None:
    of = scene(counts_coding={"dtype": "<u2", "encoding": "raw", "shuffle": False})
    path = write(tmp_path / "b", packed(*header_and_blob(of, LEASE, START, STOP, {(5, "counts"): bytes(2047)})))
    assert refused(path, expected(of)) == "tile 5: counts is 2047 bytes long instead of 2048"


@pytest.mark.parametrize("kind", ["png", "counts", "smooth"])
def test_a_bomb_is_refused_without_being_inflated(tmp_path: Path, kind: str) -> None:
    squeezed = zlib.compress(bytes(2**26), 9)
    bomb = SIGNATURE + header_chunk() + chunk(b"IDAT", squeezed) + chunk(b"IEND", b"") if kind == "png" else squeezed
    of = scene()
    path = write(tmp_path / "b", packed(*header_and_blob(of, LEASE, START, STOP, {(5, kind): bomb})))
    tracemalloc.start()
    try:
        assert "inflates to more than" in refused(path, expected(of))
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()
