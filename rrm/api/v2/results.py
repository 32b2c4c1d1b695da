"""What a job has brought forth: files, tiles, ranges, its timeline and its events."""

from __future__ import annotations

import io
from typing import Any
from uuid import UUID

import numpy as np
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api import ranged, streams
from rrm.api.auth import Scope
from rrm.api.schema import CACHED, EVENT_STREAM, IN_PARTS, LAST_EVENT, NOT_READY, file_responses
from rrm.api.v2.jobs import job_of
from rrm.api.views import ApiView
from rrm.domain.scheduling import Reason
from rrm.domain.states import JobState, LeaseState
from rrm.errors import Invalid, NotFound, NotReady
from rrm.farm import derived, jobs
from rrm.farm.models import Job, Lease
from rrm.results import bundle
from rrm.results.exports import EXPORTS
from rrm.results.pyramid import Shape

PNG, NPY, DZI = "image/png", "application/x-npy", "application/xml"
BUNDLE = "application/vnd.rrm.bundle"
ARRAYS = ("counts", "smooth")


class _Result(ApiView):
    scopes = {"GET": Scope.READ}


def _completed(job: Job) -> Job:
    if job.state != JobState.COMPLETED:
        raise NotReady(f"The job is {job.state}; its results are there when it is COMPLETED.")
    return job


def _pictured(request: Request, id: UUID) -> Job:
    """The job, if there are full-size pictures of it, or will be. Raises NotFound."""
    job = job_of(request, id)
    if not job.has_picture:
        raise NotFound("This job was not asked for png, and is too large to be pictured unasked.")
    return job


class JobImage(_Result):
    @extend_schema(operation_id="job_image", parameters=IN_PARTS, responses=file_responses(PNG, "The whole picture."))
    def get(self, request: Request, id: UUID) -> HttpResponseBase:
        """Fetch the picture of a completed job."""
        return ranged.serve_file(request, jobs.files(_completed(_pictured(request, id))).image, PNG)


class JobArray(_Result):
    kind = "counts"

    def serve(self, request: Request, id: UUID) -> HttpResponseBase:
        job = job_of(request, id)
        if self.kind not in job.outputs:
            raise NotFound(f"This job was not asked for {self.kind}.")
        return ranged.serve_file(request, jobs.files(_completed(job)).array(self.kind), NPY)


class JobCounts(JobArray):
    kind = "counts"

    @extend_schema(
        operation_id="job_counts", parameters=IN_PARTS, responses=file_responses(NPY, "uint32, height by width.")
    )
    def get(self, request: Request, id: UUID) -> HttpResponseBase:
        """Fetch the iteration counts of a completed job; row 0 is at the lowest y."""
        return self.serve(request, id)


class JobSmooth(JobArray):
    kind = "smooth"

    @extend_schema(
        operation_id="job_smooth", parameters=IN_PARTS, responses=file_responses(NPY, "float32, height by width.")
    )
    def get(self, request: Request, id: UUID) -> HttpResponseBase:
        """Fetch the smooth iteration counts of a completed job; row 0 is at the lowest y."""
        return self.serve(request, id)


class JobExport(_Result):
    name = "smooth.tiff"

    def serve(self, request: Request, id: UUID) -> HttpResponseBase:
        job, export = job_of(request, id), EXPORTS[self.name]
        if export.source == "png":
            _pictured(request, id)
        elif export.source not in job.outputs:
            raise NotFound(f"This job was not asked for {export.source}.")
        if not export.fits(job.width, job.height):
            raise NotFound(f"The picture is too large for {self.name}: {export.limit}.")
        if not export.takes(job.palette.get("method")):
            raise NotFound(f"{self.name} is for the method {', '.join(export.methods or ())}.")
        return ranged.serve_file(request, derived.ensure_export(_completed(job), self.name), export.media_type)


class JobTiff(JobExport):
    name = "smooth.tiff"

    @extend_schema(
        operation_id="job_tiff", parameters=IN_PARTS, responses=file_responses("image/tiff", "float32, deflated tiles.")
    )
    def get(self, request: Request, id: UUID) -> HttpResponseBase:
        """Fetch the smooth values as TIFF, the highest y on top. The first reader waits until it is made."""
        return self.serve(request, id)


class JobExr(JobExport):
    name = "smooth.exr"

    @extend_schema(
        operation_id="job_exr", parameters=IN_PARTS, responses=file_responses("image/x-exr", "Channel Y of floats.")
    )
    def get(self, request: Request, id: UUID) -> HttpResponseBase:
        """Fetch the smooth values as OpenEXR, the highest y on top. The first reader waits until it is made."""
        return self.serve(request, id)


