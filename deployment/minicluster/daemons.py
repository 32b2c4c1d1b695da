"""Processes that put themselves into the background: started, known again by their pid file, and seen to their end."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SBIN = "/usr/sbin:/usr/local/sbin:/sbin"
_STOP_SECONDS = 15.0
_FIRST_PORT = 11_000  # browsers refuse some of those before it
_ENDED = {"Z", "X", "x"}


class CannotStart(RuntimeError):
    """Why it cannot begin, and what to do about it."""


def program(name: str, package: str) -> str:
    """The path of a program, the system folders included. Raises CannotStart naming Debian's package."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SBIN}")
    if found is None:
        raise CannotStart(f"{name} is not installed; as root: apt-get install --no-install-recommends {package}")
    return found


@dataclass(frozen=True)
class Daemon:
    """One background process; its pid file is written by itself."""

    name: str
    pid_file: Path

    @property
    def pid(self) -> int | None:
        """The living process, if it is this daemon's: a pid is used again some day, a command name tells."""
        try:
            pid = int(self.pid_file.read_text())
            text = Path(f"/proc/{pid}/stat").read_text()
        except (OSError, ValueError):
            return None
        command, state = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2]
        return pid if state not in _ENDED and command == self.name[:15] else None

    @property
    def is_alive(self) -> bool:
        return self.pid is not None

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Run the command, which detaches itself. Raises CannotStart with what it said."""
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            raise CannotStart(f"{self.name} does not start: {done.stdout.strip()[-800:]}")

    def signal(self, number: signal.Signals) -> None:
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """End it in order, or by force after a while; it has ended when this returns."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if not until(lambda: not self.is_alive, seconds):
            self.kill()
        self.pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        until(lambda: not self.is_alive, 5)


def until(condition: Callable[[], object], seconds: float) -> bool:
    """Whether the condition came true in time; it is looked at once at least."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on now, and that no connection of somebody's begins at by chance."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            listener = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", _candidate()))
                ports.append(listener.getsockname()[1])
    return ports


def _candidate() -> int:
    """A port below those that the kernel gives to connections; 0, which is one of these, where there are none below."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    return _FIRST_PORT + secrets.randbelow(first - _FIRST_PORT) if first > 2 * _FIRST_PORT else 0


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
