"""Run a command in a session of its own, outside the caller's process tree. Executed as a script, also imported.

    python -c SOURCE LOCK RECORD NAME OUT ERR COMMAND…

The process writes its own record before it becomes the command, so there is never a node without one. It inherits
standard input and the environment. LOCK is the descriptor of the caller's lock: this script keeps it until the record
is there, even if the caller dies meanwhile, and the command does not get it. This script ends at once, and the node is
re-parented to whoever reaps orphans: it never becomes a zombie of the manager. Exit status 0: the command runs;
otherwise standard error says why it does not. Nothing but the standard library is imported, and the interpreter is
started with -I -S, for speed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

PROC = Path("/proc")
_START_TIME = 19  # field 22 of proc(5) `stat`, counted after the command name in parentheses
_STATE = 0


def stat_fields(pid: int, proc: Path = PROC) -> list[str]:
    """The fields of /proc/PID/stat from the state on. FileNotFoundError or ProcessLookupError: it is gone."""
    text = (proc / str(pid) / "stat").read_text(errors="replace")
    return text[text.rindex(")") + 1 :].split()


def state_and_start(pid: int, proc: Path = PROC) -> tuple[str, int]:
    """A process's state letter and its start in clock ticks since boot, which no later process of its pid shares."""
    fields = stat_fields(pid, proc)
    return fields[_STATE], int(fields[_START_TIME])


def boot_id(proc: Path = PROC) -> str:
    return (proc / "sys/kernel/random/boot_id").read_text().strip()


def write_record(path: Path, record: dict[str, object]) -> None:
    """Replace the file whole, readable by its owner only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(record, file)
    draft.replace(path)


def source() -> str:
    """The text of this script, wherever it was loaded from."""
    return str(sys.modules[__name__].__spec__.loader.get_source(__name__))  # type: ignore[union-attr]


def _become(record: Path, name: str, out: str, err: str, command: list[str]) -> None:
    os.setsid()
    os.umask(0o077)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # what this interpreter or the caller ignores, a command would ignore too
    pid = os.getpid()
    start = state_and_start(pid)[1]
    write_record(record, {"name": name, "pid": pid, "start": start, "boot": boot_id()})
    for descriptor, path in ((1, out), (2, err)):
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, descriptor)
        os.close(log)
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


def main(arguments: list[str]) -> int:
    lock, record, name, out, err, *command = arguments
    os.set_inheritable(int(lock), False)
    # Closed by a successful exec; carries the error of a failed one.
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(read)
        try:
            _become(Path(record), name, out, err, command)
        except OSError as error:
            os.write(write, f"{command[0]}: {error.strerror}".encode())
        os._exit(127)
    os.close(write)
    with os.fdopen(read) as failure:
        said = failure.read()
    sys.stderr.write(said)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
