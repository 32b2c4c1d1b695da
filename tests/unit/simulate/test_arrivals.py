"""What is asked of a simulated farm: made-up orders and traces."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice, takewhile
from pathlib import Path

import pytest

from rrm.simulate.arrivals import Order, Zipf, bursts, diurnal, instants, orders, read_trace, steady


def test_the_first_models_are_wanted_most_by_zipfs_law() -> None:
    counts = Counter(islice(Zipf(64).draws(random.Random(1)), 50_000))
    assert counts["m00"] / counts["m01"] == pytest.approx(2, rel=0.1)
    assert counts["m00"] / counts["m09"] == pytest.approx(10, rel=0.15)


@pytest.mark.parametrize(("rate", "highest"), [(steady(2.0), 2.0), (bursts(2.0), 10.0), (diurnal(2.0, day=1e4), 4.0)])
def test_orders_come_at_the_mean_rate(rate: object, highest: float) -> None:
    times = list(takewhile(lambda at: at < 1e4, instants(rate, highest, random.Random(2))))  # type: ignore[arg-type]
    assert len(times) == pytest.approx(20_000, rel=0.04)
    assert times == sorted(times)


def test_a_burst_has_five_times_the_orders() -> None:
    times = takewhile(lambda at: at < 6e4, instants(bursts(2.0), 10.0, random.Random(3)))
    inside = Counter(at % 600 < 60 for at in times)
    assert 9 * inside[True] / inside[False] == pytest.approx(5, rel=0.05)


def test_service_times_have_the_mean_that_is_known_before() -> None:
    chance = random.Random(4)
    found = list(islice(orders(instants(steady(1.0), 1.0, chance), Zipf(4), 20.0, chance), 5000))
    assert sum(order.seconds for order in found) / 5000 == pytest.approx(20, rel=0.05)
    assert {order.estimate for order in found} == {20.0}


def test_a_trace_is_read_from_csv_and_from_json_lines(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time,model,seconds,owner,priority\n9,b,2.5,bob,high\n1,a,3,,\n")
    (tmp_path / "t.jsonl").write_text('{"time": 1, "model": "a", "seconds": 3, "leases": 4}\n\n')
    assert read_trace(tmp_path / "t.csv") == [Order(1, "a", 3), Order(9, "b", 2.5, owner="bob", priority="high")]
    assert read_trace(tmp_path / "t.jsonl") == [Order(1, "a", 3, leases=4)]


def test_a_trace_of_a_spreadsheet_begins_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "t.CSV").write_text("time,model,seconds\n1,a,3\n", encoding="utf-8-sig")
    (tmp_path / "t.jsonl").write_text('{"time": 1, "model": "a", "seconds": 3}\n', encoding="utf-8-sig")
    assert read_trace(tmp_path / "t.CSV") == read_trace(tmp_path / "t.jsonl") == [Order(1, "a", 3)]


@pytest.mark.parametrize(
    ("head", "line", "said"),
    [
        ("time,model,seconds,ownr", "1,a,3,bob", "Order 1 of the trace has ownr; known are time, model, seconds"),
        ("time,model,seconds", "1,a,3,4", "Order 1 of the trace has a field without a name"),
    ],
)
def test_a_column_that_would_be_ignored_is_named(tmp_path: Path, head: str, line: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(f"{head}\n{line}\n")
    with pytest.raises(ValueError, match=said):
        read_trace(tmp_path / "t.csv")


def test_a_part_of_a_lease_is_no_lease(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"time": 1, "model": "a", "seconds": 3, "leases": 2.5}\n')
    with pytest.raises(ValueError, match=r"leases 2.5 is not a whole number"):
        read_trace(tmp_path / "t.jsonl")


def test_a_trace_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not text in UTF-8"):
        read_trace(tmp_path / "t.csv")


@pytest.mark.parametrize("line", ["x,a,3,", "1,a,-3,", "1,a,nan,", "1,,3,", "1,a,3,soon"])
def test_a_broken_trace_names_the_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "t.csv").write_text(f"time,model,seconds,priority\n1,a,3,\n{line}\n")
    with pytest.raises(ValueError, match="Order 2 of the trace"):
        read_trace(tmp_path / "t.csv")


@pytest.mark.parametrize("text", ["[1]", '{"time": 1,', "1,a,3"])
def test_what_is_no_json_object_names_the_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.jsonl").write_text(f'{{"time": 1, "model": "a", "seconds": 3}}\n{text}\n')
    with pytest.raises(ValueError, match="Order 2 of the trace is not a JSON object"):
        read_trace(tmp_path / "t.jsonl")


def test_a_trace_without_orders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time,model,seconds\n")
    with pytest.raises(ValueError, match="has no orders"):
        read_trace(tmp_path / "t.csv")
