"""The palettes that a camera may name: the manager's, as data, because nodes share no code with it."""

import json
from dataclasses import dataclass
from pathlib import Path

Stops = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Palette:
    """Stops as `mandelbrot.palette.Coloring` has them; one that does not return home is run through forth and back."""

    stops: Stops
    interpolation: str
    returns_home: bool


def _read(path: Path) -> dict[str, Palette]:
    found = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: Palette(
            tuple((float(place), str(color)) for place, color in entry["stops"]),
            entry["interpolation"],
            entry["returns_home"],
        )
        for name, entry in found.items()
    }


PALETTES = _read(Path(__file__).with_name("palettes.json"))
NAMES = tuple(PALETTES)
