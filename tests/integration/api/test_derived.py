"""Derived files: the pyramid and other formats are made once, when somebody asks, and say so when they cannot be."""

from __future__ import annotations

import fcntl
import io
import json
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event
from time import monotonic, sleep

import numpy as np
import OpenEXR
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from rrm.domain import coloring
from rrm.errors import NotReady
from rrm.farm import composing, derived, jobs
from rrm.farm.models import Job
from rrm.results import exports
from rrm.results.bundle import Bundle
from rrm.results.colors import fine_painter
from rrm.results.exports import EXPORTS, Origin
from rrm.results.layout import JobFiles
from tests.factories import Caller, problem
from tests.integration.api.conftest import picture_of, whole
from tests.integration.farm.conftest import VIEW, Farm

pytestmark = pytest.mark.django_db


def test_the_pyramid_has_a_descriptor_and_tiles(job: Job, owner: Caller) -> None:
    descriptor = whole(owner, f"job/{job.pk}/pyramid.dzi").decode()

    assert 'Width="64"' in descriptor
    assert Image.open(io.BytesIO(whole(owner, f"job/{job.pk}/pyramid_files/0/0_0.png"))).size == (1, 1)
    for missing in ("99/0_0", "0/1_0", "0/0_7"):
        problem(owner.get(f"job/{job.pk}/pyramid_files/{missing}.png"), 404, "not-found")


def test_smooth_values_can_be_had_as_tiff_and_openexr(job: Job, owner: Caller, tmp_path: Path) -> None:
    smooth = np.load(jobs.files(job).smooth)[::-1]

    tiff = whole(owner, f"job/{job.pk}/smooth.tiff")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(tiff))), smooth)
    with tifffile.TiffFile(io.BytesIO(tiff)) as file:
        description = json.loads(file.pages.first.description)
        assert (description["width"], description["supersample"], description["adaptive"]) == (64, 1, False)
    exr = tmp_path / "smooth.exr"
    exr.write_bytes(whole(owner, f"job/{job.pk}/smooth.exr"))
    with OpenEXR.File(str(exr)) as opened:
        np.testing.assert_array_equal(opened.channels()["Y"].pixels, smooth)
        assert json.loads(opened.header()["comments"])["params"] == job.model.params


def test_the_picture_can_be_had_as_webp(job: Job, owner: Caller) -> None:
    webp = picture_of(owner, f"job/{job.pk}/image.webp").astype(int)
    png = picture_of(owner, f"job/{job.pk}/image.png")
    assert webp.shape == png.shape
    assert abs(webp - png).mean() < 12


def test_the_picture_can_be_had_with_sixteen_bits_a_channel(job: Job, owner: Caller) -> None:
    fine = sixteen_bits(whole(owner, f"job/{job.pk}/image16.png"))
    plain = picture_of(owner, f"job/{job.pk}/image.png")
    # the finer gradient is the coarse one to within its own steps
    assert np.abs(fine / 257.0 - plain).max() < 2.0
    assert len(np.unique(fine)) > len(np.unique(plain))


def test_only_what_is_inside_has_its_colour_in_sixteen_bits(tmp_path: Path) -> None:
    files = JobFiles(tmp_path, "job")
    files.folder.mkdir()
    values = np.array([[1.5, 3.7, 3.0, 13.2]], np.float32)  # an outside point may lie above the limit, never on it
    np.save(files.smooth, values)
    look = coloring.parse({"palette": "ocean", "interior": "#ff0000"})

    EXPORTS["image16.png"].write(Origin(files, {}, look, max_iter=3), tmp_path / "fine.png")

    found = sixteen_bits((tmp_path / "fine.png").read_bytes())
    assert np.array_equal(found, fine_painter(look)(values, np.array([[False, False, True, False]])))


def sixteen_bits(data: bytes) -> NDArray[np.float64]:
    """The samples of an RGB PNG with 16 bits a channel and Sub-filtered lines, which Pillow reduces to 8 bits."""
    assert data[24:26] == bytes([16, 2])
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()  # whole and with right checksums, to another reader
        width, height = picture.size
    pixels, at = b"", 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        pixels += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    lines = np.frombuffer(zlib.decompress(pixels), np.uint8).reshape(height, 1 + 6 * width)
    assert (lines[:, 0] == 1).all()
    samples = np.cumsum(lines[:, 1:].reshape(height, width, 6), axis=1, dtype=np.uint8)
    return np.ascontiguousarray(samples).view(">u2").reshape(height, width, 3).astype(np.float64)


