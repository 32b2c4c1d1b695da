"""The farm in numbers for Prometheus, read from the database when asked: all web processes say the same."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count, Sum
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rrm.api import hub
from rrm.domain.states import JobState, LeaseState, SessionState
from rrm.farm import blocking
from rrm.farm.models import Job, Lease, Node, RenderModel, Session, Site
from rrm.farm.snapshot import loops
from rrm.gateway.slots import traffic


class FarmCollector(Collector):
    """A constant number of queries for each collection."""

    def collect(self) -> Iterator[Metric]:
        yield from _nodes()
        yield from _jobs()
        yield GaugeMetricFamily(
            "rrm_leases_active", "Ranges that nodes hold.", Lease.objects.filter(state=LeaseState.ACTIVE).count()
        )
        yield GaugeMetricFamily("rrm_sse_listeners", "Open event streams of this process.", hub.listeners())
        yield from _faults()
        yield from _sessions()
        yield from _gateway()
        yield from _sites()
        yield from _loops()


def _sessions() -> Iterator[Metric]:
    sessions = GaugeMetricFamily("rrm_sessions", "Sessions by state.", labels=["state"])
    counts = dict(Session.objects.order_by().values_list("state").annotate(Count("id")))
    for state in SessionState:
        sessions.add_metric([state], counts.get(state, 0))
    yield sessions


def _faults() -> Iterator[Metric]:
    """Who is given no work at present, and which ranges two nodes render."""
    now = timezone.now()
    blocks = GaugeMetricFamily("rrm_blocks", "Nodes and machines that are blocked, by site.", labels=["site"])
    counted = dict(blocking.in_force(now).order_by().values_list("site").annotate(Count("id")))
    for site in Site.objects.values_list("pk", flat=True):
        blocks.add_metric([site], counted.get(site, 0))
    quarantined = RenderModel.objects.filter(quarantined_until__gt=now).count()
    copies = Lease.objects.filter(state=LeaseState.ACTIVE, is_copy=True).count()
    yield blocks
    yield GaugeMetricFamily("rrm_copies_active", "Second copies of slow ranges under way.", copies)
    yield GaugeMetricFamily("rrm_models_quarantined", "Models that no node is asked to load.", quarantined)


def _gateway() -> Iterator[Metric]:
    """What this process has carried between people and the nodes of their sessions."""
    requests = CounterMetricFamily("rrm_gateway_requests", "Exchanges with nodes that began.", labels=["kind"])
    streams = GaugeMetricFamily("rrm_gateway_open_streams", "Exchanges with nodes under way.", labels=["kind"])
    for kind in ("http", "websocket"):
        requests.add_metric([kind], traffic.requests[kind])
        streams.add_metric([kind], traffic.open[kind])
    carried = CounterMetricFamily("rrm_gateway_bytes", "Content of requests and answers.", labels=["direction"])
    for direction in ("to_node", "to_client"):
        carried.add_metric([direction], traffic.bytes[direction])
    yield from (requests, streams, carried)
    yield CounterMetricFamily("rrm_gateway_refused", "Exchanges for which there was no room.", traffic.refused)


def _sites() -> Iterator[Metric]:
    """What the connections to sites over SSH cost; their administrators count the same."""
    connections = CounterMetricFamily("rrm_site_connections", "SSH connections opened to a site.", labels=["site"])
    channels = CounterMetricFamily("rrm_site_channels", "Commands and streams on them.", labels=["site"])
    failures = CounterMetricFamily("rrm_site_failures", "Connections that failed or broke.", labels=["site"])
    up = GaugeMetricFamily("rrm_site_up", "Whether the site can be used at present.", labels=["site"])
    for site in Site.objects.exclude(kind=Site.Kind.LOCAL):
        for metric, name in ((connections, "connections"), (channels, "channels"), (failures, "failures")):
            metric.add_metric([site.pk], site.traffic.get(name, 0))
        up.add_metric([site.pk], 0 if site.problem else 1)
    yield from (connections, channels, failures, up)


def _nodes() -> Iterator[Metric]:
    nodes = GaugeMetricFamily("rrm_nodes", "Nodes by site and state.", labels=["site", "state"])
    tiles = CounterMetricFamily("rrm_tiles_done", "Tiles rendered, by site.", labels=["site"])
    busy = CounterMetricFamily("rrm_node_busy_seconds", "Time spent rendering, by site.", labels=["site"])
    sums: dict[str, tuple[int, float]] = {}
    for row in (
        Node.objects.order_by()
        .values("site", "state")
        .annotate(count=Count("id"), tiles=Sum("tiles_done"), busy=Sum("busy_seconds"))
    ):
        nodes.add_metric([row["site"], row["state"]], row["count"])
        done, spent = sums.get(row["site"], (0, 0.0))
        sums[row["site"]] = done + row["tiles"], spent + row["busy"]
    for site, (done, spent) in sums.items():
        tiles.add_metric([site], done)
        busy.add_metric([site], spent)
    yield from (nodes, tiles, busy)


def _jobs() -> Iterator[Metric]:
    jobs = GaugeMetricFamily("rrm_jobs", "Jobs by state.", labels=["state"])
    warm = cold = 0
    counts = dict.fromkeys(JobState, 0)
    rows = Job.objects.order_by().values("state").annotate(count=Count("id"), warm=Sum("warm_hits"), cold=Sum("loads"))
    for row in rows:
        counts[JobState(row["state"])] = row["count"]
        warm, cold = warm + row["warm"], cold + row["cold"]
    for state, count in counts.items():
        jobs.add_metric([state], count)
    yield jobs
    yield CounterMetricFamily("rrm_warm_hits", "Ranges given to a node that held the model.", warm)
    yield CounterMetricFamily("rrm_model_loads", "Ranges for which a node had to load the model.", cold)
    yield GaugeMetricFamily("rrm_hit_rate", "Share of warm ranges.", warm / (warm + cold) if warm + cold else 0.0)


def _loops() -> Iterator[Metric]:
    ages = GaugeMetricFamily("rrm_loop_age_seconds", "Time since each loop last came through.", labels=["loop"])
    for loop in loops(timezone.now()):
        if loop["age_seconds"] is not None:
            ages.add_metric([loop["name"]], loop["age_seconds"])
    yield ages
