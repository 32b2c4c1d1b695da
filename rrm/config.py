"""Every setting of the manager, read once from the environment and checked at start."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from rrm import spelling

_SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes on Linux, 104 elsewhere (unix(7))
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+")
_SPELLED: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "REDIS_URL": (spelling.is_broker, "an address like redis://host:6379/0 or rediss://:password@host:6379/0"),
    "RRM_MANAGER_URL": (spelling.is_service, "an address like https://rrm.example.org"),
    "RRM_TRUSTED_ORIGINS": (spelling.is_origin, "origins like https://rrm.example.org, without a path"),
    "RRM_OPERATORS": (spelling.is_mailbox, "mail addresses like operator@example.org"),
    "RRM_MAIL_SERVER": (spelling.is_mail_server, "a host, perhaps with a port, like mail.example.org:25"),
    "RRM_MAIL_FROM": (spelling.is_sender, "a mail address like rrm@example.org"),
}
_SEVERAL = {"RRM_TRUSTED_ORIGINS", "RRM_OPERATORS"}
_SECRET = {"REDIS_URL"}  # there may be a password in it
_NEEDED_IN_PRODUCTION = {
    "RRM_ALLOWED_HOSTS": "the public host in production",
    "DATABASE_URL": "the database in production, as in postgres://user:password@host:5432/rrm",
    "REDIS_URL": "the Redis or Valkey server in production, as in redis://host:6379/0",
}


class ConfigError(ValueError):
    """A setting that cannot be used; the message names the environment variable."""


@dataclass(frozen=True)
class RrmConfig:
    """What an operator may set. `docs/reference/settings.md` explains each one to people."""

    mode: str
    debug: bool
    data_dir: Path
    host: str
    port: int
    secret_key: str
    allowed_hosts: tuple[str, ...]
    trusted_origins: tuple[str, ...]
    database_url: str
    redis_url: str
    manager_url: str
    heartbeat: timedelta
    lease_wait: timedelta
    lease_target: timedelta
    lease_minimum: timedelta
    lease_longest: timedelta
    node_give_up: timedelta
    node_start_timeout: timedelta
    block_period: timedelta
    quarantine_period: timedelta
    compose_standstill: timedelta
    autoscale_period: timedelta
    reconcile_period: timedelta
    drain_target: timedelta
    max_pixels: int
    max_tiles: int
    max_open_jobs: int
    max_sessions: int
    session_idle: timedelta
    session_longest: timedelta
    max_body_bytes: int
    model_cache_bytes: int
    event_retention: timedelta
    keys_dir: Path
    ssh_config: Path | None
    operators: tuple[str, ...]
    mail_server: str
    mail_from: str
    v1_anonymous: bool
    v1_legacy: str
    v1_origins: tuple[str, ...]

    @property
    def v1_configurable(self) -> bool:
        """Whether those without a token may register programs, if they are who runs the manager."""
        return self.v1_anonymous and _is_here_alone(self.mode, self.host, self.allowed_hosts)

    @property
    def embedded(self) -> bool:
        return self.mode == "embedded"

    @property
    def broker_socket(self) -> Path:
        """Where the private broker of the embedded mode listens; short enough for a socket address."""
        path = self.data_dir / "broker.sock"
        if len(bytes(path)) <= _SOCKET_PATH_LIMIT:
            return path
        digest = hashlib.sha256(bytes(self.data_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"rrm-{os.getuid()}-{digest}.sock"

    @property
    def broker_url(self) -> str:
        return self.redis_url or f"redis+socket://{self.broker_socket}?virtual_host=0"

    @property
    def pubsub_url(self) -> str:
        return self.redis_url or f"unix://{self.broker_socket}?db=0"

    @property
    def mail_host(self) -> tuple[str, int]:
        """The mail server's name and port."""
        return spelling.mail_server(self.mail_server)

    @property
    def installation(self) -> str:
        """What tells this manager's things at a shared site from another's; follows from the secret key."""
        return hmac.new(self.secret_key.encode(), b"installation", "sha256").hexdigest()[:10]

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> RrmConfig:
        """Read and check every variable. Raises ConfigError with the variable's name."""
        read = _Reader(environ)
        read.check_spelling()
        service = _service(read)
        embedded = service["mode"] == "embedded"
        config = cls(**service, **_durations(read, embedded=embedded), **_limits(read), **_v1(read, service))
        for name, said in ({} if embedded else _NEEDED_IN_PRODUCTION).items():
            if not read.words(name, ""):
                raise ConfigError(f"{name} must name {said}")
        return config


