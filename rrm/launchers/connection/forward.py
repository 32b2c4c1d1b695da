"""Streams through a site's connection, two threads each: from a port there to the manager, and to a port there."""

from __future__ import annotations

import contextlib
import select
import socket
import threading

import paramiko

from rrm.launchers.connection.transport import BROKEN, SafeTransport

_PIECE = 2**17
_CONNECT_SECONDS = 5.0
_BLOCKED_SECONDS = 5.0

Address = tuple[str, int]


class Forward:
    """A port at the site; what connects to it is connected to `to`. `port` 0: the host chooses; it changes with that.

    `connection` opens it again on each new transport, on the same port if that is still free.
    """

    def __init__(self, address: str, port: int, to: Address) -> None:
        self.address = address
        self.port = port
        self.to = to
        self.closed = False

    def open_on(self, transport: SafeTransport) -> None:
        """Raises paramiko.SSHException when the host allows no forwarding at all."""
        try:
            self.port = transport.request_port_forward(self.address, self.port, self._accept)
        except paramiko.SSHException:
            if not self.port:
                raise
            self.port = transport.request_port_forward(self.address, 0, self._accept)

    def cancel_on(self, transport: SafeTransport) -> None:
        self.closed = True
        with contextlib.suppress(*BROKEN):
            transport.cancel_port_forward(self.address, self.port)

    def _accept(self, channel: paramiko.Channel, _origin: Address, _server: Address) -> None:
        """Called on the transport's own thread, which must not wait."""
        threading.Thread(target=self._carry, args=(channel,), name="rrm-ssh-stream", daemon=True).start()

    def _carry(self, channel: paramiko.Channel) -> None:
        try:
            near = socket.create_connection(self.to, timeout=_CONNECT_SECONDS)
        except OSError:
            _close(channel)
            return
        near.settimeout(None)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=_pump, args=(near, channel), name="rrm-ssh-stream", daemon=True)
        back.start()
        _pump(channel, near)
        back.join()
        near.close()
        _close(channel)


def _close(channel: paramiko.Channel) -> None:
    """The site need not be told when the connection to it has just broken."""
    with contextlib.suppress(OSError, EOFError):
        channel.close()


def _pump(source: socket.socket | paramiko.Channel, sink: socket.socket | paramiko.Channel) -> None:
    """Carry bytes until the source ends, then tell the sink so; when the sink is gone, the source is told."""
    try:
        while piece := source.recv(_PIECE):
            sink.sendall(piece)
    except (OSError, EOFError):
        with contextlib.suppress(OSError, EOFError):
            source.shutdown(2)
    finally:
        with contextlib.suppress(OSError, EOFError):
            sink.shutdown(1)


def carried(channel: paramiko.Channel) -> socket.socket:
    """The near end of the channel as a socket. When it is closed the channel is too, if blocked within five seconds."""
    ours, theirs = socket.socketpair()
    channel.settimeout(_BLOCKED_SECONDS)
    there = threading.Thread(target=_send_all, args=(theirs, channel), name="rrm-ssh-stream", daemon=True)
    there.start()
    threading.Thread(target=_receive_all, args=(channel, theirs, there), name="rrm-ssh-stream", daemon=True).start()
    return ours


def _send_all(near: socket.socket, channel: paramiko.Channel) -> None:
    try:
        while piece := near.recv(_PIECE):
            while piece:
                try:
                    piece = piece[channel.send(piece) :]
                except TimeoutError:
                    if _is_abandoned(near):
                        return
    except (OSError, EOFError):
        pass
    finally:
        _close(channel)


def _receive_all(channel: paramiko.Channel, near: socket.socket, there: threading.Thread) -> None:
    try:
        while True:
            with contextlib.suppress(TimeoutError):
                if not (piece := channel.recv(_PIECE)):
                    break
                near.sendall(piece)
    except (OSError, EOFError):
        _close(channel)
    with contextlib.suppress(OSError):
        near.shutdown(socket.SHUT_WR)
    there.join()
    near.close()


def _is_abandoned(near: socket.socket) -> bool:
    """Whether the other end of the pair was closed, though there may be something of it left to read."""
    watch = select.poll()
    watch.register(near, 0)
    return bool(watch.poll(0))
