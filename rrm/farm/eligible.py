"""Where the tiles of a job may be rendered: at the sites it names, if they can do what it requires.

Read anew for each decision and stored nowhere, so that work follows when a site's capabilities change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import F, Q, TextField, Value
from django.db.models.functions import Replace
from django.db.models.lookups import Exact

from rrm.domain import capabilities
from rrm.errors import Invalid
from rrm.farm.models import Resource, ResourceSite, Site

Offers = Mapping[str, Sequence[str]]
"""What each site can do."""


def at(site: Site) -> Q:
    """Of what has a `job`: what nodes at the site may render."""
    is_named = Q(job__site_index="") | Q(job__site_index__contains=f"|{site.pk}|")
    return is_named & (Q(job__requires_index="") | _is_met(site.capabilities))


def _is_met(offered: Sequence[str]) -> Q:
    left: Any = F("job__requires_index")
    for tag in offered:
        left = Replace(left, Value(f"|{tag}|"), Value(""), output_field=TextField())
    return Q(Exact(left, Value(""))) if offered else Q()


def offers() -> Mapping[str, Offers]:
    """What the sites of each resource can do."""
    found: dict[str, dict[str, Sequence[str]]] = {}
    places = ResourceSite.objects.order_by().values_list("resource", "site", "site__capabilities")
    for resource, site, offered in places:
        found.setdefault(resource, {})[site] = offered
    return found


def check(resource: Resource, named: Sequence[Site], enabled: Sequence[Site], requires: Sequence[str]) -> None:
    """Raises Invalid if a site that an order names lacks what it requires or, where it names none, all sites do."""
    if not requires:
        return
    sites = named or enabled
    unable = [site for site in sites if capabilities.lacking(requires, site.capabilities)]
    said = " ".join(_said(site, requires) for site in unable)
    if named and unable:
        raise Invalid("sites", said)
    if len(unable) == len(sites):
        wanted = capabilities.listed(requires)
        raise Invalid("requires", f"No enabled site of the resource {resource.pk!r} offers {wanted}. {said}".rstrip())


def _said(site: Site, requires: Sequence[str]) -> str:
    lacks = capabilities.listed(capabilities.lacking(requires, site.capabilities))
    offers = capabilities.listed(site.capabilities) if site.capabilities else "nothing"
    return f"{site.pk} lacks {lacks}; it offers {offers}."
