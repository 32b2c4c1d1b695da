"""The way back from sites that cannot reach the manager, over real SSH hosts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployment.minicluster.sshd import SshHost
from rrm.errors import SiteUnavailable
from rrm.farm import sites, tunnels
from rrm.farm.models import Site
from rrm.launchers.connection import connection_to
from tests import factories as make
from tests.hosts import running_host, target_of

pytestmark = pytest.mark.django_db
Register = Callable[[str, SshHost], Site]


@pytest.fixture
def register(settings: Any, tmp_path: Path) -> Iterator[Register]:
    """Adds a site whose nodes reach the manager through its host alone."""
    settings.RRM = replace(settings.RRM, keys_dir=tmp_path, ssh_config=None)
    made: list[Site] = []

    def registered(name: str, host: SshHost) -> Site:
        key, target = tmp_path / name, target_of(host)
        key.write_text(host.key_file.read_text())
        key.chmod(0o600)
        facts = {"host": target.host, "port": target.port, "username": target.username, "identity": name}
        facts |= {"host_key": target.host_key, "python": target.python, "directory": target.directory}
        made.append(make.site(name, kind="ssh", connection="tunnel", **facts))
        return made[-1]

    yield registered
    for site in made:
        connection_to(sites.target_of(site)).close()


def test_a_host_that_does_not_answer_holds_up_no_other(register: Register, ssh_host: SshHost) -> None:
    troubles: list[SiteUnavailable] = []

    def keep(site: Site) -> None:
        try:
            tunnels.keep(site)
        except SiteUnavailable as trouble:
            troubles.append(trouble)

    with running_host() as frozen:
        away, other = register("away", frozen), register("other", ssh_host)
        address = tunnels.keep(away)
        frozen.freeze()
        try:
            waiting = threading.Thread(target=keep, args=(away,))
            waiting.start()
            assert tunnels.keep(other).startswith("http://127.0.0.1:")
            assert waiting.is_alive()
        finally:
            frozen.thaw()
            waiting.join()
        assert troubles or tunnels.keep(away) == address
