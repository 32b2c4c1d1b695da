"""Other formats of a job's results: smooth values as TIFF and OpenEXR, the picture as WebP and as a 16-bit PNG.

They are made from smooth.npy and image.png, some lines at a time where the format's library allows it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import Imath
import numpy as np
import OpenEXR
from numpy.typing import NDArray
from PIL import Image

from rrm.results.colors import fine_painter
from rrm.results.layout import JobFiles
from rrm.results.picture import SOFTWARE, ImageFile
from rrm.results.strips import strips_of

WEBP_LONGEST_SIDE = 16383  # the format's own limit
WEBP_MOST_PIXELS = 2**24  # the whole picture is in memory, about ten bytes for each pixel
_WEBP_QUALITY = 90
_TIFF_TILE = 256
_EXR_LINES = 64
_DEFLATE_LEVEL = 1
_FINE_PIXEL = 6
_FINE_BYTES = 2**21


@dataclass(frozen=True, slots=True)
class Origin:
    """What a format is made from: the files, what they say of themselves, how they are coloured and counted."""

    files: JobFiles
    metadata: Mapping[str, object]
    look: Mapping[str, Any]
    max_iter: int


@dataclass(frozen=True, slots=True)
class Export:
    """A format: the output that it is made from, its media type and what writes it."""

    source: str
    media_type: str
    write: Callable[[Origin, Path], None]
    longest_side: int = 2**31 - 1
    most_pixels: int = 2**62
    methods: frozenset[str] | None = None  # of colouring; None where it does not matter

    def fits(self, width: int, height: int) -> bool:
        """Whether a picture of this size can have this format."""
        return max(width, height) <= self.longest_side and width * height <= self.most_pixels

    def takes(self, method: str | None) -> bool:
        """Whether it can be made of a picture that is coloured so."""
        return self.methods is None or method in self.methods

    @property
    def limit(self) -> str:
        return f"at most {self.longest_side} pixels a side, and {self.most_pixels} in all"


def _write_tiff(origin: Origin, path: Path) -> None:
    """float32 in deflated tiles, the highest y on top. Format: TIFF 6.0; BigTIFF where it would pass 4 GiB."""
    import tifffile  # takes 0.15 s, which no start should wait for

    values = _from_top(origin.files)
    tifffile.imwrite(
        path,
        _tiles(values),
        shape=values.shape,
        dtype=values.dtype,
        tile=(_TIFF_TILE, _TIFF_TILE),
        bigtiff=values.nbytes > 2**32 - 2**25,
        compression="zlib",
        compressionargs={"level": _DEFLATE_LEVEL},
        description=json.dumps(origin.metadata),
        software=SOFTWARE,
        metadata=None,
        maxworkers=2,
    )


def _tiles(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for top in range(0, values.shape[0], _TIFF_TILE):
        for left in range(0, values.shape[1], _TIFF_TILE):
            yield np.ascontiguousarray(values[top : top + _TIFF_TILE, left : left + _TIFF_TILE])


def _write_exr(origin: Origin, path: Path) -> None:
    """One channel Y of 32-bit floats, ZIP-compressed scan lines, the highest y on top."""
    values = _from_top(origin.files)
    header = OpenEXR.Header(values.shape[1], values.shape[0])
    header["channels"] = {"Y": Imath.Channel(Imath.PixelType(Imath.PixelType.FLOAT))}
    header["comments"] = json.dumps(origin.metadata).encode()
    file = OpenEXR.OutputFile(str(path), header)
    try:
        for top in range(0, len(values), _EXR_LINES):
            lines = values[top : top + _EXR_LINES]
            file.writePixels({"Y": lines.tobytes()}, len(lines))
    finally:
        file.close()


def _from_top(files: JobFiles) -> NDArray[Any]:
    values: NDArray[Any] = np.load(files.smooth, mmap_mode="r")[::-1]
    return values


def _write_webp(origin: Origin, path: Path) -> None:
    """Lossy, of high quality: a quarter of the PNG's bytes."""
    with Image.open(origin.files.image) as picture:
        picture.save(path, "WEBP", quality=_WEBP_QUALITY, method=0)


def _write_fine_png(origin: Origin, path: Path) -> None:
    """Sixteen bits a channel, one sample for each pixel, some lines at a time."""
    values, paint = _from_top(origin.files), fine_painter(origin.look)
    height, width = values.shape
    step = max(1, _FINE_BYTES // (_FINE_PIXEL * width))
    with path.open("xb") as file:
        image = ImageFile(file, width, height, origin.metadata, bits=16)
        for top in range(0, height, step):
            lines = np.ascontiguousarray(values[top : top + step])
            pixels = paint(lines, lines == origin.max_iter).astype(">u2").view(np.uint8)
            image.add(strips_of(pixels.reshape(len(lines), width, _FINE_PIXEL), step))
        image.finish()


EXPORTS: Mapping[str, Export] = {
    "smooth.tiff": Export("smooth", "image/tiff", _write_tiff),
    "smooth.exr": Export("smooth", "image/x-exr", _write_exr),
    "image16.png": Export("smooth", "image/png", _write_fine_png, methods=frozenset({"smooth"})),
    "image.webp": Export("png", "image/webp", _write_webp, WEBP_LONGEST_SIDE, WEBP_MOST_PIXELS),
}
