"""`manage.py render`: have a running manager render a picture, watch it, and save the results."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from rrm.client import Client, Progress, Refused, Unreachable
from rrm.domain.coloring import METHODS
from rrm.typed import number

REFUSED, UNREACHABLE, NOT_COMPLETED, INTERRUPTED = 1, 3, 4, 130

# The row system looked colours up in a table of 6000: index = (iterations - value), so t = (800 - value) / 6000.
_TABLE, _ROWS_ITERATIONS, _CYCLE = 6000, 800, 256
_PRESETS: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "valley": ((4096, 4096), {}),
    "burst": ((2048, 2048), {"palette": "electric"}),
    "rows": (
        (8192, 6144),
        {"palette": "Hippi", "offset": _ROWS_ITERATIONS / _TABLE, "scale": -_CYCLE / _TABLE},
    ),
}
_OTHERWISE: tuple[tuple[int, int], dict[str, Any]] = ((1024, 1024), {})
_COLORING = ("palette", "method", "offset", "scale", "interior")
_BAR_WIDTH = 30


class Command(BaseCommand):
    help = (
        "Render a picture through the API of a running manager and save the results. Ctrl-C cancels the job."
        " Exit status: 0 saved, 1 refused, 3 the manager does not answer, 4 the job was not completed, 130 interrupted."
    )
    requires_system_checks: list[str] = []  # only HTTP is needed, no database and no pages

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", nargs="?", help="name or id of a render model: valley, burst, rows, …")
        parser.add_argument(
            "--params", type=_json, metavar="JSON", help="parameters instead of a model; @FILE reads them"
        )
        parser.add_argument("--size", type=_size, metavar="WxH", help="in pixels (valley 4096x4096, rows 8192x6144, …)")
        parser.add_argument("--tile", type=int, help="side of a tile in pixels (default 256; 512 for large images)")
        parser.add_argument("--palette")
        parser.add_argument("--method", choices=METHODS)
        parser.add_argument("--offset", type=number)
        parser.add_argument("--scale", type=number)
        parser.add_argument("--interior", metavar="#RRGGBB", help="colour of the inside")
        parser.add_argument(
            "--supersample", type=int, default=1, metavar="N", help="N x N samples for each pixel, up to 4"
        )
        parser.add_argument("--adaptive", action="store_true", help="several samples only where neighbours differ")
        parser.add_argument("--resource", help="needed only when there are several")
        parser.add_argument("--priority", choices=("low", "normal", "high", "urgent"), default="normal")
        parser.add_argument("--sites", metavar="ID,ID", help="sites to use")
        parser.add_argument("--policy", choices=("only", "split"), default="only", help="what --sites means")
        parser.add_argument("--requires", metavar="TAG,TAG", help="what sites must be able to do, as in gpu")
        parser.add_argument("--name", default="", help="name of the job")
        parser.add_argument("-o", "--output", type=Path, metavar="FILE.png", help="where to save the picture")
        parser.add_argument("--counts", type=Path, metavar="FILE.npy", help="where to save the iteration counts")
        parser.add_argument("--smooth", type=Path, metavar="FILE.npy", help="where to save the smooth values")
        parser.add_argument("--outputs", metavar="A,B", help="results to make besides those that are saved")
        parser.add_argument("--url", help="address of the manager (default: this machine's)")
        parser.add_argument("--token-file", type=Path, help="file with the token (default: the operator's)")

    def handle(self, *args: Any, **options: Any) -> None:
        targets = _targets(options)
        order = _order(options, targets)
        try:
            with _client(options) as client:
                job = client.submit(order)
                self._say(f"Job {job['id']} is submitted.", options)
                self._watch(client, job["id"], options)
                self._save(client, job["id"], targets, options)
        except Refused as error:
            lines = [f"The manager refused: {error}"]
            lines += [f"  {field}: {' '.join(said)}" for field, said in error.errors.items()]
            raise CommandError("\n".join(lines), returncode=REFUSED) from None
        except Unreachable as error:
            raise CommandError(str(error), returncode=UNREACHABLE) from None

    def _watch(self, client: Client, job: str, options: dict[str, Any]) -> None:
        """Show the progress until the job has ended. Raises CommandError unless it is COMPLETED."""
        meter = _Meter(self, options["verbosity"])
        progress = Progress()
        try:
            for progress in client.follow(job):
                meter.show(progress)
        except KeyboardInterrupt:
            meter.close()
            raise CommandError(_cancelled(client, job), returncode=INTERRUPTED) from None
        meter.close()
        if progress.state != "COMPLETED":
            reason = f": {progress.reason}" if progress.reason else "."
            raise CommandError(f"Job {job} is {progress.state}{reason}", returncode=NOT_COMPLETED)

    def _save(self, client: Client, job: str, targets: dict[str, Path], options: dict[str, Any]) -> None:
        for output, target in targets.items():
            try:
                size = client.save(job, output, target)
            except OSError as error:
                raise CommandError(f"Cannot write {target}: {error.strerror}.", returncode=REFUSED) from None
            except KeyboardInterrupt:
                message = f"Interrupted; {target} was not written. Job {job} is complete, its results stay."
                raise CommandError(message, returncode=INTERRUPTED) from None
            self._say(f"Saved {target} ({size / 1e6:.1f} MB).", options)

    def _say(self, text: str, options: dict[str, Any]) -> None:
        if options["verbosity"] > 0:
            self.stdout.write(text)


class _Meter:
    """A bar that is redrawn on a terminal; elsewhere a line for each change of state and each tenth."""

    def __init__(self, command: BaseCommand, verbosity: int) -> None:
        self._out = command.stdout
        self._is_quiet = verbosity < 1
        self._redraws = self._out.isatty()
        self._told: object = None

    def show(self, progress: Progress) -> None:
        if self._is_quiet:
            return
        if self._redraws:
            self._out.write(f"\r\x1b[K{_bar(progress)}", ending="")
            self._out.flush()
            return
        tenth = 10 * progress.done // max(progress.tiles, 1)
        if self._told != (progress.state, tenth):
            self._told = (progress.state, tenth)
            self._out.write(_line(progress))

    def close(self) -> None:
        if self._redraws and not self._is_quiet:
            self._out.write("")


def _bar(progress: Progress) -> str:
    filled = _BAR_WIDTH * progress.done // max(progress.tiles, 1)
    return f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {_line(progress)}"


def _line(progress: Progress) -> str:
    percent = 100 * progress.done / max(progress.tiles, 1)
    parts = [f"{progress.state.lower()} {percent:.0f} %", f"{progress.done}/{progress.tiles} tiles"]
    if progress.rate:
        parts.append(f"{progress.rate:.1f}/s")
    if progress.eta is not None and not progress.is_final:
        parts.append(f"{progress.eta:.0f} s left")
    if progress.reason and not progress.is_final and not progress.done:
        parts.append(progress.reason)
    return ", ".join(parts)


def _cancelled(client: Client, job: str) -> str:
    """Cancel the job and say what came of it."""
    try:
        client.cancel(job)
    except (Refused, Unreachable) as error:
        return f"Interrupted. Job {job} could not be cancelled: {error}"
    return f"Interrupted. Job {job} is cancelled."


def _client(options: dict[str, Any]) -> Client:
    here = f"http://{settings.RRM.host}:{settings.RRM.port}"
    url, file = options["url"] or here, options["token_file"]
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise CommandError("--url must be an address like https://render.example.org.", returncode=REFUSED)
    if file is None and url.rstrip("/") != here:
        # The operator's token of this manager is no other host's business.
        raise CommandError("--url needs --token-file.", returncode=REFUSED)
    file = file or settings.RRM.data_dir / "operator.token"
    try:
        token = file.read_text().strip()
    except OSError as error:
        raise CommandError(f"Cannot read the token in {file}: {error.strerror}.", returncode=REFUSED) from None
    return Client(url, token)


def _targets(options: dict[str, Any]) -> dict[str, Path]:
    """Which result goes to which file; complains before anything is rendered for nothing."""
    named = {"png": options["output"], "counts": options["counts"], "smooth": options["smooth"]}
    targets = {output: path for output, path in named.items() if path is not None}
    if not targets:
        raise CommandError(
            "Say where to save: -o FILE.png, --counts FILE.npy or --smooth FILE.npy.", returncode=REFUSED
        )
    for path in targets.values():
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise CommandError(f"Cannot write {path}: there is no such folder.", returncode=REFUSED)
    return targets


def _order(options: dict[str, Any], targets: dict[str, Path]) -> dict[str, Any]:
    """The body of the job."""
    if (options["model"] is None) == (options["params"] is None):
        raise CommandError("Give either a model or --params.", returncode=REFUSED)
    size, coloring = _PRESETS.get(options["model"] or "", _OTHERWISE)
    width, height = options["size"] or size
    chosen = {name: options[name] for name in _COLORING if options[name] is not None}
    wanted = [*targets, *(options["outputs"] or "").replace(",", " ").split()]
    order: dict[str, Any] = {
        "name": options["name"] or options["model"] or "render",
        "width": width,
        "height": height,
        "tile_size": options["tile"],
        "outputs": list(dict.fromkeys(wanted)),
        "coloring": {**coloring, **chosen},
        "supersample": options["supersample"],
        "adaptive": options["adaptive"],
        "priority": options["priority"],
    }
    order |= {"model": options["model"]} if options["model"] else {"params": options["params"]}
    if options["resource"]:
        order["resource"] = options["resource"]
    if options["sites"]:
        order["sites"] = {"policy": options["policy"], "ids": options["sites"].replace(",", " ").split()}
    if options["requires"]:
        order["requires"] = options["requires"].replace(",", " ").split()
    return order


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not width.isdecimal() or not height.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a size like 1920x1080")
    return int(width), int(height)


def _json(text: str) -> Any:
    try:
        return json.loads(Path(text[1:]).read_text() if text.startswith("@") else text, parse_constant=_no_json)
    except OSError as error:
        raise ArgumentTypeError(f"cannot read {text[1:]}: {error.strerror}") from None
    except ValueError as error:
        raise ArgumentTypeError(f"not JSON: {error}") from None


def _no_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")
