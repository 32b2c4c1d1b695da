"""What tests of the SSH connection look at: logins at the host, complaints, and bytes there and back."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable

import pytest

from deployment.minicluster.sshd import SshHost
from rrm.errors import SiteUnavailable


def logins(host: SshHost) -> int:
    return host.log.count("Accepted publickey")


def complaint(act: Callable[[], object]) -> str:
    with pytest.raises(SiteUnavailable) as caught:
        act()
    return caught.value.detail


class Echo:
    """A server here that sends back what it gets."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(stream,), daemon=True).start()

    def _answer(self, stream: socket.socket) -> None:
        with stream:
            while piece := stream.recv(65536):
                stream.sendall(piece)


def there_and_back(port: int, size: int) -> bool:
    """Send through a port of the host, close our half, and read until the other end closes its half."""
    sent, got = os.urandom(size), bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as stream:
        writer = threading.Thread(target=_send_all, args=(stream, sent))
        writer.start()
        while piece := stream.recv(65536):
            got += piece
        writer.join()
    return bytes(got) == sent


def _send_all(stream: socket.socket, text: bytes) -> None:
    stream.sendall(text)
    stream.shutdown(socket.SHUT_WR)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except SiteUnavailable:
            pass
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)
