"""How images are cut into tiles and ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.domain.tiling import (
    LEAST_SECONDS,
    STRIP_BYTES,
    Box,
    TileGrid,
    end_of_range,
    halve,
    preview_scale,
    range_size,
    shares,
)

sides = st.integers(1, 60)


@given(width=sides, height=sides, tile_size=st.integers(1, 40))
def test_the_tiles_cover_every_pixel_exactly_once(width: int, height: int, tile_size: int) -> None:
    grid = TileGrid(width, height, tile_size)
    seen: set[tuple[int, int]] = set()
    for tile in range(grid.tiles):
        box = grid.box(tile)
        pixels = {(box.row0 + row, box.col0 + col) for row in range(box.rows) for col in range(box.cols)}
        assert len(pixels) == box.pixels > 0
        assert not pixels & seen
        seen |= pixels
    assert len(seen) == width * height
    assert max(row for row, _ in seen) < height
    assert max(col for _, col in seen) < width


def test_tiles_at_the_far_edges_are_smaller() -> None:
    grid = TileGrid(width=600, height=300, tile_size=256)
    assert (grid.cols, grid.rows, grid.tiles) == (3, 2, 6)
    assert grid.box(0) == Box(0, 0, 256, 256)
    assert grid.box(2) == Box(0, 512, 256, 88)
    assert grid.box(5) == Box(256, 512, 44, 88)


@given(cols=st.integers(1, 30), start=st.integers(0, 200), length=st.integers(0, 200))
def test_whole_rows_are_those_of_which_no_tile_is_missing(cols: int, start: int, length: int) -> None:
    grid, stop = TileGrid(10 * cols, 1000, 10), start + length
    whole = [row for row in range(401) if start <= row * cols and (row + 1) * cols <= stop]
    assert list(grid.whole_rows(start, stop)) == whole


@pytest.mark.parametrize("width", [1, 100, 4096, 16384, 2**20])
def test_a_strip_is_as_many_lines_as_fit_in_its_size_and_one_at_least(width: int) -> None:
    lines = TileGrid(width, 1, 256).strip_lines
    assert lines == 1 or lines * (1 + 3 * width) <= STRIP_BYTES
    assert (lines + 1) * (1 + 3 * width) > STRIP_BYTES


@given(cols=st.integers(1, 30), start=st.integers(0, 200), size=st.integers(1, 200), spare=st.integers(0, 50))
def test_a_range_of_half_a_row_or_more_ends_with_a_row(cols: int, start: int, size: int, spare: int) -> None:
    stop = end_of_range(start, size, size + spare, cols)
    assert start < stop <= start + size + spare
    assert abs(stop - start - size) < cols
    if 2 * size < cols:
        assert stop == start + size
    elif start + size >= (start // cols + 1) * cols:
        assert stop % cols == 0


def test_the_rest_of_a_row_is_not_left_for_a_range_of_its_own() -> None:
    assert end_of_range(0, 30, 32, 32) == 32
    assert end_of_range(2, 30, 2000, 32) == 32
    assert end_of_range(0, 30, 31, 32) == 30  # as many as there are


@pytest.mark.parametrize("tile", [-1, 6])
def test_there_is_no_tile_outside_the_grid(tile: int) -> None:
    with pytest.raises(IndexError):
        TileGrid(600, 300, 256).box(tile)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_a_grid_without_pixels_is_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no tiles"):
        TileGrid(*sizes)


@given(tiles=st.integers(0, 5000), parts=st.integers(1, 50))
def test_shares_are_contiguous_and_equal_within_one_tile(tiles: int, parts: int) -> None:
    cut = shares(tiles, parts)
    assert [tile for start, stop in cut for tile in range(start, stop)] == list(range(tiles))
    lengths = {stop - start for start, stop in cut}
    assert not lengths or (max(lengths) - min(lengths) <= 1 and min(lengths) > 0)
    assert len(cut) == min(tiles, parts)


def test_nothing_can_be_shared_among_no_one() -> None:
    with pytest.raises(ValueError, match="0 parts"):
        shares(4, 0)


@pytest.mark.parametrize(
    ("width", "height", "scale"),
    [(1, 1, 1), (2048, 2048, 1), (2049, 100, 2), (4096, 4096, 2), (8192, 6144, 4), (100, 8193, 8)],
)
def test_previews_are_reduced_by_the_smallest_power_of_two(width: int, height: int, scale: int) -> None:
    assert preview_scale(width, height) == scale


def _size(**changes: float | None) -> int:
    facts = {
        "remaining": 1000, "nodes": 1, "cores": 4, "tile_pixels": 65536, "pixel_seconds": 1e-6, "target_seconds": 0.5,
    }  # fmt: skip
    return range_size(**facts | changes)  # type: ignore[arg-type]


def test_a_measured_node_gets_the_tiles_it_does_in_the_target_time() -> None:
    assert _size() == 7  # 65.5 ms each
    assert _size(pixel_seconds=1e-3) == 1
    assert _size(pixel_seconds=1e-7, nodes=20) == 25


def test_a_range_of_next_to_no_work_is_not_cut_to_balance_the_end() -> None:
    assert _size(remaining=64, pixel_seconds=1e-8) == 64  # 42 ms altogether
    assert _size(remaining=200, pixel_seconds=1e-8) == 200  # 131 ms, and nobody to balance with
    assert _size(remaining=400, pixel_seconds=1e-8) == 228  # 150 ms
    assert _size(remaining=1000, pixel_seconds=1e-8, nodes=50) == 20  # twice a fair part
    assert _size(pixel_seconds=0.0, nodes=2) == 500
    assert _size(pixel_seconds=1e-300, nodes=2) == 500


def test_a_node_that_was_not_measured_gets_a_tile_for_each_core() -> None:
    assert _size(pixel_seconds=None) == 4


@given(
    remaining=st.integers(1, 10**5),
    nodes=st.integers(0, 64),
    cores=st.integers(1, 64),
    pixel_seconds=st.none() | st.floats(0, 1, allow_subnormal=True),
)
def test_no_lease_takes_more_than_half_a_fair_part_of_what_remains(
    remaining: int, nodes: int, cores: int, pixel_seconds: float | None
) -> None:
    size = _size(remaining=remaining, nodes=nodes, cores=cores, pixel_seconds=pixel_seconds)
    little_work = LEAST_SECONDS / max(65536 * (pixel_seconds or 0.0), 1e-9) if pixel_seconds is not None else 0
    assert 1 <= size <= min(remaining, max(1, remaining / (2 * max(nodes, 1)), little_work))


def test_nothing_is_leased_when_nothing_remains() -> None:
    with pytest.raises(ValueError, match="nothing remains"):
        _size(remaining=0)


@given(start=st.integers(0, 100), length=st.integers(1, 100))
def test_halving_leads_to_single_tiles_and_loses_none(start: int, length: int) -> None:
    ranges = [(start, start + length)]
    for _ in range(7):
        ranges = [half for whole in ranges for half in halve(*whole)]
    assert ranges == [(tile, tile + 1) for tile in range(start, start + length)]
