"""The arithmetic of the pages, in the browser that they run in; no service is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal, getcontext
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

STATIC = Path(__file__).resolve().parents[2] / "rrm" / "dashboard" / "static" / "dashboard"
HOME = "http://modules.test/"
DEEP = "0." + "1234567890" * 31 + "7"

getcontext().prec = 1200


@pytest.fixture(scope="module")
def modules(browser: Browser) -> Iterator[Page]:
    """An empty page beside the scripts, whose modules it can import."""
    page = browser.new_page()
    page.route(f"{HOME}**", _file)
    page.goto(HOME)
    yield page
    page.context.close()


def _file(route: Route) -> None:
    name = route.request.url.removeprefix(HOME)
    if not name:
        route.fulfill(body="<!doctype html><title>Modules</title>", content_type="text/html")
    else:
        route.fulfill(body=(STATIC / name).read_text(), content_type="text/javascript")


def js(page: Page, code: str, *values: Any) -> Any:
    """What the code returns; it has the modules as d (decimal), v (view), s (style), f (frames) and q (quality)."""
    names = {"d": "decimal", "v": "explore/view", "s": "explore/style", "f": "explore/frames", "q": "explore/quality"}
    imports = ";".join(f"const {short} = await import('/{name}.js')" for short, name in names.items())
    return page.evaluate(f"async (values) => {{ {imports}; {code} }}", list(values))


@pytest.mark.parametrize(
    "text", ["0", "-0.75", "1.5e-7", ".5", "2.", "-3e4", DEEP, "1e-400", "-12345678901234567890.000000000000000000001"]
)
def test_decimals_are_read_and_written_exactly(modules: Page, text: str) -> None:
    written = js(modules, "return d.textOf(d.decimal(values[0]))", text)
    assert Decimal(written) == Decimal(text)
    assert "e" not in written


@pytest.mark.parametrize(
    "text", ["", ".", "1e", "abc", "1,5", "1e999999", "0x10", "1 2", "NaN", "Infinity", "1" * 5000]
)
def test_what_is_no_decimal_is_refused(modules: Page, text: str) -> None:
    code = "try { d.decimal(values[0]); return 'read' } catch (error) { return error.name }"
    assert js(modules, code, text) == "RangeError"


@pytest.mark.parametrize(("a", "b"), [("0.1", "0.2"), (DEEP, "-1e-330"), ("-5", "5"), ("1e-1000", "3")])
def test_sums_and_differences_lose_nothing(modules: Page, a: str, b: str) -> None:
    code = "const [a, b] = values.map(d.decimal); return [d.textOf(d.plus(a, b)), d.textOf(d.minus(a, b))]"
    together, apart = js(modules, code, a, b)
    assert (Decimal(together), Decimal(apart)) == (Decimal(a) + Decimal(b), Decimal(a) - Decimal(b))


def test_rounding_is_to_the_nearest(modules: Page) -> None:
    code = "return values.map((text) => d.textOf(d.rounded(d.decimal(text), 2)))"
    assert js(modules, code, "1.005", "-1.005", "1.0049", "2.5", "-0.001", "9.999") == [
        *("1.01", "-1.01", "1", "2.5", "0", "10")
    ]


@pytest.mark.parametrize(
    ("text", "mantissa", "exponent"),
    [
        ("1.25", 1.25, 0),
        ("0.005", 5, -3),
        ("9.9999999999999", 1, 1),
        ("2.5e-900", 2.5, -900),
        (DEEP, 1.23456789012, -1),
    ],
)
def test_sizes_have_any_exponent(modules: Page, text: str, mantissa: float, exponent: int) -> None:
    assert js(modules, "const { mantissa, exponent } = d.size(values[0]); return [mantissa, exponent]", text) == [
        mantissa,
        exponent,
    ]


def test_sizes_are_read_back_as_they_were_written(modules: Page) -> None:
    code = """return values.map((text) => {
      const size = d.size(text);
      const again = d.size(d.sizeText(size));
      return size.mantissa === again.mantissa && size.exponent === again.exponent;
    })"""
    texts = ["1.25", "0.000123456789012345", "3.3333333333333e-17", "1e-1000", "12345.678", "0.1"]
    assert js(modules, code, *texts) == [True] * len(texts)


def test_a_thousand_steps_of_the_wheel_lose_no_digit_of_the_centre(modules: Page) -> None:
    """Down to 1e-300 and out again about the same points leads back to where it began, to far less than a pixel."""
    code = """
      let at = v.view(values[0], '0.1', '1.25');
      const points = Array.from({ length: 1000 }, (_, i) => [Math.sin(i), Math.cos(3 * i)]);
      for (const point of points) at = v.zoomed(at, 2, point);
      const deep = v.texts(at);
      for (const point of points.reverse()) at = v.zoomed(at, 0.5, point);
      return [deep, v.texts(at)];
    """
    deep, back = js(modules, code, "-0.7436438870371587")
    assert Decimal(deep["radius"]) < Decimal("1.2e-300")
    assert len(deep["center"][0]) > 300
    assert abs(Decimal(back["radius"]) / Decimal("1.25") - 1) < Decimal("1e-8")
    assert abs(Decimal(back["center"][0]) - Decimal("-0.7436438870371587")) < Decimal("1e-8")


def test_the_point_under_the_pointer_stays_where_it_is(modules: Page) -> None:
    code = """
      let at = v.view(...values);
      const point = v.panned(at, [0.6, -0.3]);
      const near = v.zoomed(at, 7, [0.6, -0.3]);
      const there = v.placed({ ...point, radius: near.radius }, near);
      return [there.right, there.up];
    """
    for radius in ("0.5", "1e-299"):
        right, up = js(modules, code, DEEP, "-" + DEEP, radius)
        assert (round(right, 6), round(up, 6)) == (0.6, -0.3)


def test_small_moves_of_a_deep_view_are_exact_to_a_fraction_of_a_pixel(modules: Page) -> None:
    code = """
      let at = v.view(values[0], values[0], '1e-310');
      const start = at;
      for (let i = 0; i < 500; i += 1) at = v.panned(at, [0.002, -0.001]);
      const { right, up } = v.placed(at, start);
      return [right, up];
    """
    right, up = js(modules, code, DEEP)
    assert abs(right - 1) < 1e-9
    assert abs(up + 0.5) < 1e-9


def test_the_points_of_a_deep_picture_are_told_to_a_fraction_of_a_pixel(modules: Page) -> None:
    code = """
      const { pointAt, length } = await import('/plane.js');
      const job = { view: { center: [values[0], '0.5'], dx: '2.5e-103', dy: '2.5e-103' }, width: 800, height: 600 };
      return [...pointAt(job, [401, 299]), length(300, '2.5e-103')];
    """
    x, y, radius = js(modules, code, DEEP)
    assert abs(Decimal(x) - Decimal(DEEP) - Decimal("2.5e-103")) < Decimal("1e-105")
    assert abs(Decimal(y) - Decimal("0.5") - Decimal("2.5e-103")) < Decimal("1e-105")
    assert Decimal(radius) == Decimal("7.5e-101")


def test_zooming_stops_where_nothing_more_can_be_drawn(modules: Page) -> None:
    code = """
      const radius = (view, factor, deep) => v.texts(v.zoomed(view, factor, [0.5, 0.5], { deep })).radius;
      return [
        radius(v.view('0', '0', '2e-1000'), 1000, true),
        radius(v.view('0', '0', '2e-12'), 1000, false),
        radius(v.view('0', '0', '1e-50'), 2, false),
        radius(v.view('0', '0', '15'), 0.01, true),
      ];
    """
    assert js(modules, code) == ["1e-1000", "1e-12", "1e-50", "20"]


def test_a_link_leads_back_to_the_very_view_and_its_looks(modules: Page) -> None:
    code = """
      const shown = v.view(values[0], '-' + values[0], '3.25e-300');
      const colours = { palette: 'fire', offset: 0.25, scale: 2.5, interior: '#102030', method: 'bands' };
      const style = { ...s.PLAIN, ...colours, limit: 5000 };
      const query = s.queryOf(shown, style);
      const again = s.fromQuery(new URLSearchParams(String(query)));
      return [v.sameView(again.view, shown), again.style, style, String(s.queryOf(v.WHOLE, s.PLAIN))];
    """
    same, restored, style, plain = js(modules, code, DEEP)
    assert same
    assert restored == style
    assert plain == "x=-0.75&y=0&radius=1.25"


@pytest.mark.parametrize(
    "query",
    [
        *("radius=0", "radius=-1", "radius=1e-2000", "radius=x", "x=1&y=2", "x=abc&y=0&radius=1", "radius=1e5"),
        "formula=cat&julia=1&method=x&max_iter=-3&interior=red&scale=0&offset=NaN&palette=<b>",
    ],
)
def test_a_link_that_makes_no_sense_shows_what_is_usual(modules: Page, query: str) -> None:
    found, plain = js(modules, "return [s.fromQuery(new URLSearchParams(values[0])), s.PLAIN]", query)
    assert found == {"view": None, "style": plain}


def test_late_frames_are_told_from_new_ones(modules: Page) -> None:
    code = """
      const newest = new f.Newest();
      return values.map(([camera, step]) => newest.accepts(camera, step));
    """
    frames = [(1, 8), (1, 4), (3, 8), (2, 1), (1, 1), (3, 2), (3, 8), (3, 1), (4, 8)]
    assert js(modules, code, *frames) == [True, True, True, False, False, True, False, True, True]


def test_cameras_of_other_pages_are_told_apart(modules: Page) -> None:
    code = """
      const [mine, other] = [new f.Cameras(), new f.Cameras()];
      const [first, second, foreign] = [mine.next(), mine.next(), other.next()];
      return [mine.numberOf(first), mine.numberOf(second), mine.numberOf(foreign), mine.numberOf(null), mine.last];
    """
    assert js(modules, code) == [1, 2, None, None, 2]


def test_a_frame_is_its_header_and_its_image(modules: Page) -> None:
    header = json.dumps({"frame": 7, "camera": "a-1", "type": "image/png", "step": 1}).encode()
    message = list(len(header).to_bytes(4, "big") + header + b"picture")
    code = """
      const { header, image } = f.readFrame(new Uint8Array(values[0]).buffer);
      return [header.frame, image.type, await image.text()];
    """
    assert js(modules, code, message) == [7, "image/png", "picture"]


def test_a_camera_has_the_shape_of_the_canvas_and_no_more_pixels_than_it_may(modules: Page) -> None:
    code = "return values.map((all) => q.cameraSize(...all))"
    assert js(modules, code, (1280, 720, 1e7), (2560, 1440, 921600), (3, 2000, 1e6)) == [
        *([1280, 720], [1280, 720], [16, 2000])
    ]


def test_few_frames_make_for_fewer_pixels_in_motion_and_as_many_at_rest(modules: Page) -> None:
    code = """
      const budget = new q.Budget();
      const seen = [budget.inMotion];
      for (let i = 0; i < 9; i += 1) budget.learn(5);
      seen.push(budget.inMotion);
      for (let i = 0; i < 30; i += 1) budget.learn(50);
      seen.push(budget.inMotion, budget.atRest);
      budget.setting = 'light';
      return [...seen, budget.inMotion];
    """
    first, slow, fast, rest, light = js(modules, code)
    assert slow == 120_000
    assert first == fast == rest == 2_600_000
    assert light == 300_000


def test_the_limit_is_the_one_that_a_node_chooses(modules: Page) -> None:
    from fractions import Fraction

    from renderers.streaming.grid import chosen_limit

    radii = ["1.25", "0.9", "0.25", "0.019", "3e-7", "1e-30", "7.7e-301", "1e-999"]
    code = "return values.map((radius) => v.chosenLimit(v.view('0', '0', radius)))"
    assert js(modules, code, *radii) == [chosen_limit(Fraction(radius)) for radius in radii]
