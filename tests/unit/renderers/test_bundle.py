"""The bundle's layout."""

import pytest

from renderers.mandelbrot.bundle import Layout, TileResult, counts_format, write_bundle
from tests.unit.renderers.bundles import Bundle

PARTS = {"preview": b"small", "png": b"picture", "counts": b"counted", "smooth": b"smoothed"}


def results(*tiles: int, sections: tuple[str, ...] = ("preview", "png", "counts", "smooth")) -> list[TileResult]:
    return [
        TileResult(tile, 1.5 + tile, {name: PARTS[name] + str(tile).encode() for name in sections}) for tile in tiles
    ]


def test_every_part_is_found_where_the_header_says() -> None:
    bundle = Bundle.read(write_bundle(Layout("lease", 3, 6, 4, 2000), results(4, 3, 5)))
    for tile in (3, 4, 5):
        for section, content in PARTS.items():
            assert bundle.part(tile, section) == content + str(tile).encode()


def test_tiles_are_in_order_and_sections_follow_each_other() -> None:
    bundle = Bundle.read(write_bundle(Layout("lease", 3, 5, 4, 2000), results(4, 3)))
    assert [entry["tile"] for entry in bundle.header["tiles"]] == [3, 4]
    assert bundle.blob == b"small3small4picture3picture4counted3counted4smoothed3smoothed4"
    assert bundle.header["tiles"][0]["render_ms"] == 4.5


def test_the_display_part_is_the_previews_or_without_them_the_pictures() -> None:
    with_previews = Bundle.read(write_bundle(Layout("lease", 3, 5, 4, 2000), results(4, 3)))
    assert with_previews.header["display_bytes"] == len(b"small3small4")
    plain = Bundle.read(write_bundle(Layout("lease", 3, 5, 1, 2000), results(4, 3, sections=("png", "counts"))))
    assert plain.header["display_bytes"] == len(b"picture3picture4")


def test_the_header_names_the_range_and_only_the_sections_there_are() -> None:
    header = Bundle.read(write_bundle(Layout("lease", 3, 5, 1, 2000), results(3, 4, sections=("png",)))).header
    assert {key: header[key] for key in ("version", "lease", "start", "stop", "preview_scale")} == {
        "version": 1,
        "lease": "lease",
        "start": 3,
        "stop": 5,
        "preview_scale": 1,
    }
    assert header["counts"] is None
    assert header["smooth"] is None
    assert "counts" not in header["tiles"][0]


@pytest.mark.parametrize(("max_iter", "dtype"), [(1, "<u2"), (65_535, "<u2"), (65_536, "<u4"), (10_000_000, "<u4")])
def test_counts_have_two_bytes_as_long_as_the_limit_fits(max_iter: int, dtype: str) -> None:
    assert counts_format(max_iter)["dtype"] == dtype
