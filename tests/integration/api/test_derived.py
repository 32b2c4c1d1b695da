"""Derived files: the pyramid and other formats are made once, when somebody asks, and say so when they cannot be."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

import numpy as np
import OpenEXR
import pytest
import tifffile
from PIL import Image

from rrm.farm import composing, derived, jobs
from rrm.farm.models import Job
from rrm.results import exports
from rrm.results.bundle import Bundle
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
        assert json.loads(file.pages.first.description)["width"] == 64
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


def test_other_formats_are_named_where_there_are_any(job: Job, farm: Farm, owner: Caller) -> None:
    links = owner.get(f"job/{job.pk}/").json()["links"]["exports"]
    assert [link.rpartition("/")[2] for link in links] == ["smooth.tiff", "smooth.exr", "image.webp"]
    counts = farm.submit(width=4096, height=16, tile_size=16, outputs=["counts"])
    assert owner.get(f"job/{counts.pk}/").json()["links"]["exports"] == []
    for name in ("smooth.tiff", "smooth.exr", "image.webp"):
        problem(owner.get(f"job/{counts.pk}/{name}"), 404, "not-found")


def test_a_picture_too_large_for_a_format_is_refused_with_its_limit(farm: Farm, owner: Caller) -> None:
    wide = farm.submit(width=20_000, height=16, tile_size=16)
    assert "at most 16383 pixels a side" in problem(owner.get(f"job/{wide.pk}/image.webp"), 404, "not-found")["detail"]


def test_what_takes_long_to_make_goes_on_while_the_reader_is_told_to_come_back(
    job: Job, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = Event(), Event()

    def slow(files: JobFiles, path: Path, told: Mapping[str, object]) -> None:
        begun.set()
        assert may_end.wait(10)
        path.write_bytes(b"made once")

    monkeypatch.setitem(exports.EXPORTS, "smooth.tiff", replace(exports.EXPORTS["smooth.tiff"], write=slow))
    monkeypatch.setattr(derived, "PATIENCE", timedelta(seconds=0.05))
    answer = owner.get(f"job/{job.pk}/smooth.tiff")
    problem(answer, 409, "not-ready")
    assert answer.headers["Retry-After"] == "5"
    assert begun.wait(10)
    may_end.set()
    monkeypatch.setattr(derived, "PATIENCE", timedelta(seconds=10))
    assert whole(owner, f"job/{job.pk}/smooth.tiff") == b"made once"


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
