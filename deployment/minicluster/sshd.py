"""One SSH host: an sshd of its own on the loopback, keys only, for one account."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployment.minicluster.daemons import CannotStart, Daemon, answers, program, until

ACCOUNT = "rrmcluster"
_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized/%u
AllowUsers {account}
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin {root}
UseDNS no
PrintMotd no
MaxSessions 10
MaxStartups 20:30:100
AllowTcpForwarding yes
GatewayPorts {gateway}
LogLevel VERBOSE
Subsystem sftp internal-sftp
{environment}
"""


@dataclass
class SshHost:
    """Everything of it lies under `folder`; `environment` is set for every session (sshd_config(5) SetEnv)."""

    folder: Path
    port: int
    account: str
    environment: Mapping[str, str]
    gateway: str = "no"

    @property
    def daemon(self) -> Daemon:
        return Daemon("sshd", self.folder / "sshd.pid")

    @property
    def key_file(self) -> Path:
        """The private key that opens the account."""
        return self.folder / "user_key"

    @property
    def host_key(self) -> str:
        """The host's public key as known_hosts files have it, "TYPE BASE64"."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    @property
    def log(self) -> str:
        return (self.folder / "sshd.log").read_text(errors="replace")

    def start(self) -> None:
        """Nothing happens when it runs. Raises CannotStart."""
        if self.daemon.is_alive:
            return
        binary = program("sshd", "openssh-server")
        self._prepare()
        config = self.folder / "sshd_config"
        said = len(self.log) if (self.folder / "sshd.log").exists() else 0
        self.daemon.start([binary, "-f", str(config), "-E", str(self.folder / "sshd.log")])
        until(lambda: self._answers or "Cannot bind any address" in self.log[said:], 30)
        if not self._answers:
            raise CannotStart(f"sshd does not answer on port {self.port}: {self.log[-500:]}")

    @property
    def _answers(self) -> bool:
        return self.daemon.is_alive and answers(self.port)

    def stop(self) -> None:
        """The listener and every session of it end."""
        sessions = self._sessions()
        self.daemon.stop()
        for pid in sessions:
            _tell(pid, signal.SIGCONT, signal.SIGKILL)

    def cut_sessions(self) -> None:
        """Break every connection, as a firewall would; the listener goes on."""
        for pid in self._sessions():
            _tell(pid, signal.SIGCONT, signal.SIGKILL)

    def freeze(self) -> None:
        """Stop answering without closing anything."""
        self._tell_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._tell_all(signal.SIGCONT)

    def renew_host_key(self) -> None:
        """Show another key from the next connection on."""
        self.stop()
        for name in ("host_key", "host_key.pub"):
            (self.folder / name).unlink()
        self.start()

    def refuse_user_key(self) -> None:
        (self.folder / "authorized" / self.account).write_text("")

    def accept_user_key(self) -> None:
        shutil.copy(self.key_file.with_suffix(".pub"), self.folder / "authorized" / self.account)

    def _tell_all(self, number: signal.Signals) -> None:
        for pid in (self.daemon.pid, *self._sessions()):
            if pid is not None:
                _tell(pid, number)

    def _prepare(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd drops its privileges
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        (self.folder / "authorized").mkdir(exist_ok=True)
        for name in ("host_key", "user_key"):
            if not (self.folder / name).exists():
                keygen = program("ssh-keygen", "openssh-client")
                command = [keygen, "-q", "-t", "ed25519", "-N", "", "-C", "minicluster", "-f", str(self.folder / name)]
                subprocess.run(command, check=True)
        self.accept_user_key()
        text = _CONFIG.format(
            port=self.port,
            folder=self.folder,
            account=self.account,
            root="prohibit-password" if self.account == "root" else "no",
            gateway=self.gateway,
            environment=f"SetEnv {' '.join(f'{name}={value}' for name, value in self.environment.items())}"
            if self.environment
            else "",
        )
        (self.folder / "sshd_config").write_text(text)

    def _sessions(self) -> list[int]:
        """The processes of this sshd's connections: its descendants called sshd."""
        listener = self.daemon.pid
        found: list[int] = []
        parents = {listener} if listener else set()
        while parents:
            children = {pid for pid, parent, name in _processes() if parent in parents and name.startswith("sshd")}
            parents = children - set(found)
            found += parents
        return found


def account() -> str:
    """Who logs in: an account of its own when we are root, else ourselves."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    # Two test sites may start at once, and who finds the list of accounts locked gives up.
    turn = os.open("/etc", os.O_RDONLY)  # nothing is made that somebody else could have put there before
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        try:
            pwd.getpwnam(ACCOUNT)
        except KeyError:
            subprocess.run([program("useradd", "passwd"), "-m", "-s", "/bin/bash", ACCOUNT], check=True)
        # A locked account ("!") is refused even to a key when PAM is not used.
        subprocess.run([program("usermod", "passwd"), "-p", "*", ACCOUNT], check=True)
    finally:
        os.close(turn)
    return ACCOUNT


def _processes() -> list[tuple[int, int, str]]:
    """(pid, parent, command name) of everything that runs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        name = text[text.index("(") + 1 : text.rindex(")")]
        found.append((int(path.parent.name), int(text[text.rindex(")") + 1 :].split()[1]), name))
    return found


def _tell(pid: int, *numbers: signal.Signals) -> None:
    """Signal a process, which may have ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        for number in numbers:
            os.kill(pid, number)
