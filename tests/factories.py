"""Rows for tests, complete and plausible; each call makes what it says and nothing else."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from rrm.domain.states import NODE_GONE, JobState, LeaseState, NodeState
from rrm.farm import catalog, nodes, reports, tokens
from rrm.farm.models import Job, JobShare, Lease, Node, Preload, RenderModel, Resource, ResourceSite, Site
from rrm.farm.transitions import record

API = "/rendering-resource-manager/v2/"
VIEW: dict[str, Any] = {"center": [-0.5, 0], "radius": 1.25, "max_iter": 64}

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Caller:
    """Sends requests below the API's prefix, with or without credentials."""

    secret: str = ""
    scheme: str = "Bearer"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"{self.scheme} {self.secret}"} if self.secret else {}

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The response to one request; `body` is sent as JSON, bytes as they are."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return Client().generic(
            method,
            path if path.startswith("/") else API + path,
            data=body if isinstance(body, bytes) else b"" if body is None else _json(body),
            content_type=sent.pop("Content-Type", "application/json"),
            headers={**self.headers, **sent},
        )

    def get(self, path: str, **headers: str) -> Any:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.call("POST", path, body, **headers)

    def patch(self, path: str, body: Any) -> Any:
        return self.call("PATCH", path, body)

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path)


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()


def person(name: str = "", *, is_operator: bool = False) -> User:
    return User.objects.create_user(name or f"user{next(_numbers)}", is_staff=is_operator)


def caller(user: User, *scopes: str) -> Caller:
    """Somebody with a token of these scopes; by default all that the user may have."""
    most = ("read", "render", "operate") if user.is_staff else ("read", "render")
    return Caller(tokens.issue(user, "test", scopes or most)[1])


def site(name: str = "", **fields: Any) -> Site:
    return Site.objects.create(id=name or f"site{next(_numbers)}", **{"max_nodes": 100, **fields})


def resource(*sites: Site, name: str = "", **fields: Any) -> Resource:
    row = Resource.objects.create(id=name or f"resource{next(_numbers)}", **{"max_nodes": 100, **fields})
    for position, place in enumerate(sites):
        ResourceSite.objects.create(resource=row, site=place, position=position)
    return row


def render_model(**params: Any) -> RenderModel:
    return catalog.render_model("mandelbrot", {**VIEW, **params})[0]


def preload(owner: User, on: Resource, model: RenderModel | None = None, count: int = 1) -> Preload:
    until = timezone.now() + timedelta(hours=1)
    return Preload.objects.create(model=model or render_model(), resource=on, owner=owner, nodes=count, until=until)


def node(of: Resource, at: Site, state: NodeState = NodeState.IDLE, **fields: Any) -> Node:
    """A node that has checked in, unless the fields say otherwise."""
    now = timezone.now()
    number = next(_numbers)
    return Node.objects.create(
        name=f"rrm-{number:010x}",
        resource=of,
        site=at,
        **{
            "state": state,
            "token_digest": "" if state in NODE_GONE else tokens.digest_of(f"node {number}"),
            "last_heartbeat": now,
            "started_at": now,
            "hostname": f"host{number}",
            **fields,
        },
    )


def registered_node(of: Resource, at: Site) -> tuple[Node, Caller]:
    """A node that went through its check-in, and its credentials."""
    row = nodes.request_node(of, at, "test")
    answer = reports.register(nodes.launch_token(row.name), {"node": row.name, "hostname": "host", "cores": 2})
    row.refresh_from_db()
    return row, Caller(answer["token"])


def job(owner: User, on: Resource, **fields: Any) -> Job:
    """A job of 4 x 4 tiles with its first event, in whatever state."""
    row = Job.objects.create(
        **{
            "owner": owner,
            "resource": on,
            "model": fields.pop("model", None) or render_model(),
            "width": 64,
            "height": 64,
            "tile_size": 16,
            "tile_cols": 4,
            "tile_rows": 4,
            "tiles": 16,
            "outputs": ["png"],
            "view": {"x0": -1.75, "y0": -1.25, "dx": 0.04, "dy": 0.04},
            **fields,
        }
    )
    JobShare.objects.create(job=row, start=0, stop=16, cursor=0)
    record(row, "state", {"state": str(row.state), "reason": "", "name": row.name})
    row.refresh_from_db()
    return row


def lease(of: Job, to: Node, tiles: tuple[int, int] = (0, 4), state: LeaseState = LeaseState.DONE) -> Lease:
    now = timezone.now()
    share = of.shares.first()
    assert share is not None
    return Lease.objects.create(
        job=of,
        share=share,
        node=to,
        start=tiles[0],
        stop=tiles[1],
        state=state,
        decision="no-holder",
        deadline=now + timedelta(seconds=15),
        finished_at=now if state != LeaseState.ACTIVE else None,
        render_ms=12.5,
    )


def running_job(owner: User, on: Resource, by: Node) -> Job:
    """A job with four tiles done and four being rendered."""
    row = job(owner, on, state=JobState.RUNNING, started_at=timezone.now(), tiles_done=4)
    lease(row, by, (0, 4))
    lease(row, by, (4, 8), LeaseState.ACTIVE)
    return row


def content(response: Any) -> bytes:
    """The whole body; that of an endless stream is not read."""
    if not response.streaming:
        return bytes(response.content)
    return b"" if response.is_async else b"".join(response.streaming_content)


def problem(response: Any, status: int, code: str) -> Mapping[str, Any]:
    """The problem document of a refusal, after checking that it is one."""
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"urn:rrm:problem:{code}"
    assert body["title"]
    assert "detail" in body
    return body
