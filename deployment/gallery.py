"""Makes docs/gallery.md and its pictures: orders the views of gallery.yaml from a service of its own, over its API.

python -m deployment.gallery [NAME …]      all views, or those named; the others keep their pictures
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rrm.client import Client

ROOT = Path(__file__).resolve().parents[1]
VIEWS = Path(__file__).with_name("gallery.yaml")
PAGE = ROOT / "docs" / "gallery.md"
PICTURES = ROOT / "docs" / "images" / "gallery"
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_HEAD = """# Gallery

Pictures that the service made of itself: `make gallery` starts one, orders each view with the body shown below it, and
fetches the picture as WebP. Times are from order to COMPLETED on the two cores of the machine that made this page.
"""


@contextmanager
def service() -> Iterator[Client]:
    """A client of a fresh copy of the service, which ends with the block."""
    with tempfile.TemporaryDirectory(prefix="rrm-gallery-") as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        environment = {**os.environ, "RRM_DATA": folder, "RRM_PORT": str(port)}
        running = subprocess.Popen([sys.executable, "manage.py", "run", "--no-demo"], cwd=ROOT, env=environment)
        try:
            url = f"http://127.0.0.1:{port}"
            _await(url, running)
            with Client(url, Path(folder, "operator.token").read_text().strip()) as client:
                yield client
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(_STOP_SECONDS)


def _await(url: str, running: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + _START_SECONDS
    while time.monotonic() < limit and running.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/readyz"):  # noqa: S310 - our own service
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise SystemExit("The service did not start.")


def draw(client: Client, view: Mapping[str, Any], size: tuple[int, int]) -> float:
    """Order one view and save its picture; seconds from order to COMPLETED."""
    began = time.monotonic()
    job = client.submit(order_of(view, size))["id"]
    for progress in client.follow(job):
        print(f"\r{view['name']}: {progress.state.lower()} {progress.done}/{progress.tiles}", end="", flush=True)
    seconds = time.monotonic() - began
    print(f"\r{view['name']}: {progress.state.lower()} after {seconds:.2f} s {progress.reason}")
    if progress.state != "COMPLETED":
        raise SystemExit(1)
    client.save(job, "webp", PICTURES / f"{view['name']}.webp")
    return seconds


def order_of(view: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """The body of POST job/ for a view."""
    return {"name": view["title"], "width": size[0], "height": size[1], "outputs": ["png"], **view["order"]}


def page(views: list[Mapping[str, Any]], size: tuple[int, int], seconds: Mapping[str, float]) -> str:
    """The whole page; pictures that were not made now keep the time that the page has for them."""
    kept = dict(re.findall(r"gallery/(\w[\w-]*)\.webp\)\n\n([\d.]+) s", PAGE.read_text() if PAGE.exists() else ""))
    parts = [_HEAD]
    for view in views:
        name, order = view["name"], json.dumps(order_of(view, size))
        took = f"{seconds[name]:.2f}" if name in seconds else kept.get(name, "0")
        text = f"\n{view['text']}\n" if "text" in view else ""
        parts.append(
            f"\n## {view['title']}\n{text}\n![{view['title']}](images/gallery/{name}.webp)\n\n{took} s\n\n"
            f"```json\n{order}\n```\n"
        )
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    wanted = parser.parse_args().names
    given = yaml.safe_load(VIEWS.read_text())
    views, size = given["views"], (given["size"][0], given["size"][1])
    if unknown := set(wanted) - {view["name"] for view in views}:
        raise SystemExit(f"There is no view {', '.join(sorted(unknown))} in {VIEWS.name}.")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with service() as client:
        seconds = {v["name"]: draw(client, v, size) for v in views if not wanted or v["name"] in wanted}
    PAGE.write_text(page(views, size, seconds))
    print(f"{PAGE.relative_to(ROOT)} has {len(views)} views.")


if __name__ == "__main__":
    main()
