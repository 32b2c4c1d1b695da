"""Results: whole files, parts of files, tiles before the rest is there, and nothing sent twice."""

from __future__ import annotations

import io
import json
import struct
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from rrm.api.ranged import Span, Unsatisfiable, requested_span
from rrm.farm import composing, jobs
from rrm.farm.models import Job
from tests.factories import Caller, content, problem
from tests.integration.api.conftest import whole
from tests.integration.farm.conftest import Farm

pytestmark = pytest.mark.django_db

FILES = ("image.png", "counts.npy", "smooth.npy", "pyramid_files/6/0_0.png")
ALL = ["png", "counts", "smooth"]


@pytest.fixture
def running(farm: Farm) -> Job:
    """A job of which the first range is done."""
    job = farm.submit(outputs=ALL)
    node = farm.node()
    farm.deliver(node, farm.lease(node))
    job.refresh_from_db()
    return job


def test_the_files_of_a_completed_job_are_what_was_composed(job: Job, owner: Caller) -> None:
    kept = jobs.files(job)

    assert whole(owner, f"job/{job.pk}/image.png") == kept.image.read_bytes()
    assert whole(owner, f"job/{job.pk}/counts.npy") == kept.counts.read_bytes()
    assert whole(owner, f"job/{job.pk}/smooth.npy") == kept.smooth.read_bytes()
    assert Image.open(io.BytesIO(whole(owner, f"job/{job.pk}/image.png"))).size == (64, 64)


@pytest.mark.parametrize("name", [*FILES, "pyramid.dzi"])
def test_files_are_not_ready_before_the_job_is_completed(running: Job, owner: Caller, name: str) -> None:
    problem(owner.get(f"job/{running.pk}/{name}"), 409, "not-ready")


def test_an_output_that_was_not_ordered_is_not_there(farm: Farm, owner: Caller) -> None:
    job = farm.submit(outputs=["png"])

    problem(owner.get(f"job/{job.pk}/counts.npy"), 404, "not-found")
    problem(owner.get(f"job/{job.pk}/tile/0/0.npy"), 404, "not-found")


@pytest.mark.parametrize("name", ["image.png", "pyramid.dzi", "pyramid_files/6/0_0.png", "tile/0/0.png"])
def test_a_large_job_of_numbers_alone_has_no_picture(farm: Farm, owner: Caller, name: str) -> None:
    job = farm.submit(outputs=["counts"], width=4096, height=4096, tile_size=1024)
    assert job.preview_scale > 1

    body = problem(owner.get(f"job/{job.pk}/{name}"), 404, "not-found")

    assert "png" in body["detail"]
    links = owner.get(f"job/{job.pk}/").json()["links"]
    assert (links["image"], links["pyramid"]) == (None, None)
    assert links["counts"] is not None


def test_a_small_job_of_numbers_alone_is_pictured_all_the_same(farm: Farm, owner: Caller) -> None:
    job = farm.submit(outputs=["counts"])
    farm.work_off(farm.node())
    composing.compose_job(job.pk)

    links = owner.get(f"job/{job.pk}/").json()["links"]
    assert whole(owner, links["image"])
    assert whole(owner, links["pyramid"])


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_has_not_changed_is_not_sent_again(job: Job, owner: Caller, name: str) -> None:
    first = owner.get(f"job/{job.pk}/{name}")
    content(first)

    for known in (first.headers["ETag"], f'"other", W/{first.headers["ETag"]}', "*"):
        again = owner.get(f"job/{job.pk}/{name}", If_None_Match=known)
        assert again.status_code == 304
        assert again.headers["ETag"] == first.headers["ETag"]
        assert not again.content
    other = owner.get(f"job/{job.pk}/{name}", If_None_Match='"other"')
    assert content(other)


def test_a_file_composed_anew_has_another_etag(job: Job, owner: Caller) -> None:
    path = jobs.files(job).image
    first = owner.get(f"job/{job.pk}/image.png")
    content(first)
    changed = path.with_name("new")
    changed.write_bytes(path.read_bytes())
    changed.replace(path)

    second = owner.get(f"job/{job.pk}/image.png", If_None_Match=first.headers["ETag"])

    assert second.status_code == 200
    content(second)


@pytest.mark.parametrize(
    ("asked", "first", "stop"),
    [("bytes=0-9", 0, 10), ("bytes=100-", 100, None), ("bytes=-7", -7, None), ("bytes=5-999999999", 5, None)],
)
def test_a_part_of_a_file_is_exactly_the_bytes_asked_for(
    job: Job, owner: Caller, asked: str, first: int, stop: int | None
) -> None:
    file = whole(owner, f"job/{job.pk}/counts.npy")

    response = owner.get(f"job/{job.pk}/counts.npy", Range=asked)

    part = content(response)
    assert response.status_code == 206
    assert part == file[first:stop]
    begin = first % len(file)
    assert response.headers["Content-Range"] == f"bytes {begin}-{begin + len(part) - 1}/{len(file)}"
    assert response.headers["Content-Length"] == str(len(part))


@pytest.mark.parametrize("asked", ["bytes=999999999-", "bytes=-0"])
def test_a_part_outside_the_file_cannot_be_had(job: Job, owner: Caller, asked: str) -> None:
    size = jobs.files(job).counts.stat().st_size

    response = owner.get(f"job/{job.pk}/counts.npy", Range=asked)

    problem(response, 416, "range-not-satisfiable")
    assert response.headers["Content-Range"] == f"bytes */{size}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=9-3", "bytes=-", "lines=1-2", "bytes", "bytes=a-b"])