class JobFinePng(JobExport):
    name = "image16.png"

    @extend_schema(
        operation_id="job_fine_png", parameters=IN_PARTS, responses=file_responses(PNG, "Sixteen bits a channel.")
    )
    def get(self, request: Request, id: UUID) -> HttpResponseBase:
        """Fetch the picture with 16 bits a channel, of jobs with smooth values and method. The first reader waits."""
        return self.serve(request, id)


class JobWebp(JobExport):
    name = "image.webp"

    @extend_schema(
        operation_id="job_webp", parameters=IN_PARTS, responses=file_responses("image/webp", "The picture, lossy.")
    )
    def get(self, request: Request, id: UUID) -> HttpResponseBase:
        """Fetch the picture as WebP, a fraction of the PNG's size. The first reader waits until it is made."""
        return self.serve(request, id)


class JobPyramid(_Result):
    @extend_schema(
        operation_id="job_pyramid",
        parameters=CACHED,
        responses={(200, DZI): OpenApiTypes.STR, 304: None, 409: NOT_READY},
    )
    def get(self, request: Request, id: UUID) -> HttpResponseBase:
        """Fetch the descriptor of the zoomable picture (Deep Zoom)."""
        job = _completed(_pictured(request, id))
        return ranged.serve_bytes(request, Shape(job.grid).dzi_xml().encode(), DZI, f'"{job.pk}"')


class JobPyramidTile(_Result):
    @extend_schema(
        operation_id="job_pyramid_tile", parameters=IN_PARTS, responses=file_responses(PNG, "One tile of one level.")
    )
    def get(self, request: Request, id: UUID, level: int, col: int, row: int) -> HttpResponseBase:
        """Fetch a tile of the zoomable picture; row 0 is at the top. The first reader waits until it is made."""
        job = _completed(_pictured(request, id))
        shape = Shape(job.grid)
        if not shape.has(level, col, row):
            raise NotFound(f"Level {level} has no tile {col}_{row}.")
        tile = shape.job_tile(level, col, row)
        if tile is not None:
            return _tile_picture(request, job, tile)
        derived.ensure_pyramid(job)
        return ranged.serve_file(request, jobs.files(job).pyramid_tile(level, col, row), PNG)


class JobTilePng(_Result):
    @extend_schema(
        operation_id="job_tile_image",
        parameters=CACHED,
        responses={(200, PNG): OpenApiTypes.BINARY, 304: None, 409: NOT_READY},
    )
    def get(self, request: Request, id: UUID, row: int, col: int) -> HttpResponseBase:
        """Fetch one tile's picture as soon as it is done; row 0 is at the lowest y."""
        job = _pictured(request, id)
        return _tile_picture(request, job, _tile(job, row, col))


