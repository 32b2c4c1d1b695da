"""Jobs: ordering an image, following it, and changing one's mind."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

import django_filters
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api.auth import Scope, access
from rrm.api.filters import Filters, OneOf
from rrm.api.schema import LOCATION
from rrm.api.v2.job_body import (
    JobChangeSerializer,
    JobOrderSerializer,
    JobSerializer,
    RecolorSerializer,
    body_of,
    job_bodies,
    jobs_of,
)
from rrm.api.v2.locations import at
from rrm.api.views import ApiView, ListView, refuse_fields
from rrm.domain.orders import PRIORITIES
from rrm.domain.states import JobState
from rrm.errors import Invalid, NotFound
from rrm.farm import jobs, recoloring
from rrm.farm.models import Job

logger = logging.getLogger(__name__)

_LONGEST_KEY = 255
_IDEMPOTENT = [
    OpenApiParameter(
        "Idempotency-Key",
        str,
        OpenApiParameter.HEADER,
        description="The same order sent again with the same key is the same job.",
    ),
    LOCATION,
    OpenApiParameter(
        "Idempotency-Replayed",
        str,
        OpenApiParameter.HEADER,
        response=[202],
        description="`true` when the key had made this job before.",
    ),
]
_CONFLICT = OpenApiResponse(description="`state-conflict`: the present state does not allow this.")


class JobFilters(Filters):
    state = OneOf(JobState)
    owner = django_filters.CharFilter(field_name="owner__username")
    resource = django_filters.CharFilter(field_name="resource_id")
    model = django_filters.UUIDFilter(field_name="model_id")
    priority = OneOf(PRIORITIES)
    name = django_filters.CharFilter(lookup_expr="icontains")


def job_of(request: Request, id: UUID) -> Job:
    """The job of this id, if the caller may see it. Raises NotFound."""
    job = jobs_of(access(request)).filter(pk=id).first()
    if job is None:
        raise NotFound(f"There is no job {id}.")
    return job


def _body(request: Request, id: UUID) -> dict[str, Any]:
    return job_bodies([job_of(request, id)], timezone.now())[0]


class Jobs(ListView):
    scopes = {"GET": Scope.READ, "POST": Scope.RENDER}
    queryset = Job.objects.all()
    filterset_class = JobFilters
    serializer_class = JobSerializer
    ordering_fields = ("-created_at", "state", "name")

    @extend_schema(operation_id="job_list", responses=JobSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List your jobs (everybody's, for operators), the newest first."""
        return self.page(jobs_of(access(request)))

    def serialize(self, rows: Any) -> Any:
        return job_bodies(rows, timezone.now())

    @extend_schema(
        operation_id="job_create",
        parameters=_IDEMPOTENT,
        request=JobOrderSerializer,
        responses={202: JobSerializer},
    )
    def post(self, request: Request) -> Response:
        """Order an image."""
        return _accepted(request, *jobs.submit(access(request).user, request.data, key=_key(request)))


def _accepted(request: Request, job: Job, is_new: bool) -> Response:
    headers = {"Location": at("job", job.pk), **({} if is_new else {"Idempotency-Replayed": "true"})}
    return Response(_told(request, job), status=202, headers=headers)


def _told(request: Request, job: Job) -> dict[str, Any]:
    """The body of a job that is stored. That it is must be said, whatever fails: who hears of an error orders again."""
    try:
        return _body(request, job.pk)
    except Exception:
        logger.exception("Job %s is stored; why it waits cannot be told", job.pk)
        return body_of(job, timezone.now())


def _key(request: Request) -> str:
    key = str(request.META.get("HTTP_IDEMPOTENCY_KEY", ""))
    if len(key) > _LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise Invalid("Idempotency-Key", f"Must be at most {_LONGEST_KEY} printable ASCII characters.")
    return key


class JobDetail(ApiView):
    scopes = {"GET": Scope.READ, "PATCH": Scope.RENDER, "DELETE": Scope.RENDER}

    @extend_schema(operation_id="job_retrieve", responses=JobSerializer)
    def get(self, request: Request, id: UUID) -> Response:
        """Show a job."""
        return Response(_body(request, id))

    @extend_schema(operation_id="job_update", request=JobChangeSerializer, responses=JobSerializer)
    def patch(self, request: Request, id: UUID) -> Response:
        """Change a job's name or priority."""
        jobs.edit(job_of(request, id), dict(request.data), access(request).user.get_username())
        return Response(_body(request, id))

    @extend_schema(operation_id="job_delete", responses={204: None, 409: _CONFLICT})
    def delete(self, request: Request, id: UUID) -> Response:
        """Delete a finished job and its files."""
        jobs.delete(job_of(request, id), access(request).user.get_username())
        return Response(status=204)


class _JobAction(ApiView):
    scopes = {"POST": Scope.RENDER}
    use_case: staticmethod[[Job, str], None]

    def act(self, request: Request, id: UUID) -> Response:
        refuse_fields(request)
        self.use_case(job_of(request, id), access(request).user.get_username())
        return Response(_body(request, id))


class JobCancel(_JobAction):
    use_case = staticmethod(jobs.cancel)

    @extend_schema(operation_id="job_cancel", request=None, responses={200: JobSerializer, 409: _CONFLICT})
    def post(self, request: Request, id: UUID) -> Response:
        """End a job; tiles that are done stay."""
        return self.act(request, id)


class JobPause(_JobAction):
    use_case = staticmethod(jobs.pause)

    @extend_schema(operation_id="job_pause", request=None, responses={200: JobSerializer, 409: _CONFLICT})
    def post(self, request: Request, id: UUID) -> Response:
        """Give out no more of a job's tiles until it is resumed."""
        return self.act(request, id)


class JobResume(_JobAction):
    use_case = staticmethod(jobs.resume)

    @extend_schema(operation_id="job_resume", request=None, responses={200: JobSerializer, 409: _CONFLICT})
    def post(self, request: Request, id: UUID) -> Response:
        """Go on with a paused job."""
        return self.act(request, id)


class JobRetry(_JobAction):
    use_case = staticmethod(jobs.retry)

    @extend_schema(operation_id="job_retry", request=None, responses={200: JobSerializer, 409: _CONFLICT})
    def post(self, request: Request, id: UUID) -> Response:
        """Render what a failed or cancelled job still lacks."""
        return self.act(request, id)


class JobRecolor(ApiView):
    scopes = {"POST": Scope.RENDER}

    @extend_schema(
        operation_id="job_recolor",
        parameters=_IDEMPOTENT,
        request=RecolorSerializer,
        responses={202: JobSerializer, 409: _CONFLICT},
    )
    def post(self, request: Request, id: UUID) -> Response:
        """Show a completed job in other colours, from the values that it kept: a new job without tiles to render."""
        job, user = job_of(request, id), access(request).user
        return _accepted(request, *recoloring.recolor(user, job, request.data, key=_key(request)))
