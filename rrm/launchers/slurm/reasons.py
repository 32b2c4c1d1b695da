"""Why a job waits, in words: Slurm's reasons, those that people meet."""

from __future__ import annotations

import re

from rrm.launchers.base import NEVER

_NEVER = f"{NEVER}: "
_WORDS = {
    "None": "The scheduler has not looked at its job yet.",
    "Resources": "Waits for machines to become free.",
    "Priority": "Waits behind jobs of higher priority.",
    "Dependency": "Waits for another job.",
    "DependencyNeverSatisfied": f"{_NEVER}the job that it waits for failed.",
    "BeginTime": "Its start time has not come yet.",
    "Cleaning": "Is being put back into the queue.",
    "FedJobLock": "Waits for the clusters of the federation to agree.",
    "JobArrayTaskLimit": "Waits for other tasks of its array.",
    "JobHeldAdmin": f"{_NEVER}an administrator holds its job.",
    "JobHeldUser": f"{_NEVER}its job is held; `scontrol release` lets it go.",
    "Licenses": "Waits for a licence.",
    "NodeDown": "A machine that it needs is down.",
    "PartitionDown": "Its partition is down.",
    "PartitionInactive": "Its partition takes no jobs at present.",
    "PartitionConfig": f"{_NEVER}its partition cannot give what it asks for.",
    "PartitionNodeLimit": f"{_NEVER}it asks for more machines than its partition allows, or machines are down.",
    "PartitionTimeLimit": f"{_NEVER}it asks for more time than its partition allows.",
    "BadConstraints": f"{_NEVER}no machine has what it asks for.",
    "AccountNotAllowed": f"{_NEVER}its account may not use its partition.",
    "AccountingPolicy": "Waits for a limit of its account.",
    "InvalidAccount": f"{_NEVER}its account is not known.",
    "InvalidQOS": f"{_NEVER}its quality of service is not known.",
    "QOSNotAllowed": f"{_NEVER}its quality of service may not be used there.",
    "Reservation": "Waits for its reservation to begin.",
    "ReservationDeleted": f"{_NEVER}its reservation was deleted.",
    "ReqNodeNotAvail": "Machines that it asks for are not available",
    "FrontEndDown": "The cluster's front end is down.",
    "Prolog": "Its machines are being made ready.",
    "SchedDefer": "The scheduler starts jobs later, in its own time.",
    "SystemFailure": f"{_NEVER}the system failed.",
    "LaunchFailedRequeuedHeld": f"{_NEVER}its launch failed, and its job is held.",
    "launch_failed_requeued_held": f"{_NEVER}its launch failed, and its job is held.",
    "JobHoldMaxRequeue": f"{_NEVER}it was put back into the queue too often.",
    "OutOfMemory": "Ran out of memory before.",
    "BurstBufferResources": "Waits for room in the burst buffer.",
    "BurstBufferStageIn": "Its files are being copied to the burst buffer.",
    "MaxRequeue": f"{_NEVER}it was put back into the queue too often.",
    "PowerNotAvail": "Waits for electric power.",
    "PowerReserved": "Waits for electric power that is reserved.",
    "QOSUsageThreshold": "Its quality of service has used up its share.",
    "DeadLine": f"{_NEVER}its deadline cannot be met.",
    "ResourcesLimit": "Waits for a limit of its account.",
}
_LIMITS = re.compile(r"(Assoc|Association|QOS|Max|User)\w*(Limit|Per\w+|Minutes|Jobs?|Cpu|CPU|Node|Mem)\w*")


def pending_reason(reason: str) -> str:
    """Slurm's reason in a sentence; one that is not known here is shown as it is."""
    reason = reason.strip().strip("()")
    word, _, rest = (part.strip() for part in reason.partition(","))
    if word in _WORDS:
        sentence = _WORDS[word]
        return sentence if sentence.endswith(".") else f"{sentence}{f' ({rest})' if rest else ''}."
    if _LIMITS.fullmatch(word):
        return f"Waits for a limit of its account or quality of service ({reason})."
    return f"Slurm's reason: {reason}." if reason else ""
