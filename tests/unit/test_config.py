"""Settings: defaults that work, and complaints that name the variable."""

from __future__ import annotations

import re
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from rrm import spelling
from rrm.config import ConfigError, RrmConfig, database_settings


def read(tmp_path: Path, **environ: str) -> RrmConfig:
    return RrmConfig.from_environ({"RRM_DATA": str(tmp_path), **environ})


def test_nothing_set_gives_the_embedded_mode_on_loopback(tmp_path: Path) -> None:
    config = read(tmp_path)

    assert (config.embedded, config.host, config.port) == (True, "127.0.0.1", 9000)
    assert config.manager_url == "http://127.0.0.1:9000"
    assert config.database_url == f"sqlite:///{tmp_path}/rrm.sqlite3"
    assert config.lease_target == timedelta(seconds=0.4)


def test_the_secret_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    first, second = read(tmp_path), read(tmp_path)

    assert first.secret_key == second.secret_key
    assert len(first.secret_key) > 50
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RRM_MODE", "demo"),
        ("RRM_PORT", "0"),
        ("RRM_PORT", "http"),
        ("RRM_DEBUG", "perhaps"),
        ("RRM_LEASE_SECONDS", "-1"),
        ("RRM_LEASE_SECONDS", "nan"),
        ("RRM_LEASE_SECONDS", "soon"),
        ("RRM_MAX_PIXELS", "many"),
        ("RRM_EVENT_DAYS", "2000000000"),
        ("RRM_SECRET_KEY", "short"),
        *(
            ("REDIS_URL", url)
            for url in ("http://localhost:6379/0", "nonsense", "redis://", "redis://h:x/0", "redis://h/x")
        ),
        *(("RRM_MAIL_SERVER", server) for server in ("a:b:c", "mail:smtp", "mail:0", "mail:99999", "two words", ":25")),
        *(("RRM_OPERATORS", people) for people in ("nomail", "a@example.org, nomail", "a@b@c", "<a@example.org>")),
        *(("RRM_MAIL_FROM", sender) for sender in ("rrm", "RRM <rrm>")),
        *(("RRM_MANAGER_URL", url) for url in ("bogus", "ftp://h", "https://", "http://h:x", "https://h/?a=1", "//h")),
        *(("RRM_TRUSTED_ORIGINS", origin) for origin in ("example.org", "https://h/", "ftp://h", "https://a b", "*")),
    ],
)
def test_a_bad_value_names_its_variable(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        read(tmp_path, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("REDIS_URL", url)
            for url in ("redis://h", "rediss://:p%40ss@h:6380/2", "redis://[::1]:6379/0", "redis://h/0?x=1")
        ),
        *(("RRM_MAIL_SERVER", server) for server in ("mail.example.org", "mail:587", "[::1]:25", "192.0.2.1")),
        *(("RRM_OPERATORS", people) for people in ("root@localhost", "a@example.org,b@example.org c@example.org")),
        *(("RRM_MAIL_FROM", sender) for sender in ("rrm@localhost", "RRM <rrm@example.org>")),
        *(("RRM_MANAGER_URL", url) for url in ("http://10.0.0.1:9000", "https://h/rrm/", "http://[::1]:9000")),
        *(("RRM_TRUSTED_ORIGINS", origin) for origin in ("https://h https://*.example.org", "http://[::1]:8443")),
    ],
)
def test_what_is_written_well_is_taken(tmp_path: Path, name: str, value: str) -> None:
    read(tmp_path, **{name: value})


def test_a_mail_server_has_a_port_unless_told(tmp_path: Path) -> None:
    given = {"mail": ("mail", 25), "mail:587": ("mail", 587), "[::1]:26": ("::1", 26)}
    assert {server: read(tmp_path, RRM_MAIL_SERVER=server).mail_host for server in given} == given


