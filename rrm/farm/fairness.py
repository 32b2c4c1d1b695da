"""Whose turn it is: what each owner of jobs had of the farm, and the rounds that follow (`domain.fairness`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from django.conf import settings
from django.db.models import Case, Count, F, When

from rrm.domain.fairness import MOST_CHARGED, entry_charge, round_of, sound
from rrm.domain.states import JOB_FINAL, LeaseState
from rrm.farm.models import Job, Lease, Quota

_NOBODY: Mapping[str, int] = {}


def rounds(owners: Collection[int]) -> Mapping[str, int]:
    """The round of each owner, what nodes do for them at this moment included; asked for only when owners compete.

    Two queries by index; none of them looks at finished work.
    """
    if len(owners) < 2:
        return _NOBODY
    shares = {quota.owner_id: quota for quota in Quota.objects.filter(owner__in=owners)}
    active = Lease.objects.filter(state=LeaseState.ACTIVE, job__owner__in=owners).order_by().values_list("job__owner")
    expected = settings.RRM.lease_target.total_seconds()
    owed = {owner: leases * expected for owner, leases in active.annotate(Count("pk"))}
    return {str(owner): _round(shares.get(owner), owed.get(owner, 0.0)) for owner in owners}


def _round(quota: Quota | None, owed: float) -> int:
    return round_of(sound(quota.charged_seconds) + owed, quota.weight) if quota else round_of(owed)


def charge(lease: Lease, cores: int) -> None:
    """Count a finished lease as had by its job's owner, with the load that it was the reason of.

    To be called after the commit of the result: it is one statement on a row that all nodes at work for the owner
    write to, which nobody should keep locked. Dying before it costs fairness one lease.
    """
    job = lease.job
    load = 0.0 if lease.warm else job.model.load_seconds or 0.0
    seconds = sound(lease.render_ms / 1000 / max(cores, 1) + load)
    # What is stored and cannot be reckoned with is forgotten. Comparisons with what is no number are false.
    is_sound = When(charged_seconds__lt=MOST_CHARGED, then=F("charged_seconds") + seconds)
    Quota.objects.filter(owner=job.owner_id).update(charged_seconds=Case(is_sound, default=seconds))


def join(quota: Quota) -> None:
    """Let an owner in whose first unfinished job comes now: nobody saves up turns by not asking.

    `quota` is locked by the caller, in whose transaction the job is stored.
    """
    unfinished = Job.objects.exclude(state__in=JOB_FINAL)
    if unfinished.filter(owner=quota.owner_id).exists():
        return
    others = Quota.objects.filter(owner__in=unfinished.order_by().values("owner")).values_list(
        "charged_seconds", "weight"
    )
    entered = entry_charge(quota.charged_seconds, quota.weight, list(others))
    if entered != quota.charged_seconds:
        Quota.objects.filter(pk=quota.pk).update(charged_seconds=entered)
