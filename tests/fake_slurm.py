"""Slurm's programs as this project uses them, without Slurm: jobs are processes of this machine, started at once.

    python fake_slurm.py FOLDER sbatch|squeue|scancel|sacct ARGUMENTS

It passes the contract tests that the real one passes, and shows thousands of jobs to those that count questions.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_PROGRAMS = ("sbatch", "squeue", "scancel", "sacct")
_TITLES = {
    "%i": "JOBID", "%T": "STATE", "%r": "REASON", "%e": "END_TIME", "%l": "TIME_LIMIT", "%D": "NODES", "%j": "NAME",
    "%k": "COMMENT",
}  # fmt: skip


class FakeSlurm:
    """Everything of it lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "jobs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name in _PROGRAMS:
            program = folder / "bin" / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{__file__}" "{folder}" {name} "$@"\n')
            program.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}/bin:/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder)}

    def asked(self, program: str) -> int:
        """How often a program was called."""
        log = self.folder / "asked"
        return log.read_text().splitlines().count(program) if log.exists() else 0

    def add(self, number: int, **facts: Any) -> None:
        """One more job, which no process stands behind."""
        _store(self.folder, {"id": str(number), "state": "RUNNING", "pid": 0, **facts})


def main(folder: Path, program: str, arguments: list[str]) -> int:
    with (folder / "asked").open("a") as log:
        log.write(f"{program}\n")
    options = dict(word[2:].partition("=")[::2] for word in arguments if word.startswith("--"))
    numbers = [word for word in arguments if not word.startswith("-")]
    if program == "sacct":
        print("Slurm accounting storage is disabled", file=sys.stderr)
        return 1
    if program == "sbatch":
        print(_submitted(folder, Path(numbers[0])))
    elif program == "squeue":
        return _listed(folder, options)
    else:
        for number in numbers:
            _signalled(folder, number, options)
    return 0


def _submitted(folder: Path, script: Path) -> str:
    """Start the script under a process that writes its end down."""
    given = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", script.read_text(), re.MULTILINE))
    with (folder / "last").open("a+") as last:
        fcntl.flock(last, fcntl.LOCK_EX)
        last.seek(0)
        number = str(len(last.read()) + 1)
        last.write("x")
    job = {"id": number, "name": given["job-name"], "comment": given["comment"], "state": "RUNNING", "pid": 0}
    _store(folder, job)
    if os.fork() == 0:
        os.setsid()
        os.closerange(0, 64)
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY):
            os.open(os.devnull, flags)
        _run(folder, job, script, given)
        os._exit(0)
    while not _job(folder, number)["pid"]:
        time.sleep(0.005)
    return number


def _run(folder: Path, job: dict[str, Any], script: Path, given: dict[str, str]) -> None:
    own = {"SLURM_JOB_ID": job["id"], "HOME": str(folder), "PATH": os.defpath, "HOSTNAME": "fake"}
    with open(given["output"], "ab") as out, open(given["error"], "ab") as errors:
        running = subprocess.Popen(
            ["/bin/bash", str(script)], env=own, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, process_group=0
        )
    _store(folder, {**job, "pid": running.pid})
    status = running.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    now = _job(folder, job["id"])
    ended = "CANCELLED" if now.get("cancelled") else "FAILED" if status else "COMPLETED"
    _store(folder, {**now, "state": ended, "reason": "NonZeroExitCode" if status else "None"})


def _listed(folder: Path, options: dict[str, str]) -> int:
    jobs = [_job(folder, path.stem) for path in (folder / "jobs").glob("*.json")]
    if "jobs" in options:
        jobs = [job for job in jobs if job["id"] == options["jobs"]]
        if not jobs:
            print("slurm_load_jobs error: Invalid job id specified", file=sys.stderr)
            return 1
    jobs = [job for job in jobs if options.get("name", job["name"]) == job["name"]]
    lines = [_TITLES, *(_row(job) for job in jobs)]
    wanted = options["format"]
    print("\n".join(re.sub("%[a-zA-Z]", lambda found, line=line: line[found[0]], wanted) for line in lines))  # type: ignore[misc]
    return 0


def _row(job: dict[str, Any]) -> dict[str, str]:
    told = {"%i": job["id"], "%T": job["state"], "%r": job.get("reason", "None"), "%j": job["name"]}
    return {**told, "%k": job["comment"], "%e": "N/A", "%l": "UNLIMITED", "%D": "1"}


def _signalled(folder: Path, number: str, options: dict[str, str]) -> None:
    job = _job(folder, number)
    if job["state"] != "RUNNING" or not job["pid"]:
        return
    name = options.get("signal", "")
    if not name:
        _store(folder, {**job, "cancelled": True})
    with contextlib.suppress(ProcessLookupError):
        if "batch" in options:
            os.kill(job["pid"], signal.Signals[f"SIG{name}"])
        else:
            os.killpg(job["pid"], signal.Signals[f"SIG{name or 'TERM'}"])


def _job(folder: Path, number: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "jobs" / f"{number}.json").read_text())
    return found


def _store(folder: Path, job: dict[str, Any]) -> None:
    part = folder / f"{job['id']}.{os.getpid()}.part"
    part.write_text(json.dumps(job))
    part.replace(folder / "jobs" / f"{job['id']}.json")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
