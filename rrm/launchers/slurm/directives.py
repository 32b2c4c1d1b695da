"""The options of a node's job, as lines that sbatch reads from a script.

Raises LauncherError for what its reader could take for something else: it knows quotes and backslashes, but not as a
shell does.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from datetime import timedelta

from rrm.errors import LauncherError
from rrm.launchers.base import Batch

_DRAIN_SECONDS = 90
_PLAIN = re.compile(r"[A-Za-z0-9@%+=:,./_-]+")
_OPTION = re.compile(r"--?[A-Za-z][A-Za-z0-9-]*")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# How RRM finds its jobs again, and what would make one submission several jobs or none.
_OURS = {
    "--job-name", "--comment", "--output", "--error", "--chdir", "--array", "--clusters", "--cluster", "--input",
    "--test-only", "--wait", "--parsable", "--wrap", "--help", "--usage", "--version", "--uid", "--gid",
}  # fmt: skip
_SHORT = {
    "-A": "--account", "-p": "--partition", "-N": "--nodes", "-c": "--cpus-per-task", "-t": "--time",
    "-J": "--job-name", "-o": "--output", "-e": "--error", "-D": "--chdir", "-a": "--array", "-M": "--clusters",
    "-i": "--input", "-W": "--wait", "-h": "--help", "-V": "--version", "-H": "--hold", "-n": "--ntasks",
    "-C": "--constraint", "-G": "--gpus", "-w": "--nodelist", "-x": "--exclude", "-d": "--dependency", "-q": "--qos",
    "-L": "--licenses",
}  # fmt: skip
_KNOWN = {
    *_OURS, *_SHORT.values(), "--open-mode", "--no-requeue", "--export", "--signal", "--reservation", "--gres",
    "--ntasks-per-node", "--mem", "--exclusive", "--requeue", "--mem-per-cpu", "--mem-per-gpu", "--mem-bind", "--nice",
    "--time-min", "--export-file", "--cpus-per-gpu", "--gpus-per-node", "--gres-flags",
}  # fmt: skip


def directives(name: str, mark: str, batch: Batch) -> list[str]:
    """The options of the job, one a line, without "#SBATCH". An extra one takes the place of ours of that name."""
    extra = [_extra(line) for line in batch.extra_directives]
    replaced = {_option(line) for line in extra}
    skipped = {_skipped(line) for line in batch.skip_directives}
    own = [line for line in _own(batch) if _option(line) not in replaced]
    return [*_identity(name, mark), *(line for line in (*own, *extra) if _option(line) not in skipped)]


def _identity(name: str, mark: str) -> list[str]:
    files = ["--output=out.log", "--error=err.log", "--open-mode=append"]
    return [f"--job-name={_value('name', name)}", f"--comment={_value('mark', mark)}", *files]


def _own(batch: Batch) -> Iterable[str]:
    """What the settings of a resource ask for."""
    yield from ("--no-requeue", "--export=NIL", f"--signal=B:USR1@{_drain_seconds(batch.time_limit)}")
    for option, value in (
        ("account", batch.account),
        ("partition", batch.partition),
        ("reservation", batch.reservation),
    ):
        if value:
            yield f"--{option}={_value(option, value)}"
    yield from (f"--nodes={_count('nodes', batch.nodes, 1)}", "--ntasks-per-node=1")
    yield f"--cpus-per-task={_count('cpus', batch.cpus, 1)}"
    if _count("gpus", batch.gpus, 0):
        yield f"--gres=gpu:{batch.gpus}"
    if _count("memory", batch.memory, 0):
        yield f"--mem={batch.memory}M"
    if batch.exclude:
        yield f"--exclude={_value('exclude', ','.join(batch.exclude))}"
    if batch.exclusive:
        yield "--exclusive"
    if batch.time_limit:
        yield f"--time={_clock(batch.time_limit)}"


def _value(what: str, value: str) -> str:
    """A value as sbatch reads it from a script: it knows quotes and backslashes, but not as a shell does."""
    if _UNPRINTABLE.search(value) or set(value) & set("\"'\\`"):
        raise LauncherError(f"The {what} {value!r} has characters in it that Slurm's options cannot hold.")
    return value if _PLAIN.fullmatch(value) else f'"{value}"'


def _extra(line: str) -> str:
    """A directive that an operator wrote, with or without "#SBATCH"."""
    text = line.strip().removeprefix("#SBATCH").strip()
    if _UNPRINTABLE.search(text) or not _OPTION.match(text) or not _is_balanced(text):
        raise LauncherError(f"{line!r} is not a directive of Slurm: it begins with - or --, and fits in one line.")
    if _option(text) in _OURS:
        raise LauncherError(f"{_option(text)} cannot be an extra directive: RRM sets it to find its jobs again.")
    return text


def _is_balanced(text: str) -> bool:
    try:
        return bool(shlex.split(text))
    except ValueError:
        return False


def _skipped(line: str) -> str:
    """The option that a skipped directive names: "--mem", "mem", "#SBATCH --mem=4G" are the same."""
    text = line.strip().removeprefix("#SBATCH").strip()
    option = _option(text if text.startswith("-") else f"--{text}")
    if option in _OURS:
        raise LauncherError(f"{option} cannot be skipped: RRM needs it to find its jobs again.")
    return option


def _option(line: str) -> str:
    """The long name of a directive's option, as far as we know it. Slurm takes any unambiguous beginning."""
    found = _OPTION.match(line)
    name = found[0] if found else line
    if not name.startswith("--"):
        return _SHORT.get(name[:2], name[:2])
    if name in _KNOWN:
        return name
    begun = [known for known in _KNOWN if known.startswith(name)]
    return begun[0] if len(begun) == 1 else name


def _count(what: str, value: int, least: int) -> int:
    if value < least:
        raise LauncherError(f"{what} has to be a whole number of at least {least}, not {value!r}.")
    return value


def _clock(duration: timedelta) -> str:
    """DAYS-HH:MM:SS, as --time takes it."""
    seconds = int(duration.total_seconds())
    if seconds <= 0:
        raise LauncherError("A time limit has to be longer than nothing.")
    return f"{seconds // 86400}-{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _drain_seconds(limit: timedelta) -> int:
    """How long before its end a job is told; Slurm may do it up to a minute earlier."""
    return max(1, min(_DRAIN_SECONDS, int(limit.total_seconds()) // 4)) if limit else _DRAIN_SECONDS