def test_sixteen_bits_are_for_smooth_colours(farm: Farm, owner: Caller) -> None:
    bands = farm.submit(outputs=["png", "smooth"], coloring={"method": "bands"})
    detail = problem(owner.get(f"job/{bands.pk}/image16.png"), 404, "not-found")["detail"]
    assert "for the method smooth" in detail


def test_other_formats_are_named_where_there_are_any(job: Job, farm: Farm, owner: Caller) -> None:
    links = owner.get(f"job/{job.pk}/").json()["links"]["exports"]
    assert [link.rpartition("/")[2] for link in links] == ["smooth.tiff", "smooth.exr", "image16.png", "image.webp"]
    counts = farm.submit(width=4096, height=16, tile_size=16, outputs=["counts"])
    assert owner.get(f"job/{counts.pk}/").json()["links"]["exports"] == []
    for name in exports.EXPORTS:
        problem(owner.get(f"job/{counts.pk}/{name}"), 404, "not-found")


def test_a_picture_too_large_for_a_format_is_refused_with_its_limit(farm: Farm, owner: Caller) -> None:
    wide = farm.submit(width=20_000, height=16, tile_size=16)
    assert "at most 16383 pixels a side" in problem(owner.get(f"job/{wide.pk}/image.webp"), 404, "not-found")["detail"]


