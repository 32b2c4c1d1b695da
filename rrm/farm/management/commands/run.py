"""`manage.py run`: the whole service on this machine, in the foreground."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from rrm.config import RrmConfig
from rrm.supervisor import first_start
from rrm.supervisor.embedded import BrokerMissing
from rrm.supervisor.program import CannotStart, Program, listen, locked

_REFUSED = 2


class Command(BaseCommand):
    """Starts web, worker, broker and, through them, renderer nodes; ends them all on Ctrl-C."""

    help = "Run the whole service on this machine in the foreground: web, worker, broker and local renderer nodes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-demo", action="store_true", help="do not submit the example job at the first start")

    def handle(self, *args: Any, **options: Any) -> None:
        config: RrmConfig = settings.RRM
        if not config.embedded:
            raise CommandError("`run` is the embedded mode; RRM_MODE=production uses deployment/", returncode=_REFUSED)
        began = time.monotonic()
        try:
            self._run(config, began, demo=not options["no_demo"])
        except (CannotStart, BrokerMissing) as error:
            raise CommandError(str(error), returncode=_REFUSED) from None
        except KeyboardInterrupt:
            raise CommandError("interrupted before the start was complete", returncode=130) from None

    def _run(self, config: RrmConfig, began: float, *, demo: bool) -> None:
        config.data_dir.chmod(0o700)
        (config.data_dir / "logs").mkdir(mode=0o700, exist_ok=True)
        with locked(config), listen(config.host, config.port) as listener:
            self._say(f"starting on {config.data_dir}")
            first_start.prepare(config.data_dir)
            _disconnect()

            def announce() -> None:
                self._announce(config, time.monotonic() - began)
                if demo:
                    self._demo(config)
                _disconnect()

            Program(config, listener, self._say, announce).serve()

    def _announce(self, config: RrmConfig, seconds: float) -> None:
        password = config.data_dir / "operator.password"
        shown = f" (password {password.read_text().strip()})" if sys.stdout.isatty() else ""
        self._say(f"ready after {seconds:.1f} s")
        self._lines(
            ("Dashboard", f"http://{config.host}:{config.port}/"),
            ("Login", f"{first_start.OPERATOR}, first password in {password}{shown}"),
            ("API token", str(config.data_dir / "operator.token")),
            ("Logs", str(config.data_dir / "logs")),
            ("Stop", "Ctrl-C"),
        )

    def _demo(self, config: RrmConfig) -> None:
        """Submit the example job once in the life of a data folder; a failure is reported and changes nothing else."""
        done = config.data_dir / "demo.submitted"
        if done.exists():
            return
        from rrm.farm.demo import submit_demo  # only the very first start needs it

        try:
            job = submit_demo()
        except Exception as error:  # the example must never keep the service from running
            self._say(f"the example job could not be submitted: {error}")
            return
        Path(done).touch()
        self._lines(("Example job", f"http://{config.host}:{config.port}/job/{job.pk}"))

    def _say(self, text: str) -> None:
        self.stdout.write(f"rrm: {text}")
        self.stdout.flush()

    def _lines(self, *rows: tuple[str, str]) -> None:
        for name, value in rows:
            self.stdout.write(f"  {name:<12} {value}")
        self.stdout.flush()


def _disconnect() -> None:
    """Let go of the database: its connections and pool threads must not be shared with child processes."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        close_pool = getattr(connection, "close_pool", None)
        if close_pool is not None:
            close_pool()
