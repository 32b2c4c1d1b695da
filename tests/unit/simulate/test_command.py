"""What people type, and what they get."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rrm.simulate.__main__ import main


def test_policies_are_compared_on_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, kept = tmp_path / "orders.csv", tmp_path / "found.json"
    trace.write_text("time,model,seconds\n0,a,5\n1,a,5\n2,b,5\n")
    main(["--trace", str(trace), "--nodes", "lab=1,cluster=1", "--policies", "k16,least", "--json", str(kept)])
    rows = json.loads(kept.read_text())["rows"]
    assert [(row["policy"], row["jobs"]) for row in rows] == [("streak bound K=16 A=2L", 3), ("least loaded (P2C)", 3)]
    assert "least loaded" in capsys.readouterr().out


def test_a_farm_that_scales_is_shown_over_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, plot = tmp_path / "found.json", tmp_path / "found.png"
    options = ["--scale", "0:6", "--jobs", "200", "--rho", ".5", "--arrivals", "bursts", "--sessions", "2"]
    main([*options, "--json", str(kept), "--plot", str(plot)])
    turns = json.loads(kept.read_text())["turns"]
    assert max(turn["ready"] for turn in turns) > 1
    assert plot.stat().st_size > 1000
    assert "let go" in capsys.readouterr().out


def test_figures_are_drawn_against_the_load(tmp_path: Path) -> None:
    plot = tmp_path / "loads.png"
    main(["--rho", ".2,.4", "--jobs", "100", "--seeds", "1", "--policies", "all", "--streak", "8", "--plot", str(plot)])
    assert plot.stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--policies k16,magic", "there is no policy magic; there are"),
        ("--nodes lab=x", "'x' is not a whole number above 0"),
        ("--nodes -3", "not a whole number above 0"),
        ("--rho 0", "0 is not above 0"),
        ("--rho half", "'half' is not a number"),
        ("--seconds inf", "'inf' is not a number"),
        ("--load -1", "-1 is less than 0"),
        ("--scale 5", "not a whole number above 0"),
        ("--scale 5:2", "is not like 0:40"),
        ("--seeds 0", "not a whole number above 0"),
        ("--trace nowhere.csv", "No such file"),
        ("--loads nowhere.json", "No such file"),
    ],
)
def test_a_mistake_is_told_in_a_line(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    option, _, value = words.partition(" ")
    with pytest.raises(SystemExit):
        main([f"{option}={value}"])
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_loads_that_are_no_numbers_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loads.json").write_text('{"a": "long"}')
    with pytest.raises(SystemExit):
        main(["--loads", str(tmp_path / "loads.json")])
    assert 'is not like {"model": seconds}' in capsys.readouterr().err