def _service(read: _Reader) -> dict[str, Any]:
    """Where the service is, what it keeps its things in, and whom it talks to."""
    mode = read.choice("RRM_MODE", "embedded", ("embedded", "production"))
    data_dir = Path(read.text("RRM_DATA", "var")).expanduser().resolve()
    host, port = read.text("RRM_HOST", "127.0.0.1"), read.integer("RRM_PORT", 9000, 1, 65535)
    return {
        "mode": mode,
        "debug": read.flag("RRM_DEBUG"),
        "data_dir": data_dir,
        "host": host,
        "port": port,
        "secret_key": _secret_key(read.text("RRM_SECRET_KEY", ""), data_dir, mode),
        "allowed_hosts": read.words("RRM_ALLOWED_HOSTS", "localhost 127.0.0.1 [::1]" if mode == "embedded" else ""),
        "trusted_origins": read.words("RRM_TRUSTED_ORIGINS", ""),
        "database_url": read.text("DATABASE_URL", f"sqlite:///{data_dir / 'rrm.sqlite3'}"),
        "redis_url": read.text("REDIS_URL", ""),
        "manager_url": read.text("RRM_MANAGER_URL", f"http://{host}:{port}").rstrip("/"),
        "keys_dir": Path(read.text("RRM_KEYS", str(data_dir / "keys"))).expanduser().resolve(),
        "ssh_config": _file_if_there(read.text("RRM_SSH_CONFIG", "~/.ssh/config")),
        "operators": read.words("RRM_OPERATORS", ""),
        "mail_server": read.text("RRM_MAIL_SERVER", "localhost:25"),
        "mail_from": read.text("RRM_MAIL_FROM", "rrm@localhost"),
    }


def _durations(read: _Reader, *, embedded: bool) -> dict[str, Any]:
    """How often things are looked after, and how long they may take or last."""
    return {
        "heartbeat": read.seconds("RRM_HEARTBEAT_SECONDS", 3),
        "lease_wait": read.seconds("RRM_LEASE_WAIT_SECONDS", 20),
        "lease_target": read.seconds("RRM_LEASE_SECONDS", 0.4),
        "lease_minimum": read.seconds("RRM_LEASE_DEADLINE_SECONDS", 15),
        "lease_longest": read.seconds("RRM_LEASE_LONGEST_SECONDS", 900),
        "node_give_up": read.seconds("RRM_NODE_GIVE_UP_SECONDS", 90),
        "node_start_timeout": read.seconds("RRM_NODE_START_SECONDS", 120),
        "block_period": read.seconds("RRM_BLOCK_SECONDS", 5 * 3600),
        "quarantine_period": read.seconds("RRM_QUARANTINE_SECONDS", 900),
        "compose_standstill": read.seconds("RRM_COMPOSE_STANDSTILL_SECONDS", 300),
        "autoscale_period": read.seconds("RRM_AUTOSCALE_SECONDS", 15),
        "reconcile_period": read.seconds("RRM_RECONCILE_SECONDS", 5 if embedded else 10),
        "drain_target": read.seconds("RRM_DRAIN_TARGET_SECONDS", 300),
        "session_idle": read.seconds("RRM_SESSION_IDLE_SECONDS", 300),
        "session_longest": read.seconds("RRM_SESSION_LONGEST_SECONDS", 8 * 3600),
        "event_retention": timedelta(days=read.integer("RRM_EVENT_DAYS", 30, 1, 36500)),
    }


def _limits(read: _Reader) -> dict[str, Any]:
    """How much people may ask for, and how much may be kept."""
    return {
        "max_pixels": read.integer("RRM_MAX_PIXELS", 2**30, 1),
        "max_tiles": read.integer("RRM_MAX_TILES", 65536, 1),
        "max_open_jobs": read.integer("RRM_MAX_OPEN_JOBS", 1000, 1),
        "max_sessions": read.integer("RRM_MAX_SESSIONS", 4, 1),
        "max_body_bytes": read.integer("RRM_MAX_UPLOAD_BYTES", 256 * 2**20, 2**20),
        "model_cache_bytes": read.integer("RRM_MODEL_CACHE_BYTES", 2 * 2**30, 0),
    }


