"""What a command makes of a connection that breaks under it."""

from __future__ import annotations

from typing import Any

import paramiko
import pytest

from rrm.launchers.connection.command import Dead, run


class Breaking:
    """A channel whose transport broke between its opening and its first command."""

    def __init__(self, error: Exception) -> None:
        self.in_buffer = self.in_stderr_buffer = self
        self.error = error
        self.closed = False

    def set_event(self, _event: Any) -> None:
        pass

    def settimeout(self, _seconds: float) -> None:
        pass

    def exec_command(self, _text: str) -> None:
        raise self.error

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("error", [EOFError(), OSError("Socket is closed"), paramiko.SSHException("Channel closed.")])
def test_a_connection_that_breaks_before_the_command_is_told_as_dead_however_it_was_noticed(error: Exception) -> None:
    channel = Breaking(error)
    with pytest.raises(Dead, match="broke while a command was started"):
        run(channel, ["true"], (), 1.0, 100)  # type: ignore[arg-type]
    assert channel.closed
