"""`manage.py run`: the whole service on this machine, in the foreground."""

from __future__ import annotations

import logging
import os
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from rrm.config import RrmConfig
from rrm.errors import RrmError
from rrm.farm.demo import OPERATOR, PASSWORD_FILE, TOKEN_FILE, ensure_operator, submit_demo
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
        os.umask(0o077)  # for every process of the run: its files are nobody else's business
        with locked(config), listen(config.host, config.port) as listener:
            self._say(f"starting on {config.data_dir}")
            _prepare(config)
            _disconnect()

            def announce() -> None:
                self._announce(config, time.monotonic() - began)
                if demo:
                    self._demo(config)
                _disconnect()

            Program(config, listener, self._say, announce).serve()

    def _announce(self, config: RrmConfig, seconds: float) -> None:
        password = config.data_dir / PASSWORD_FILE
        shown = f" (password {password.read_text().strip()})" if sys.stdout.isatty() else ""
        self._say(f"ready after {seconds:.1f} s")
        self._lines(
            ("Dashboard", f"http://{config.host}:{config.port}/"),
            ("Login", f"{OPERATOR}, password in {password}{shown}"),
            ("API token", str(config.data_dir / TOKEN_FILE)),
            ("Logs", str(config.data_dir / "logs")),
            ("Stop", "Ctrl-C"),
        )

    def _demo(self, config: RrmConfig) -> None:
        """Submit the example job, at the first start only; a failure is reported and changes nothing else."""
        try:
            job = submit_demo()
        except RrmError as error:
            self._say(f"the example job could not be submitted: {error}")
            return
        if job is not None:
            self._lines(("Example job", f"http://{config.host}:{config.port}/job/{job.pk}"))

    def _say(self, text: str) -> None:
        self.stdout.write(f"rrm: {text}")
        self.stdout.flush()

    def _lines(self, *rows: tuple[str, str]) -> None:
        for name, value in rows:
            self.stdout.write(f"  {name:<12} {value}")
        self.stdout.flush()


def _prepare(config: RrmConfig) -> None:
    """Bring the database up to date, and register what a new data folder begins with. Safe to repeat."""
    settings.STATIC_ROOT.mkdir(exist_ok=True)
    # There is no broker yet, and nobody who could be waiting to be told.
    logging.getLogger("rrm.farm.wakeups").setLevel(logging.ERROR)
    call_command("migrate", interactive=False, verbosity=0)
    ensure_operator(config.data_dir)
    # What an operator has changed since the first start stays as it is.
    call_command("populate", create_only=True, verbosity=0)


def _disconnect() -> None:
    """Let go of the database: its connections and pool threads must not be shared with child processes."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        close_pool = getattr(connection, "close_pool", None)
        if close_pool is not None:
            close_pool()
