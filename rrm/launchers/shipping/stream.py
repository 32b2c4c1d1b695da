"""Files on their way to a site: one compressed tar archive, made as it is sent."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Collection, Iterator

from isal import isal_zlib

from rrm.launchers.shipping.contents import Contents

_GZIP = 31
_LEVEL = 1
_PIECE = 256 * 1024
Progress = Callable[[int, int], None]
"""Called with the bytes of content that were packed and that there are."""


def packed(contents: Contents, paths: Collection[str], progress: Progress) -> Iterator[bytes]:
    """The named files as a gzipped tar, in pieces; they have neither owners nor times."""
    squeeze = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP)
    total, done = sum(contents.files[path].size for path in paths), 0
    progress(0, total)
    for path in sorted(paths):
        data = memoryview(contents.files[path].read())
        header = tarfile.TarInfo(path)
        header.size, header.mode = len(data), 0o644
        yield squeeze.compress(header.tobuf(tarfile.GNU_FORMAT))
        for begin in range(0, len(data), _PIECE):
            piece = data[begin : begin + _PIECE]
            yield squeeze.compress(piece)
            done += len(piece)
            progress(done, total)
        yield squeeze.compress(bytes(-len(data) % tarfile.BLOCKSIZE))
    yield squeeze.compress(bytes(2 * tarfile.BLOCKSIZE))
    yield squeeze.flush()