def _tile_picture(request: Request, job: Job, tile: int) -> HttpResponseBase:
    """From the range that a node sent, or, where the manager paints, from the row that it painted in the end."""
    if job.is_painted_here:
        name, path = job.pk, jobs.files(_completed(job)).painted_row(tile // job.tile_cols)
    else:
        name = _done_lease(job, tile)
        path = jobs.files(job).range(name)
    content = _kept(lambda: bundle.tile_png(path, tile, job.grid))
    return ranged.serve_bytes(request, content, PNG, f'"{name}-{tile}"')


class JobTileArray(_Result):
    query = ("output",)

    @extend_schema(
        operation_id="job_tile_array",
        parameters=[
            *CACHED,
            OpenApiParameter("output", str, enum=ARRAYS, description="By default what the job was asked for."),
        ],
        responses={
            (200, NPY): OpenApiTypes.BINARY,
            304: None,
            409: NOT_READY,
            422: OpenApiResponse(description="No such output."),
        },
    )
    def get(self, request: Request, id: UUID, row: int, col: int) -> HttpResponseBase:
        """Fetch one tile's numbers as soon as it is done; row 0 is at the lowest y."""
        job = job_of(request, id)
        tile, kind = _tile(job, row, col), _array_kind(request, job)
        lease = _done_lease(job, tile)
        values = _kept(lambda: bundle.tile_array(jobs.files(job).range(lease), tile, kind, job.grid))
        file = io.BytesIO()
        np.save(file, values, allow_pickle=False)
        return ranged.serve_bytes(request, file.getvalue(), NPY, f'"{lease}-{tile}-{kind}"')


def _array_kind(request: Request, job: Job) -> str:
    given = [kind for kind in ARRAYS if kind in job.outputs]
    kind = request.query_params.get("output", given[0] if given else "counts")
    if kind not in ARRAYS:
        raise Invalid("output", f"Must be one of {', '.join(ARRAYS)}.")
    if kind not in given:
        raise NotFound(f"This job was not asked for {kind}.")
    return kind


def _tile(job: Job, row: int, col: int) -> int:
    if row >= job.tile_rows or col >= job.tile_cols:
        raise NotFound(f"The job has {job.tile_rows} x {job.tile_cols} tiles.")
    return row * job.tile_cols + col


def _done_lease(job: Job, tile: int) -> UUID:
    lease = (
        Lease.objects.filter(job=job, state=LeaseState.DONE, start__lte=tile, stop__gt=tile)
        .order_by("-start")
        .values_list("pk", flat=True)
        .first()
    )
    if lease is None:
        raise NotReady("The tile is not done yet.")
    return lease


def _kept(read: Any) -> Any:
    try:
        return read()
    except FileNotFoundError:
        raise NotReady("The tile's range is no longer kept.") from None


class JobRange(_Result):
    @extend_schema(
        operation_id="job_range",
        parameters=IN_PARTS,
        responses=file_responses(BUNDLE, "The header and the pictures of a bundle."),
    )
    def get(self, request: Request, id: UUID, lease: UUID) -> HttpResponseBase:
        """Fetch a finished range in one piece: every tile's picture, reduced where the whole is large."""
        job = job_of(request, id)
        state = job.leases.filter(pk=lease).values_list("state", flat=True).first()
        if state is None:
            raise NotFound(f"The job has no range {lease}.")
        if state != LeaseState.DONE:
            raise NotReady("The range is not done yet.")
        path = jobs.files(job).range(lease)
        length = _kept(lambda: bundle.display_slice(path))
        return ranged.serve_file(request, path, BUNDLE, caching=ranged.FOREVER, length=length)


class TimelineEntrySerializer(serializers.Serializer[Any]):
    """A range of tiles and the node that had it."""

    id = serializers.UUIDField()
    start = serializers.IntegerField(help_text="The first tile.")
    stop = serializers.IntegerField(help_text="The tile after the last one.")
    node = serializers.UUIDField()
    node_name = serializers.CharField()
    hostname = serializers.CharField(allow_blank=True)
    site = serializers.CharField()
    color = serializers.CharField()
    state = serializers.CharField(help_text=", ".join(LeaseState))
    reason = serializers.CharField(allow_blank=True)
    decision = serializers.CharField(help_text="Why this node got this work.")
    copy = serializers.BooleanField(help_text="Another node had these tiles already, and took long.")
    warm = serializers.BooleanField(help_text="The node held the model already.")
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    render_ms = serializers.FloatField()
    size_bytes = serializers.IntegerField()


class TimelineSerializer(serializers.Serializer[Any]):
    leases = TimelineEntrySerializer(many=True)


class JobTimeline(_Result):
    @extend_schema(operation_id="job_timeline", responses=TimelineSerializer)
    def get(self, request: Request, id: UUID) -> Response:
        """Show who had which tiles from when to when."""
        leases = job_of(request, id).leases.select_related("node__site").order_by("created_at", "start")
        return Response({"leases": [_entry(lease) for lease in leases.iterator(chunk_size=2000)]})


def _entry(lease: Lease) -> dict[str, Any]:
    node = lease.node
    return {
        "id": lease.pk,
        "start": lease.start,
        "stop": lease.stop,
        "node": node.pk,
        "node_name": node.name,
        "hostname": node.hostname,
        "site": node.site_id,
        "color": node.site.color,
        "state": lease.state,
        "reason": lease.reason,
        "decision": lease.decision,
        "copy": lease.decision == Reason.COPY,
        "warm": lease.warm,
        "created_at": lease.created_at,
        "finished_at": lease.finished_at,
        "render_ms": lease.render_ms,
        "size_bytes": lease.size_bytes,
    }


class JobEvents(_Result):
    query = ("last_event_id",)

    @extend_schema(
        operation_id="job_events",
        parameters=LAST_EVENT,
        responses={
            (200, EVENT_STREAM): OpenApiResponse(
                OpenApiTypes.STR,
                "`state`, `tiles` and `log` with the number of the event as `id`; `progress` without one; "
                "`end` when the job is over.",
            ),
            422: OpenApiResponse(description="The last id is not a number."),
        },
    )
    def get(self, request: Request, id: UUID) -> StreamingHttpResponse | HttpResponse:
        """Follow a job, from its beginning or from the last event seen (Server-Sent Events)."""
        return streams.job_events(request, job_of(request, id).pk)