def test_a_range_header_that_is_not_understood_is_passed_over(job: Job, owner: Caller, asked: str) -> None:
    response = owner.get(f"job/{job.pk}/image.png", Range=asked)

    assert response.status_code == 200
    assert len(content(response)) == int(response.headers["Content-Length"])


def test_if_range_asks_for_a_part_of_the_same_bytes_alone(job: Job, owner: Caller) -> None:
    first = owner.get(f"job/{job.pk}/image.png")
    content(first)

    same = owner.get(f"job/{job.pk}/image.png", Range="bytes=0-3", If_Range=first.headers["ETag"])
    other = owner.get(f"job/{job.pk}/image.png", Range="bytes=0-3", If_Range='"other"')

    assert (same.status_code, len(content(same))) == (206, 4)
    assert other.status_code == 200
    content(other)


@pytest.mark.parametrize("name", FILES)
def test_head_tells_the_size_and_sends_nothing(job: Job, owner: Caller, name: str) -> None:
    size = len(whole(owner, f"job/{job.pk}/{name}"))

    response = owner.call("HEAD", f"job/{job.pk}/{name}", Range="bytes=0-1")

    assert response.status_code == 200
    assert response.headers["Content-Length"] == str(size)
    assert response.headers["Accept-Ranges"] == "bytes"
    assert content(response) == b""


def test_a_tile_is_there_as_soon_as_it_is_done(running: Job, owner: Caller) -> None:
    picture = Image.open(io.BytesIO(whole(owner, f"job/{running.pk}/tile/0/0.png")))
    counts = np.load(io.BytesIO(whole(owner, f"job/{running.pk}/tile/0/0.npy")))
    smooth = np.load(io.BytesIO(whole(owner, f"job/{running.pk}/tile/0/0.npy?output=smooth")))

    assert picture.size == (16, 16)
    assert (counts.dtype, counts.shape) == (np.uint32, (16, 16))
    assert (smooth.dtype, smooth.shape) == (np.float32, (16, 16))
    problem(owner.get(f"job/{running.pk}/tile/3/3.png"), 409, "not-ready")
    problem(owner.get(f"job/{running.pk}/tile/3/3.npy"), 409, "not-ready")


@pytest.mark.parametrize("place", ["4/0", "0/4", "9999999/9999999"])
def test_a_tile_outside_the_image_is_not_there(running: Job, owner: Caller, place: str) -> None:
    problem(owner.get(f"job/{running.pk}/tile/{place}.png"), 404, "not-found")


def test_tiles_fit_together_to_the_whole(job: Job, owner: Caller) -> None:
    rows = [
        np.hstack([np.load(io.BytesIO(whole(owner, f"job/{job.pk}/tile/{row}/{col}.npy"))) for col in range(4)])
        for row in range(4)
    ]

    assert (np.vstack(rows) == np.load(jobs.files(job).counts)).all()


def test_a_tile_that_has_not_changed_is_not_sent_again(running: Job, owner: Caller) -> None:
    first = owner.get(f"job/{running.pk}/tile/0/0.png")

    again = owner.get(f"job/{running.pk}/tile/0/0.png", If_None_Match=first.headers["ETag"])

    assert (again.status_code, again.content) == (304, b"")


def test_an_array_that_there_is_not_is_refused(running: Job, owner: Caller) -> None:
    problem(owner.get(f"job/{running.pk}/tile/0/0.npy?output=phase"), 422, "invalid")


def test_a_finished_range_comes_in_one_piece_without_its_numbers(running: Job, owner: Caller) -> None:
    lease = running.leases.get()

    response = owner.get(f"job/{running.pk}/range/{lease.pk}")

    body = content(response)
    assert response.headers["Content-Type"] == "application/vnd.rrm.bundle"
    assert "immutable" in response.headers["Cache-Control"]
    magic, length = struct.unpack("<4sI", body[:8])
    header: dict[str, Any] = json.loads(body[8 : 8 + length])
    assert magic == b"RRMB"
    assert (header["start"], header["stop"]) == (lease.start, lease.stop)
    assert len(body) == 8 + length + header["display_bytes"]
    assert len(body) < jobs.files(running).range(lease.pk).stat().st_size
    offset, size = header["tiles"][0]["png"]
    assert Image.open(io.BytesIO(body[8 + length + offset :][:size])).size == (16, 16)


def test_a_range_that_is_still_rendered_or_of_another_job_is_not_shown(farm: Farm, owner: Caller) -> None:
    job, other = farm.submit(), farm.submit()
    lease = farm.lease(farm.node())["id"]

    problem(owner.get(f"job/{job.pk}/range/{lease}"), 409, "not-ready")
    problem(owner.get(f"job/{other.pk}/range/{lease}"), 404, "not-found")
    problem(owner.get(f"job/{job.pk}/range/{uuid4()}"), 404, "not-found")


def test_the_timeline_tells_who_had_which_tiles(job: Job, owner: Caller) -> None:
    leases = owner.get(f"job/{job.pk}/timeline").json()["leases"]

    assert sorted(tile for lease in leases for tile in range(lease["start"], lease["stop"])) == list(range(16))
    assert {lease["state"] for lease in leases} == {"DONE"}
    assert all(lease["created_at"] <= lease["finished_at"] and lease["render_ms"] > 0 for lease in leases)


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("", None),
        ("bytes=0-0", Span(0, 1)),
        ("bytes= 2 - 5", Span(2, 6)),
        ("bytes=-500", Span(0, 100)),
        ("bytes=99-", Span(99, 100)),
    ],
)
def test_a_range_header_names_a_part(header: str, span: Span | None) -> None:
    assert requested_span(header, 100) == span


def test_an_empty_file_has_no_parts() -> None:
    with pytest.raises(Unsatisfiable):
        requested_span("bytes=0-", 0)
