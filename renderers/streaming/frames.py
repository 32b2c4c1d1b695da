"""A frame: what a camera sees, as far as it is drawn, encoded for those who watch."""

import json
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from renderers.mandelbrot.palette import Bytes
from renderers.streaming.pictures import JPEG, PNG, encoded, enlarged
from renderers.streaming.subject import Subject

LENGTH = struct.Struct(">I")
SMALL, WHOLE = "small", "whole"
"""Forms of a frame: of one pixel for each sample, or of the camera's own size."""


@dataclass(frozen=True)
class Frame:
    """`images` are (type, bytes) by form."""

    number: int
    header: dict[str, Any]
    images: dict[str, tuple[str, bytes]] = field(repr=False)

    @property
    def is_final(self) -> bool:
        return bool(self.header["final"])

    def message(self) -> bytes:
        """As a WebSocket has it: the length of a JSON header, the header, the image."""
        kind, image = self.images[SMALL]
        text = json.dumps(self.header | {"type": kind}, separators=(",", ":")).encode()
        return b"".join((LENGTH.pack(len(text)), text, image))


@dataclass(frozen=True)
class Drawn:
    """A picture that has not been encoded yet."""

    subject: Subject
    step: int
    picture: Bytes = field(repr=False)
    seconds: float

    def frame(self, number: int, forms: Collection[str]) -> Frame:
        """Encode it in these forms."""
        camera = self.subject.camera
        is_final = self.step == 1
        kind = PNG if is_final and camera.format == "png" else JPEG
        images: dict[str, tuple[str, bytes]] = {}
        for form in sorted(forms):
            if form == WHOLE and is_final and SMALL in images and kind == JPEG:
                images[form] = images[SMALL]
            elif form == WHOLE:
                images[form] = encoded(enlarged(self.picture, camera.width, camera.height, self.step), JPEG)
            else:
                images[form] = encoded(self.picture, kind)
        return Frame(number, self._header(number, is_final=is_final), images)

    def _header(self, number: int, *, is_final: bool) -> dict[str, Any]:
        camera = self.subject.camera
        return {
            "frame": number,
            "camera": camera.id,
            "step": self.step,
            "final": is_final,
            "width": camera.width,
            "height": camera.height,
            "center": camera.center,
            "radius": camera.radius,
            "max_iter": self.subject.limits.max_iter,
            "render_ms": round(1e3 * self.seconds, 2),
        }
