"""How many nodes each resource should have, where to launch more and which to let go.

want = ceil(work in node-seconds / drain time), at most the number of ranges that could run at once, plus sessions and
standby, within [min, max]. Differences within the tolerance change nothing. Up: at once from zero and for people, else
within two periods; a few nodes more are not started soon after some were let go. Down: to the most that was wanted
during the window, and only idle nodes past the idle timeout; the last few only if some were idle most of the time. What
one plan must remember for the next goes in and comes out as `History`: instants, so that any process can make the next.

`facts` are the words of it, `wants` how many nodes, `weighing` what follows from that, `places` where to launch,
`leaving` what to let go, `beyond` what a limit does not allow any more, `plans` the plan of one resource, `sharing`
that of all, which share sites; `backoff`, `lifetimes` and `warming` stand for themselves, `sentences` says it all to
people.
"""

from rrm.domain.autoscaling.backoff import launch_failed, launch_succeeded
from rrm.domain.autoscaling.facts import (
    DOWN_WINDOW,
    FAILURES_ALLOWED,
    LONGEST_BACKOFF,
    TOLERANCE,
    UP_PERIODS,
    Demand,
    History,
    Limits,
    ModelWork,
    Need,
    Phase,
    Plan,
    Reckoning,
    SiteRoom,
    SupplyNode,
    Work,
)
from rrm.domain.autoscaling.plans import plan
from rrm.domain.autoscaling.sharing import Pool, plan_farm

__all__ = [
    "DOWN_WINDOW",
    "FAILURES_ALLOWED",
    "LONGEST_BACKOFF",
    "TOLERANCE",
    "UP_PERIODS",
    "Demand",
    "History",
    "Limits",
    "ModelWork",
    "Need",
    "Phase",
    "Plan",
    "Pool",
    "Reckoning",
    "SiteRoom",
    "SupplyNode",
    "Work",
    "launch_failed",
    "launch_succeeded",
    "plan",
    "plan_farm",
]
