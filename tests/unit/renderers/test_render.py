"""The pool: leases in, bundles out."""

import queue
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from renderers.lease import parse_lease
from renderers.mandelbrot.deep.model import DeepView
from renderers.mandelbrot.kernel import Limits, View, render_tile
from renderers.mandelbrot.light import averaged
from renderers.mandelbrot.render import Renderer, Work
from renderers.mandelbrot.strips import RowPicture
from renderers.models import HeldModels
from tests.unit.renderers.bundles import Bundle
from tests.unit.renderers.manager_server import deep_lease, endless_lease, lease_document
from tests.unit.renderers.orbits import escape


@contextmanager
def pool(threads: int = 2) -> Iterator[tuple[Renderer, "queue.Queue[Work]"]]:
    ended: queue.Queue[Work] = queue.Queue()
    renderer = Renderer(threads, lambda: None, ended.put)
    try:
        yield renderer, ended
    finally:
        assert renderer.close(60.0)


def rendered(**changes: Any) -> Work:
    with pool() as (renderer, ended):
        renderer.submit(parse_lease(lease_document(**changes)))
        return ended.get(timeout=60)


def test_a_lease_is_rendered_with_counts_and_pictures_that_agree() -> None:
    bundle = Bundle.read(rendered(width=70, height=50, tile_cols=3, stop=6, start=1).bundle())
    assert [entry["tile"] for entry in bundle.header["tiles"]] == [1, 2, 3, 4, 5]
    view, limits = View(-2.5, -1.25, 3.5 / 64, 2.5 / 64), Limits(100, 2.0)
    counts = bundle.array(5, "counts", (18, 6))
    for row, col in ((0, 0), (17, 5), (9, 3), (17, 0)):
        assert counts[row, col] == escape(view, 32 + row, 64 + col, limits)[0]
    inside_counts = bundle.array(1, "counts", (32, 32)) == 100
    inside_picture = (bundle.picture(1, "png") == (0x10, 0x20, 0x30)).all(axis=2)
    assert inside_counts.any()
    assert np.array_equal(inside_counts[::-1], inside_picture)


def test_previews_come_with_or_without_the_full_picture() -> None:
    both = Bundle.read(rendered(preview_scale=4, stop=1).bundle())
    assert both.picture(0, "preview").shape == (8, 8, 3)
    assert both.picture(0, "png").shape == (32, 32, 3)
    alone = Bundle.read(rendered(preview_scale=4, outputs=["counts"]).bundle())
    assert "png" not in alone.header["tiles"][0]
    assert alone.header["smooth"] is None


def test_a_whole_row_of_tiles_is_sent_as_strips_where_previews_show_its_tiles() -> None:
    bundle = Bundle.read(
        rendered(width=70, height=50, tile_cols=3, start=1, stop=6, preview_scale=4, strip_lines=9).bundle()
    )
    alone = Bundle.read(rendered(width=70, height=50, tile_cols=3, start=1, stop=6).bundle())
    assert ["png" in entry for entry in bundle.header["tiles"]] == [True, True, False, False, False]
    assert [entry["row"] for entry in bundle.header["rows"]] == [1]
    assert bundle.header["rows"][0]["strips"][0][0] > bundle.header["tiles"][1]["png"][0]
    assert alone.header["rows"] == []
    tiles = np.concatenate([alone.picture(tile, "png") for tile in (3, 4, 5)], axis=1)
    assert np.array_equal(bundle.row_picture(1, width=70), tiles)


def test_a_strip_has_as_many_lines_as_the_lease_says() -> None:
    picture = RowPicture(0, 64, 8192, 1, strip_lines=21)
    strips = picture.place(0, np.zeros((64, 3 * 8192), np.uint8))
    assert strips is not None
    inflated = [zlib.decompressobj(-15).decompress(chunk[8:-4]) for chunk, _ in strips.strips]
    assert [len(lines) for lines in inflated] == [21 * 24577] * 3 + [24577]
    assert [adler for _, adler in strips.strips] == [zlib.adler32(lines) for lines in inflated]


