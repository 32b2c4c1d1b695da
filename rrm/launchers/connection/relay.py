"""A port for the other machines of a cluster, at a host whose sshd keeps forwarded ports to itself.

`GatewayPorts no` is what sshd_config(5) has unless somebody changes it, and a host does not say that it listens on its
loopback alone. A program of our account then listens for all and leads to that port. It lives as long as its session.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

import paramiko

from rrm.errors import SiteUnavailable
from rrm.launchers.connection.command import FAR, MARK
from rrm.launchers.connection.transport import BROKEN

_ANSWER_SECONDS = 10.0
_LISTEN = r"""
import asyncio, json, os, socket, sys, threading

def main(asked):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("", asked["port"]))
    except OSError:
        listener.bind(("", 0))
    listener.listen(128)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    current = getattr(asyncio, "current_task", None) or asyncio.Task.current_task
    running = set()  # asyncio itself has weak references only: a stream could be collected in the middle

    async def pump(source, sink):
        piece = await source.read(65536)
        while piece:
            sink.write(piece)
            await sink.drain()
            piece = await source.read(65536)
        if sink.can_write_eof():
            sink.write_eof()

    async def carry(reader, writer):
        task, ends = current(), [writer]
        running.add(task)
        try:
            there, away = await asyncio.open_connection("127.0.0.1", asked["to"])
            ends.append(away)
            await asyncio.gather(pump(reader, away), pump(there, writer))
        except (OSError, RuntimeError):
            pass
        finally:
            running.discard(task)
            for end in ends:
                end.close()

    def live():
        sys.stdin.buffer.read()
        os._exit(0)

    loop.run_until_complete(asyncio.start_server(carry, sock=listener))
    threading.Thread(target=live, daemon=True).start()
    sys.stdout.write("\x1e{rrm}" + json.dumps({"port": listener.getsockname()[1]}) + "\n")
    sys.stdout.flush()
    loop.run_forever()
"""
REACHES = """
import socket
def main(place):
    try:
        socket.create_connection((place["host"], place["port"]), timeout=3).close()
        return True
    except OSError:
        return False
"""


@dataclass(frozen=True)
class Relay:
    """A listening program at a host, and the port that it has."""

    channel: paramiko.Channel
    port: int

    @property
    def is_alive(self) -> bool:
        return not self.channel.closed and not self.channel.exit_status_ready()

    def close(self) -> None:
        self.channel.close()


def start(channel: paramiko.Channel, python: str, port: int, to: int) -> Relay:
    """Listen on `port` if it is free, on another if not, and lead to port `to`. Raises SiteUnavailable."""
    program, asked = _LISTEN.encode(), json.dumps({"port": port, "to": to}).encode()
    try:
        channel.settimeout(_ANSWER_SECONDS)
        channel.exec_command(shlex.join([python, "-I", "-c", FAR]))
        channel.sendall(b"%d %d\n" % (len(program), len(asked)) + program + asked)
        return Relay(channel, _port(channel))
    except BROKEN as error:
        channel.close()
        raise SiteUnavailable(f"Nothing could be made to listen there for other machines: {error}.") from None


def _port(channel: paramiko.Channel) -> int:
    said = b""
    while True:
        piece = channel.recv(4096)
        if not piece:
            complaint = channel.recv_stderr(4096).decode(errors="replace").strip().splitlines()
            raise OSError(complaint[-1] if complaint else "its program ended")
        said += piece
        _, mark, answer = said.rpartition(MARK)
        if mark and answer.endswith(b"\n"):
            return int(json.loads(answer)["port"])
