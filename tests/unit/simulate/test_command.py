"""What people type, and what they get."""

from __future__ import annotations

import json
import sys
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
        ("--rho 0", "0 is less than 0.001"),
        ("--rho half", "'half' is not a number"),
        ("--seconds inf", "'inf' is not a number"),
        ("--load -1", "-1 is less than 0"),
        ("--scale 5", "not a whole number above 0"),
        ("--scale 5:2", "is not like 0:40"),
        ("--nodes lab=2,lab=3", "'lab=2,lab=3' names a site twice"),
        ("--nodes 1000001", "1000001 is more than 1000000"),
        ("--rho .3,0.3", "names a load twice"),
        ("--policies k16,k16", "names a policy twice"),
        ("--boot -3", "-3 is less than 0"),
        ("--queue-wait nan", "'nan' is not a number"),
        ("--age -1", "-1 is less than 0"),
        ("--zipf -1", "-1 is less than 0"),
        ("--drain 0", "0 is less than 1"),
        ("--launch-failures 1", "1 is not at least 0 and less than 1"),
        ("--launch-failures 2", "2 is not at least 0 and less than 1"),
        ("--launch-failures -.1", "-.1 is not at least 0 and less than 1"),
        ("--boot 3", "--boot says nothing without --scale"),
        ("--age 3", "--age says nothing without --streak"),
        ("--loads loads.json", "--loads says nothing without --trace"),
        ("--json /nonexistent/x", "/nonexistent/x cannot be written: No such file or directory."),
        ("--json /", "/ cannot be written: Is a directory."),
        ("--plot x.xyz", "x.xyz has none of the endings"),
        ("--seeds 0", "not a whole number above 0"),
        ("--trace nowhere.csv", "No such file"),
    ],
)
def test_a_mistake_is_told_in_a_line(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    option, _, value = words.partition(" ")
    with pytest.raises(SystemExit):
        main([f"{option}={value}"])
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--scale 0:4 --rho .3,.5", "--scale takes one load"),
        ("--scale 0:4 --policies k16", "--policies would say nothing beside --scale"),
        ("--trace t.csv --rho .3 --jobs 5", "--rho, --jobs would say nothing beside --trace"),
        ("--trace t.csv --loads nowhere.json", "No such file"),
        ("--json same.png --plot same.png", "--json and --plot name the same file"),
    ],
)
def test_options_that_would_be_ignored_together_are_told(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words.split())
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_look_whether_a_file_can_be_written_changes_nothing(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("kept")
    for path in (old, new):
        with pytest.raises(SystemExit):
            main(["--json", str(path), "--trace", "nowhere.csv"])
    assert old.read_text() == "kept"
    assert not new.exists()


def test_a_plot_is_refused_where_there_is_nothing_to_draw_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    with pytest.raises(SystemExit):
        main(["--plot", "x.png"])
    assert "--plot needs matplotlib" in capsys.readouterr().err


def test_a_run_in_which_no_node_ever_starts_ends_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--scale", "0:4", "--launch-failures", "0.99999", "--jobs", "3"])
    assert str(ended.value).endswith("Nothing was done for 24 simulated hours though 3 waited: no node came.")


def test_sites_have_as_many_places_for_nodes_that_come_and_go_as_is_said(tmp_path: Path) -> None:
    kept = tmp_path / "found.json"
    main(["--scale", "0:40", "--nodes", "lab=2,cluster=1", "--jobs", "60", "--rho", "2", "--json", str(kept)])
    turns = json.loads(kept.read_text())["turns"]
    assert max(turn["exist"] for turn in turns) == 3


def test_nodes_break_down_under_a_trace_too(tmp_path: Path) -> None:
    trace, kept = tmp_path / "orders.csv", tmp_path / "found.json"
    trace.write_text("time,model,seconds,leases\n0,a,50,100\n")
    main(["--trace", str(trace), "--nodes", "2", "--mtbf", ".1", "--json", str(kept)])
    assert json.loads(kept.read_text())["rows"][0]["lost_leases"] > 1


def test_loads_that_are_no_numbers_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "orders.csv"
    trace.write_text("time,model,seconds\n0,a,5\n")
    (tmp_path / "loads.json").write_text('{"a": "long"}')
    with pytest.raises(SystemExit):
        main(["--trace", str(trace), "--loads", str(tmp_path / "loads.json")])
    assert 'is not like {"model": seconds}' in capsys.readouterr().err
