"""The batch script: what it says, and that nothing that goes into it can be anything but a value."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrm.errors import LauncherError
from rrm.launchers.base import Batch, NodeSpec, agent_command
from rrm.launchers.slurm.directives import directives
from rrm.launchers.slurm.script import batch_script
from tests.hostile import CANARY, HOSTILE

SCRIPTS = Path(__file__).with_name("scripts")
EVERYTHING = Batch(
    account="vis team",
    partition="gpu",
    reservation="demo_2026",
    nodes=1,
    cpus=16,
    gpus=2,
    memory=64000,
    exclusive=True,
    time_limit=timedelta(days=1, hours=2, minutes=30),
    extra_directives=("#SBATCH --constraint=skylake", "-q high", "--mem=96G"),
    skip_directives=("--export",),
    exclude=("gpu07", "gpu12.example.org"),
)


def node(**settings: object) -> NodeSpec:
    chosen: dict[str, object] = {"name": "rrm-0a1b2c3d4e", "resource": "mandelbrot", "token": "secret"}
    return NodeSpec(**{**chosen, "manager_url": "https://rrm.example.org", **settings})  # type: ignore[arg-type]


def text(spec: NodeSpec) -> str:
    command = spec.command or agent_command(spec, "/opt/rrm/bin/python3")
    lib = "" if spec.command else "/home/me/.rrm/7f3a/renderers/2.0.0/lib"
    return batch_script(spec, "rrm:7f3a", command, lib)


NODES = {
    "plain": node(environment={"PYTHONPATH": "/opt/theirs"}),
    "everything": node(
        batch=EVERYTHING,
        modules=("gcc/12.3", "python/3.11"),
        prologue='ulimit -n 4096\necho "on $(hostname)" >&2\n',
        environment={"OMP_NUM_THREADS": "16", "GREETING": 'it\'s "me"; $HOME'},
        command=("/opt/viewer/bin/serve", "--title", "a 'b' $(c)"),
    ),
    "several-machines": node(batch=Batch(nodes=4, cpus=8)),
}


@pytest.mark.parametrize("name", NODES)
def test_the_script_is_the_one_that_is_kept_for_reading(name: str) -> None:
    """To renew them after a change that is meant: run this test with RENEW=1, and read what changed."""
    kept = SCRIPTS / f"{name}.sh"
    if os.environ.get("RENEW"):
        kept.write_text(text(NODES[name]))
    assert text(NODES[name]) == kept.read_text()
    assert subprocess.run(["bash", "-n", str(kept)], check=False).returncode == 0


def test_the_token_is_not_in_the_script() -> None:
    assert all("secret" not in text(spec) for spec in NODES.values())


def lines(**batch: object) -> list[str]:
    return directives("rrm-1", "rrm:x", Batch(**batch))  # type: ignore[arg-type]


def test_an_extra_directive_takes_the_place_of_ours() -> None:
    assert [line for line in lines(cpus=4, extra_directives=("-c 8",)) if line.startswith(("-c", "--cpus"))] == ["-c 8"]
    assert [line for line in lines(extra_directives=("--cpus-per-t=8",)) if "--cpus" in line] == ["--cpus-per-t=8"]


@pytest.mark.parametrize("skipped", ["--mem", "mem", "--mem=1G", "#SBATCH --mem=4096M"])
def test_a_skipped_directive_is_left_out(skipped: str) -> None:
    assert "--mem=100M" in lines(memory=100)
    assert not [line for line in lines(memory=100, skip_directives=(skipped,)) if line.startswith("--mem")]
    kept = lines(memory=100, extra_directives=("--mem-bind=local",), skip_directives=(skipped,))
    assert "--mem-bind=local" in kept


@pytest.mark.parametrize(
    "option", ["--job-name=x", "-J x", "--comm=x", "--output=x", "-o/x", "--array=1-9", "--wrap=id"]
)
def test_what_rrm_finds_its_jobs_by_can_be_neither_set_nor_skipped(option: str) -> None:
    with pytest.raises(LauncherError, match="RRM"):
        lines(extra_directives=(option,))
    with pytest.raises(LauncherError, match="RRM"):
        lines(skip_directives=(option,))


@pytest.mark.parametrize("line", ["", "constraint=x", "--x='y", "--x=y\n#SBATCH --uid=0", "--x=\x00", "; id", "- x"])
def test_what_is_no_directive_is_refused(line: str) -> None:
    with pytest.raises(LauncherError):
        lines(extra_directives=(line,))


@pytest.mark.parametrize("wrong", [{"nodes": 0}, {"cpus": 0}, {"gpus": -1}, {"memory": -1}])
def test_a_count_that_makes_no_sense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(LauncherError):
        lines(**wrong)


@pytest.mark.parametrize(
    ("limit", "clock", "told"),
    [(60, "0-00:01:00", 15), (3600, "0-01:00:00", 90), (200_000, "2-07:33:20", 90)],
)
def test_a_time_limit_is_written_as_slurm_reads_it(limit: int, clock: str, told: int) -> None:
    asked = lines(time_limit=timedelta(seconds=limit))
    assert f"--time={clock}" in asked
    assert f"--signal=B:USR1@{told}" in asked


# Hostile settings


@given(st.text())
def test_whatever_a_value_is_it_stays_one_line_and_one_word(value: str) -> None:
    fields = ("account", "partition", "reservation")
    for field in fields:
        try:
            asked = lines(**{field: value})
        except LauncherError:
            continue
        assert len(asked) == len(lines()) + bool(value)
        assert all(line.isprintable() and "\n" not in line for line in asked if line.isascii())
        for line in asked:
            assert re.fullmatch(r'--[a-z-]+(=("[^"\'\\`]*"|[A-Za-z0-9@%+=:,./_-]+))?', line), line


def accepted(spec: NodeSpec) -> bool:
    try:
        text(spec)
    except LauncherError:
        return False
    return True


def test_hostile_settings_are_nothing_but_values(tmp_path: Path) -> None:
    """Every string that is taken, as a variable and as a word of the command, in one run of the real script."""
    taken = [one for one in HOSTILE if accepted(node(environment={"V": one}, command=("true", one)))]
    assert len(taken) > 150
    environment = {f"V{number}": one for number, one in enumerate(taken)}
    program = "/usr/bin/python3"
    code = "import os, sys, json; words = sys.argv[1:]; set = [os.environ[f'V{n}'] for n in range(len(words))]; "
    code += "print(json.dumps([words, set]))"
    home = tmp_path / "nodes" / "rrm-1"
    home.mkdir(parents=True)
    (home / "token").write_text("secret\n")
    script = home / "batch.sh"
    script.write_text(text(node(environment=environment, command=(program, "-c", code, *taken))))
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    ran = subprocess.run(
        ["bash", str(script)], cwd=home, env={"SLURM_JOB_ID": "1", "PATH": os.defpath}, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [taken, taken]
    assert not list(tmp_path.rglob(CANARY))
    assert not (home / "token").exists()


@pytest.mark.parametrize("field", ["account", "partition", "reservation", "extra_directives", "skip_directives"])
def test_hostile_options_are_refused_or_stay_in_their_line(field: str) -> None:
    for hostile in HOSTILE:
        value = (hostile,) if field.endswith("directives") else hostile
        spec = node(batch=Batch(**{field: value}))  # type: ignore[arg-type]
        if accepted(spec):
            head, _, body = text(spec).partition("\n\numask")
            assert all(line.startswith("#") for line in head.splitlines())
            assert body == text(node()).partition("\n\numask")[2]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_names_of_modules_and_variables_are_refused(hostile: str) -> None:
    for spec in (node(modules=(hostile,)), node(environment={hostile: "x"})):
        if accepted(spec):
            assert re.fullmatch(r"[A-Za-z0-9_@%+=:,./~-]+", hostile)


def test_a_first_word_is_a_program_whatever_it_looks_like() -> None:
    for word in ("if", "A=b", "exec"):
        assert f"\n'{word}' <&3" in text(node(command=(word,)))