def test_no_complaint_has_a_password_in_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="REDIS_URL") as redis:
        read(tmp_path, REDIS_URL="redis://:s3cret@host:six/0")
    with pytest.raises(ConfigError, match="DATABASE_URL") as database:
        database_settings("postgres://rrm:s3cret/x@db:5432/rrm")
    assert "s3cret" not in f"{redis.value} {database.value}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://rrm:s3cret@db:5432/rrm?password=s3cret", "postgres://rrm:…@db:5432/rrm"),
        ("postgres://rrm@db/rrm", "postgres://rrm@db/rrm"),
        ("sqlite:////srv/rrm.sqlite3", "sqlite:////srv/rrm.sqlite3"),
        ("postgres://rrm:[s3cret@db/rrm", "postgres:…"),
    ],
)
def test_the_address_of_a_database_is_shown_without_its_password(url: str, shown: str) -> None:
    assert spelling.without_password(url) == shown


PRODUCTION = {
    "RRM_MODE": "production",
    "RRM_SECRET_KEY": "x" * 40,
    "RRM_ALLOWED_HOSTS": "rrm.example.org",
    "DATABASE_URL": "sqlite:////srv/rrm.sqlite3",
    "REDIS_URL": "redis://localhost/0",
}


def test_production_does_not_guess_what_it_needs(tmp_path: Path) -> None:
    assert not read(tmp_path, **PRODUCTION).embedded
    for name in PRODUCTION.keys() - {"RRM_MODE"}:
        with pytest.raises(ConfigError, match=f"{name} must .* in production"):
            read(tmp_path, **PRODUCTION | {name: " "})


def test_the_broker_socket_fits_into_an_address_however_long_the_folder_is(tmp_path: Path) -> None:
    deep = tmp_path / ("long" * 20) / ("longer" * 10)

    near, far = read(tmp_path), read(deep)

    assert near.broker_socket == tmp_path / "broker.sock"
    assert len(str(far.broker_socket)) <= 100
    assert far.broker_socket != read(deep / "other").broker_socket


def test_postgres_urls_are_understood() -> None:
    found = database_settings("postgres://me:p%40ss@db:5433/farm?sslmode=require")

    assert (found["NAME"], found["USER"], found["PASSWORD"]) == ("farm", "me", "p@ss")
    assert (found["HOST"], found["PORT"]) == ("db", "5433")
    assert dict(found["OPTIONS"])["sslmode"] == "require"  # type: ignore[call-overload]
    assert database_settings("postgres://postgres@/postgres?host=/run/pg")["HOST"] == "/run/pg"


@pytest.mark.parametrize(
    ("environ", "anonymous", "configurable"),
    [
        ({}, True, True),
        ({"RRM_HOST": "localhost"}, True, True),
        ({"RRM_HOST": "::1"}, True, True),
        ({"RRM_HOST": "0.0.0.0"}, False, False),  # noqa: S104
        ({"RRM_HOST": "192.168.1.5"}, False, False),
        ({"RRM_HOST": "192.168.1.5", "RRM_V1_ANONYMOUS": "1"}, True, False),
        ({"RRM_V1_ANONYMOUS": "0"}, False, False),
        ({"RRM_ALLOWED_HOSTS": "*"}, False, False),
        ({"RRM_ALLOWED_HOSTS": "*", "RRM_V1_ANONYMOUS": "1"}, True, False),
        (PRODUCTION, False, False),
        ({**PRODUCTION, "RRM_V1_ANONYMOUS": "1"}, True, False),
    ],
)
def test_version_1_asks_for_no_token_on_loopback_alone(
    tmp_path: Path, environ: dict[str, str], anonymous: bool, configurable: bool
) -> None:
    config = read(tmp_path, **environ)
    assert (config.v1_anonymous, config.v1_configurable) == (anonymous, configurable)


@pytest.mark.parametrize("origin", ["*", "https://*", "viewer.example", "https://viewer.example/", "null"])
def test_origins_of_version_1_are_exact(tmp_path: Path, origin: str) -> None:
    with pytest.raises(ConfigError, match="RRM_V1_ORIGINS"):
        RrmConfig.from_environ({"RRM_DATA": str(tmp_path), "RRM_V1_ORIGINS": origin})


def test_another_database_is_refused() -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL"):
        database_settings("mysql://x/y")


def test_every_setting_is_documented() -> None:
    source = Path("rrm/config.py").read_text()
    page = Path("docs/reference/settings.md").read_text()
    names = set(re.findall(r'"(RRM_\w+)"', source))

    assert len(names) > 20
    assert [name for name in sorted(names | {"DATABASE_URL", "REDIS_URL"}) if name not in page] == []