def test_pictures_are_sent_unasked_when_there_is_no_preview() -> None:
    assert "png" in Bundle.read(rendered(outputs=["counts"]).bundle()).header["tiles"][0]


def test_large_limits_make_four_byte_counts() -> None:
    model = lease_document()["model"]
    bundle = Bundle.read(rendered(model=model | {"params": {"max_iter": 70_000}}).bundle())
    assert bundle.header["counts"]["dtype"] == "<u4"
    assert bundle.array(1, "counts", (32, 32)).max() == 70_000


def test_leases_in_hand_are_rendered_in_order() -> None:
    with pool() as (renderer, ended):
        for name in "abc":
            renderer.submit(parse_lease(lease_document(name)))
        assert {ended.get(timeout=60).lease.id for _ in range(3)} == set("abc")
        assert renderer.unstarted() == 0


def test_a_tile_that_fails_ends_its_lease_with_the_tile_named_and_the_pool_goes_on() -> None:
    with pool() as (renderer, ended):
        renderer.submit(parse_lease(lease_document("outside the picture", start=6, stop=8)))
        work = ended.get(timeout=60)
        assert work.failed_tile in (6, 7)
        assert work.error
        renderer.submit(parse_lease(lease_document("good")))
        assert ended.get(timeout=60).error is None


def test_an_abandoned_lease_ends_soon_and_says_so() -> None:
    with pool() as (renderer, ended):
        renderer.submit(parse_lease(endless_lease()))
        time.sleep(0.1)
        assert renderer.abandon("endless")
        assert not renderer.abandon("endless")
        work = ended.get(timeout=60)
        assert work.abandoned
        assert not work.results


def test_an_abandoned_lease_that_has_not_begun_ends_at_once() -> None:
    with pool(1) as (renderer, ended):
        renderer.submit(parse_lease(endless_lease()))
        renderer.submit(parse_lease(lease_document("waiting")))
        renderer.abandon("waiting")
        assert ended.get(timeout=60).lease.id == "waiting"


def test_a_deep_picture_with_several_samples_is_the_larger_image_averaged() -> None:
    order: dict[str, Any] = {"width": 64, "height": 64, "tile_size": 64, "tile_cols": 1, "start": 0, "stop": 1}
    fine: dict[str, Any] = {"width": 128, "height": 128, "tile_size": 128, "tile_cols": 1, "start": 0, "stop": 1}
    view = deep_lease()["view"]
    halved = view | {name: str(Decimal(view[name]) / 2) for name in ("dx", "dy")}
    sampled = Bundle.read(_rendered_deep(deep_lease(**order, supersample=2)).bundle()).picture(0, "png")
    larger = Bundle.read(_rendered_deep(deep_lease(**fine, view=halved)).bundle()).picture(0, "png")
    assert np.array_equal(sampled, averaged(np.ascontiguousarray(larger).reshape(128, -1), 2).reshape(64, 64, 3))


def _rendered_deep(document: dict[str, Any]) -> Work:
    with pool() as (renderer, ended):
        lease = parse_lease(document)
        assert lease.reference is not None
        assert isinstance(lease.view, DeepView)
        renderer.submit(lease, HeldModels().load(lease.reference, lease.view))
        return ended.get(timeout=60)


@pytest.mark.parametrize("params", [{"formula": "tricorn"}, {"formula": "multibrot3", "julia": ["0.4", "0.1"]}])
def test_a_lease_is_rendered_by_its_formula(params: dict[str, Any]) -> None:
    model = lease_document()["model"]
    asked = lease_document(model=model | {"params": model["params"] | params})
    lease = parse_lease(asked)
    bundle = Bundle.read(rendered(model=asked["model"]).bundle())
    counts, smooth = np.empty((32, 32), np.uint32), np.empty((32, 32), np.float32)
    assert isinstance(lease.view, View)
    stop = np.zeros(1, np.uint8)
    assert render_tile(lease.view, lease.window(0), lease.limits, counts, smooth, stop, lease.formula)
    np.testing.assert_array_equal(bundle.array(0, "counts", (32, 32)), counts)
    plain = Bundle.read(rendered().bundle())
    assert (plain.array(0, "counts", (32, 32)) != counts).any()
