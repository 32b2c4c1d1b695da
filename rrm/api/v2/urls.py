"""Every address under the prefix of version 2."""

from __future__ import annotations

from django.urls import path, re_path, register_converter
from django.urls.converters import UUIDConverter

from rrm.api.v2 import (
    agent,
    blocks,
    docs,
    events,
    farm,
    jobs,
    models,
    nodes,
    preloads,
    quotas,
    resources,
    results,
    sessions,
    sites,
    tokens,
)
from rrm.api.views import elsewhere


class SlugConverter:
    """An id that people write; upper case is the same as lower case."""

    regex = "[A-Za-z0-9][A-Za-z0-9_.-]*"

    def to_python(self, value: str) -> str:
        return value.lower()

    def to_url(self, value: str) -> str:
        return value


class IdConverter(UUIDConverter):
    """A UUID in either case."""

    regex = "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"


class IndexConverter:
    """A row, a column, a level: few enough digits for every integer type."""

    regex = "[0-9]{1,7}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)


class DigestConverter(SlugConverter):
    regex = "[0-9a-f]{64}"


register_converter(SlugConverter, "name")
register_converter(IdConverter, "id")
register_converter(IndexConverter, "index")
register_converter(DigestConverter, "digest")

urlpatterns = [
    path("site/", sites.Sites.as_view()),
    path("site/<name:id>/", sites.SiteDetail.as_view()),
    path("site/<name:id>/check", sites.SiteCheck.as_view()),
    path("site/<name:id>/accept-host-key", sites.SiteAcceptHostKey.as_view()),
    path("resource/", resources.Resources.as_view()),
    path("resource/<name:id>/", resources.ResourceDetail.as_view()),
    path("resource/<name:id>/script", resources.ResourceScript.as_view()),
    path("node/", nodes.Nodes.as_view()),
    path("node/<id:id>/", nodes.NodeDetail.as_view()),
    path("node/<id:id>/drain", nodes.NodeDrain.as_view()),
    path("node/<id:id>/stop", nodes.NodeStop.as_view()),
    path("node/<id:id>/log", nodes.NodeLog.as_view()),
    path("block/", blocks.Blocks.as_view()),
    path("block/<index:id>/", blocks.BlockDetail.as_view()),
    path("model/", models.Models.as_view()),
    path("model/<name:ref>/", models.ModelDetail.as_view()),
    path("model/<name:ref>/preload", preloads.ModelPreload.as_view()),
    path("job/", jobs.Jobs.as_view()),
    path("job/<id:id>/", jobs.JobDetail.as_view()),
    path("job/<id:id>/cancel", jobs.JobCancel.as_view()),
    path("job/<id:id>/pause", jobs.JobPause.as_view()),
    path("job/<id:id>/resume", jobs.JobResume.as_view()),
    path("job/<id:id>/retry", jobs.JobRetry.as_view()),
    path("job/<id:id>/recolor", jobs.JobRecolor.as_view()),
    path("job/<id:id>/image.png", results.JobImage.as_view()),
    path("job/<id:id>/counts.npy", results.JobCounts.as_view()),
    path("job/<id:id>/smooth.npy", results.JobSmooth.as_view()),
    path("job/<id:id>/smooth.tiff", results.JobTiff.as_view()),
    path("job/<id:id>/smooth.exr", results.JobExr.as_view()),
    path("job/<id:id>/image16.png", results.JobFinePng.as_view()),
    path("job/<id:id>/image.webp", results.JobWebp.as_view()),
    path("job/<id:id>/pyramid.dzi", results.JobPyramid.as_view()),
    path("job/<id:id>/pyramid_files/<index:level>/<index:col>_<index:row>.png", results.JobPyramidTile.as_view()),
    path("job/<id:id>/tile/<index:row>/<index:col>.png", results.JobTilePng.as_view()),
    path("job/<id:id>/tile/<index:row>/<index:col>.npy", results.JobTileArray.as_view()),
    path("job/<id:id>/range/<id:lease>", results.JobRange.as_view()),
    path("job/<id:id>/timeline", results.JobTimeline.as_view()),
    path("job/<id:id>/events", results.JobEvents.as_view()),
    path("session/", sessions.Sessions.as_view()),
    path("session/<id:id>/", sessions.SessionDetail.as_view()),
    path("session/<id:id>/keepalive", sessions.SessionKeepalive.as_view()),
    path("session/<id:id>/extend", sessions.SessionExtend.as_view()),
    path("session/<id:id>/log", sessions.SessionLog.as_view()),
    path("session/<id:id>/job", sessions.SessionJob.as_view()),
    path("session/<id:id>/events", sessions.SessionEvents.as_view()),
    path("session/<id:id>/proxy/<path:path>", sessions.SessionProxyPlace.as_view()),
    path("quota/", quotas.Quotas.as_view()),
    path("quota/me", quotas.MyQuota.as_view()),
    path("quota/user/<str:username>", quotas.QuotaDetail.as_view()),
    path("token/", tokens.Tokens.as_view()),
    path("token/<id:id>/", tokens.TokenDetail.as_view()),
    path("event/", events.Events.as_view()),
    path("farm/", farm.Farm.as_view()),
    path("farm/suspend", farm.FarmSuspend.as_view()),
    path("farm/resume", farm.FarmResume.as_view()),
    path("farm/events", farm.FarmEvents.as_view()),
    path("palette/", farm.Palettes.as_view()),
    path("me/", farm.Me.as_view()),
    path("node-agent/register", agent.Register.as_view()),
    path("node-agent/heartbeat", agent.Heartbeat.as_view()),
    path("node-agent/lease", agent.LeaseRequest.as_view()),
    path("node-agent/lease/<id:id>", agent.LeaseResult.as_view()),
    path("node-agent/lease/<id:id>/fail", agent.LeaseFailure.as_view()),
    path("node-agent/goodbye", agent.Goodbye.as_view()),
    path("node-agent/model/<digest:digest>", agent.AgentModel.as_view()),
    path("node-agent/model/<digest:digest>/data", agent.AgentModelData.as_view()),
    path("openapi.json", docs.Description.as_view()),
    path("api-docs/", docs.Documentation.as_view()),
    re_path(r"^(?P<rest>[\s\S]*)$", elsewhere),
]