def test_what_takes_long_to_make_goes_on_while_the_reader_is_told_to_come_back(
    job: Job, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = Event(), Event()

    def slow(origin: Origin, path: Path) -> None:
        begun.set()
        assert may_end.wait(60)
        path.write_bytes(b"made once")

    monkeypatch.setitem(exports.EXPORTS, "smooth.tiff", replace(exports.EXPORTS["smooth.tiff"], write=slow))
    monkeypatch.setattr(derived, "PATIENCE", timedelta(seconds=0.05))
    answer = owner.get(f"job/{job.pk}/smooth.tiff")
    problem(answer, 409, "not-ready")
    assert answer.headers["Retry-After"] == "1"
    assert begun.wait(60)
    may_end.set()
    monkeypatch.setattr(derived, "PATIENCE", timedelta(seconds=60))
    assert whole(owner, f"job/{job.pk}/smooth.tiff") == b"made once"


def test_readers_who_come_while_others_wait_are_sent_away_at_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = Event()

    def slow(origin: Origin, path: Path) -> None:
        assert may_end.wait(60)
        path.write_bytes(b"made once")

    monkeypatch.setitem(exports.EXPORTS, "smooth.tiff", replace(exports.EXPORTS["smooth.tiff"], write=slow))
    monkeypatch.setattr(derived, "PATIENCE", timedelta(seconds=60))
    with ThreadPoolExecutor(4) as readers:
        waiting = [readers.submit(derived.ensure_export, prepared(job), "smooth.tiff") for _ in range(4)]
        while derived._places._value:
            sleep(0.01)
        began = monotonic()
        with pytest.raises(NotReady) as caught:
            derived.ensure_export(job, "smooth.tiff")
        assert monotonic() - began < 40
        may_end.set()
        assert {path.result() for path in waiting} == {jobs.files(job).export("smooth.tiff")}
    assert caught.value.retry_after == 1


def test_many_readers_at_once_have_it_made_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(origin: Origin, path: Path) -> None:
        made.append(path)
        sleep(0.1)
        path.write_bytes(b"made once")

    monkeypatch.setitem(exports.EXPORTS, "smooth.tiff", replace(exports.EXPORTS["smooth.tiff"], write=counted))
    with ThreadPoolExecutor(3) as readers:
        for work in [readers.submit(derived.ensure_export, prepared(job), "smooth.tiff") for _ in range(3)]:
            work.result()
    assert len(made) == 1


def test_what_another_process_makes_is_waited_for_and_not_made_again(
    job: Job, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derived, "PATIENCE", timedelta(seconds=0.1))
    path = jobs.files(job).export("smooth.exr")
    with path.with_name("smooth.exr.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        problem(owner.get(f"job/{job.pk}/smooth.exr"), 409, "not-ready")
        path.write_bytes(b"made elsewhere")
    monkeypatch.setattr(derived, "PATIENCE", timedelta(seconds=60))
    assert whole(owner, f"job/{job.pk}/smooth.exr") == b"made elsewhere"
    sleep(0.1)  # until the thread that waited for the lock is through
    assert path.read_bytes() == b"made elsewhere"


def test_what_failed_once_is_tried_again(job: Job, owner: Caller) -> None:
    kept = jobs.files(job).smooth
    values = kept.read_bytes()
    kept.write_bytes(b"nothing")
    problem(owner.get(f"job/{job.pk}/smooth.exr"), 409, "not-ready")
    kept.write_bytes(values)
    assert whole(owner, f"job/{job.pk}/smooth.exr")


def test_a_job_deleted_while_something_is_made_leaves_nothing(
    job: Job, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = jobs.files(job).folder

    def deleted(origin: Origin, path: Path) -> None:
        origin.files.remove()
        path.write_bytes(b"too late")

    monkeypatch.setitem(exports.EXPORTS, "smooth.tiff", replace(exports.EXPORTS["smooth.tiff"], write=deleted))
    problem(owner.get(f"job/{job.pk}/smooth.tiff"), 404, "not-found")
    assert not folder.exists()
    job.leases.all().delete()
    job.delete()


def prepared(job: Job) -> Job:
    """The job with all that threads want to know of it: they must not use the test's connection."""
    assert job.model.params
    return job


def test_a_format_that_cannot_be_made_is_not_ready_and_leaves_nothing(job: Job, owner: Caller) -> None:
    jobs.files(job).smooth.write_bytes(b"nothing")
    assert "could not be made" in problem(owner.get(f"job/{job.pk}/smooth.exr"), 409, "not-ready")["detail"]
    assert not jobs.files(job).export("smooth.exr").exists()


@pytest.fixture
def wide(farm: Farm) -> Job:
    """A completed job of 16 x 3 tiles that pages show by previews; a node without company sends it row by row."""
    job = farm.submit(width=4096, height=700, tile_size=256, params={**VIEW, "max_iter": 20})
    node = farm.node(cores=16)
    farm.work_off(node)
    composing.compose_job(job.pk)
    return job


def test_tiles_and_pyramid_of_a_picture_that_came_as_strips_are_cut_from_it(wide: Job, owner: Caller) -> None:
    headers = [Bundle.read(jobs.files(wide).range(lease.pk)).header for lease in wide.leases.all()]
    assert any(header.rows for header in headers)
    picture = picture_of(owner, f"job/{wide.pk}/image.png")
    assert picture.shape == (700, 4096, 3)
    for row, top, stop in ((0, 444, 700), (1, 188, 444), (2, 0, 188)):
        tile = picture_of(owner, f"job/{wide.pk}/tile/{row}/7.png")
        np.testing.assert_array_equal(tile, picture[top:stop, 7 * 256 : 8 * 256])
    np.testing.assert_array_equal(
        picture_of(owner, f"job/{wide.pk}/pyramid_files/12/3_1.png"), picture[512:, 1536:2048]
    )


def test_the_pyramid_is_made_when_somebody_looks_and_once(wide: Job, owner: Caller) -> None:
    kept = jobs.files(wide)
    assert not kept.pyramid.exists()
    whole(owner, f"job/{wide.pk}/pyramid_files/0/0_0.png")
    made = kept.pyramid.stat().st_ino
    whole(owner, f"job/{wide.pk}/pyramid_files/11/1_0.png")
    assert kept.pyramid.stat().st_ino == made


def test_a_pyramid_whose_ranges_are_damaged_is_not_ready(wide: Job, owner: Caller) -> None:
    for path in jobs.files(wide).ranges.iterdir():
        path.write_bytes(b"nothing")
    answer = problem(owner.get(f"job/{wide.pk}/pyramid_files/0/0_0.png"), 409, "not-ready")
    assert "pyramid could not be made" in answer["detail"]
    assert not jobs.files(wide).pyramid.exists()
