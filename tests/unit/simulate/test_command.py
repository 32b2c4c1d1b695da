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
