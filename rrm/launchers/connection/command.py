"""One command on one channel: input in pieces, output with a cap, and a deadline of our own.

paramiko raises nothing when the connection dies under a command: reads end as if the output had, and the exit status is
-1, the same as for a process killed by a signal. So the transport is asked whether it lives. A command whose channel is
closed goes on at the far end: each is run under timeout(1).
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import paramiko

from rrm.errors import SiteUnavailable
from rrm.launchers.connection.transport import BROKEN

MARK = b"\x1e{rrm}"
# Reads its own program and the request from standard input, so that neither is seen in a list of processes. The mark
# tells the answer from what a login file may print.
FAR = (
    "import sys,json;i=sys.stdin.buffer;n,m=map(int,i.readline().split());"
    "s=i.read(n).decode();r=json.loads(i.read(m).decode());g={'__name__':'far'};exec(compile(s,'far','exec'),g);"
    "a=json.dumps(g['main'](r));sys.stdout.write('\\x1e{rrm}'+a)"
)
_PIECE = 32 * 1024  # larger ones are copied again and again by paramiko
_GRACE_SECONDS = 4.0  # for timeout(1) to end the command and for the news to arrive
_TIMED_OUT = (124, 137)
_LOOK_SECONDS = 0.5
_TRAILING_SECONDS = 1.0


@dataclass(frozen=True)
class Completed:
    """How a command ended; -1 is a status that the host did not tell."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def complaint(self) -> str:
        """The last line of standard error, for people."""
        lines = self.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1][:500] if lines else f"status {self.status}"


class Dead(SiteUnavailable):
    """The connection did not survive the command."""


def run(
    channel: paramiko.Channel, command: Sequence[str], stdin: Iterable[bytes], timeout: float, limit: int
) -> Completed:
    """Run `command` on a fresh channel; `limit` bounds its output in bytes. Raises SiteUnavailable, or Dead."""
    running = _Running(channel, timeout + _GRACE_SECONDS, limit)
    feeder = threading.Thread(target=running.feed, args=(stdin,), name="rrm-ssh-stdin", daemon=True)
    text = shlex.join(["timeout", "-k", "2", f"{timeout:.3f}", *command])
    try:
        channel.settimeout(_LOOK_SECONDS)
        channel.exec_command(text)
        feeder.start()
        running.collect()
    except BROKEN as error:
        raise Dead(f"The connection broke while a command was started: {error}.") from None
    finally:
        running.over.set()
        channel.close()
        if feeder.ident:  # what it still has to say must not reach the next channel of this number
            feeder.join()
    done = running.completed()
    if done.status in _TIMED_OUT and running.seconds() >= timeout:
        raise SiteUnavailable(f"A command at the site did not end within {timeout:g} s.")
    return done


class _Running:
    """A command that was started: what it has said so far."""

    def __init__(self, channel: paramiko.Channel, seconds: float, limit: int) -> None:
        self._channel = channel
        self._began = time.monotonic()
        self._deadline = self._began + seconds
        self._limit = limit
        self._out, self._err = bytearray(), bytearray()
        self._news = threading.Event()
        self.over = threading.Event()
        for buffer in (channel.in_buffer, channel.in_stderr_buffer):
            buffer.set_event(self._news)

    def seconds(self) -> float:
        return time.monotonic() - self._began

    def feed(self, stdin: Iterable[bytes]) -> None:
        """Send the input; a command that ends early or a connection that breaks is noticed by `collect`."""
        try:
            for piece in stdin:
                view = memoryview(piece)
                while view and not self.over.is_set():
                    try:
                        view = view[self._channel.send(bytes(view[:_PIECE])) :]
                    except TimeoutError:
                        continue
            self._channel.shutdown_write()
        except BROKEN:
            return

    def collect(self) -> None:
        """Read until the command has ended and said everything."""
        trailing = None
        while True:
            self._news.clear()
            self._drain()
            if self._channel.exit_status_ready():
                # What it left running may hold the output open.
                trailing = trailing or time.monotonic() + _TRAILING_SECONDS
                if self._channel.eof_received or time.monotonic() > trailing:
                    self._drain()
                    return
            elif self._channel.closed:
                return
            if time.monotonic() > self._deadline:
                raise Dead("The site stopped answering in the middle of a command.")
            self._news.wait(0.02 if trailing else _LOOK_SECONDS)

    def _drain(self) -> None:
        while self._channel.recv_ready():
            self._out += self._channel.recv(2**18)
            self._bound()
        while self._channel.recv_stderr_ready():
            self._err += self._channel.recv_stderr(2**18)
            self._bound()

    def _bound(self) -> None:
        if len(self._out) + len(self._err) > self._limit:
            raise SiteUnavailable(f"A command at the site said more than {self._limit} bytes.")

    def completed(self) -> Completed:
        status = self._channel.recv_exit_status() if self._channel.exit_status_ready() else -1
        if status == -1 and not (self._channel.transport and self._channel.transport.is_active()):
            raise Dead("The connection broke in the middle of a command.")
        return Completed(status, bytes(self._out), bytes(self._err))