def _v1(read: _Reader, service: Mapping[str, Any]) -> dict[str, Any]:
    """What the clients of the first RRM may do."""
    origins = read.words("RRM_V1_ORIGINS", "")
    if bad := next((origin for origin in origins if not _ORIGIN.fullmatch(origin)), None):
        raise ConfigError(f"RRM_V1_ORIGINS must name origins like https://viewer.example.org, not {bad!r}")
    is_alone = _is_here_alone(service["mode"], service["host"], service["allowed_hosts"])
    return {
        "v1_anonymous": read.flag("RRM_V1_ANONYMOUS", is_on=is_alone),
        "v1_legacy": read.choice("RRM_V1_LEGACY", "0", ("0", "cookie", "1")),
        "v1_origins": origins,
    }


def _is_here_alone(mode: str, host: str, allowed_hosts: Sequence[str]) -> bool:
    """Whether only people at this machine can reach the service.

    Any name for this machine would let any web page in: its own name could be one.
    """
    return mode == "embedded" and _is_loopback(host) and "*" not in allowed_hosts


class _Reader:
    """Typed reads from an environment; every complaint names the variable."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str) -> str:
        return self._environ.get(name, "").strip() or default

    def words(self, name: str, default: str) -> tuple[str, ...]:
        return tuple(self.text(name, default).replace(",", " ").split())

    def check_spelling(self) -> None:
        """See that what is an address, of a kind, is written as one."""
        for name, (is_one, what) in _SPELLED.items():
            values = self.words(name, "") if name in _SEVERAL else [self.text(name, "")]
            for value in values:
                if value and not is_one(value):
                    found = "what it is" if name in _SECRET else repr(value)
                    raise ConfigError(f"{name} must be {what}, not {found}")

    def flag(self, name: str, *, is_on: bool = False) -> bool:
        return self.choice(name, "1" if is_on else "0", ("0", "1", "false", "true")) in {"1", "true"}

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name, default).lower()
        if value not in allowed:
            raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        return value

    def integer(self, name: str, default: int, minimum: int, maximum: int = 2**62) -> int:
        raw = self.text(name, str(default))
        try:
            value = int(raw)
        except ValueError:
            raise ConfigError(f"{name} must be a whole number, not {raw!r}") from None
        if not minimum <= value <= maximum:
            raise ConfigError(f"{name} must lie between {minimum} and {maximum}, not {value}")
        return value

    def seconds(self, name: str, default: float) -> timedelta:
        raw = self.text(name, str(default))
        try:
            value = float(raw)
        except ValueError:
            raise ConfigError(f"{name} must be a number of seconds, not {raw!r}") from None
        if not 0 < value < 1e7:
            raise ConfigError(f"{name} must be a positive number of seconds, not {raw}")
        return timedelta(seconds=value)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _file_if_there(name: str) -> Path | None:
    path = Path(name).expanduser()
    return path.resolve() if path.is_file() else None


def _secret_key(given: str, data_dir: Path, mode: str) -> str:
    if given:
        if len(given) < 32:
            raise ConfigError("RRM_SECRET_KEY must have at least 32 characters")
        return given
    if mode == "production":
        raise ConfigError("RRM_SECRET_KEY must be set in production")
    return _kept_secret(data_dir / "secret.key")


def _kept_secret(path: Path) -> str:
    """The secret in `path`, made on first use; two processes starting together agree on one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)
        finally:
            draft.unlink()
    return path.read_text().strip()


def database_settings(url: str) -> dict[str, object]:
    """Django's DATABASES entry for sqlite:///path or postgres://user:password@host:port/name?option=value."""
    try:
        parts = urlsplit(url)
        port = str(parts.port or "")
    except ValueError:  # the message would quote a part of it, which may be one of the password
        raise ConfigError(
            "DATABASE_URL cannot be taken apart: write it as postgres://user:password@host:5432/rrm, and /, ?, # and @ "
            "within the password as %2F, %3F, %23 and %40"
        ) from None
    if parts.scheme == "sqlite":
        return _sqlite(unquote(parts.path.removeprefix("/")))
    if parts.scheme in {"postgres", "postgresql"}:
        options = dict(parse_qsl(parts.query))
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.removeprefix("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": options.pop("host", parts.hostname or ""),
            "PORT": str(options.pop("port", "") or port),
            # A request may run on any thread of the ASGI server; only a pool re-uses connections across threads.
            "OPTIONS": {"pool": {"min_size": 1, "max_size": 16, "timeout": 20}, **options},
        }
    raise ConfigError(f"DATABASE_URL must begin with sqlite:// or postgres://, not {parts.scheme!r}")


def _sqlite(path: str) -> dict[str, object]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": None,  # opening the file again for each request costs more than most requests
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",  # a reader that turns writer inside a transaction cannot be made to wait
            "timeout": 30,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=30000;",
        },
    }
