"""Runs at a site: looks at the account's folder, the scheduler and the way back to the manager. It changes nothing.

Only the standard library, and nothing that Python 3.6 does not have. The answer to a question that fails is
{"trouble": what was said}.
"""

import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

SAID = 400
FETCH = """
import sys, time, urllib.request
began = time.time()
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
asked = urllib.request.Request(sys.argv[1], headers={"Host": sys.argv[3]} if sys.argv[3] else {})
print(opener.open(asked, timeout=float(sys.argv[2])).status, round(time.time() - began, 3))
"""


def main(request: "dict[str, Any]") -> "dict[str, Any]":
    """The answer to {"op": "host" | "scheduler" | "submission" | "route", …}."""
    return OPERATIONS[request["op"]](request)


def host(request: "dict[str, Any]") -> "dict[str, Any]":
    """Who and where we are, the time there, and whether our folder can be written to."""
    folder = os.path.join(os.path.expanduser("~"), os.path.expanduser(request["folder"]))
    facts = {
        "time": time.time(),
        "hostname": socket.gethostname(),
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "python": list(sys.version_info[:3]),
        "cores": os.cpu_count() or 0,
        "folder": folder,
    }
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".check-") as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        facts["trouble"] = f"{error.filename or folder}: {error.strerror}"
        return facts
    status = os.statvfs(folder)
    facts.update(free=status.f_bavail * status.f_frsize, files=status.f_favail)
    return facts


def scheduler(request: "dict[str, Any]") -> "dict[str, Any]":
    """Slurm's version and its partitions, {name: [up or down, nodes, idle nodes]}, the default one under "default"."""
    if shutil.which("sinfo") is None or shutil.which("sbatch") is None:
        return {"trouble": "sinfo and sbatch are not on the PATH of a login without a terminal"}
    version = said_by(["sinfo", "--version"], request["limit"])
    listed = said_by(["sinfo", "--noheader", "--format=%R|%a|%F|%P|%l"], request["limit"])
    for answer in (version, listed):
        if "trouble" in answer:
            return answer
    partitions, default = {}, ""
    for line in listed["said"].splitlines():
        name, state, nodes, flagged, longest = line.split("|")
        _, idle, _, total = (int(number) for number in re.findall(r"\d+", nodes)[:4])
        partitions[name] = [state, total, idle, seconds_of(longest)]
        default = name if flagged.endswith("*") else default
    return {"version": version["said"], "partitions": partitions, "default": default}


def seconds_of(text: str) -> "int | None":
    """A duration as Slurm prints it, "1-02:03:04", "02:03:04" or "3:04"; None where there is no limit."""
    days, _, clock = text.rpartition("-")
    numbers = clock.split(":")
    if not all(number.isdigit() for number in (days or "0", *numbers)):
        return None
    seconds = 0
    for number in numbers:
        seconds = 60 * seconds + int(number)
    return 86400 * int(days or 0) + seconds


def submission(request: "dict[str, Any]") -> "dict[str, Any]":
    """What the scheduler says of a job with these options, without submitting it."""
    command = ["sbatch", "--test-only", "--job-name=rrm-check", *request["options"], "--wrap=true"]
    return said_by(command, request["limit"])


def route(request: "dict[str, Any]") -> "dict[str, Any]":
    """Fetch an address from a compute node, when one is free at once, else from here: {"where", "said"}."""
    fetch = ["-c", FETCH, request["address"], str(request["limit"]), request["known_as"]]
    if request["options"] is not None:
        patience = ["--quiet", "--immediate=3", "--ntasks=1", "--nodes=1", "--time=1", "--job-name=rrm-check"]
        command = ["srun", *request["options"], *patience, request["python"], *fetch]
        there = said_by(command, request["limit"] + 4)
        if "trouble" not in there or "Error" in there["trouble"]:
            return dict(there, where="a compute node")
    return dict(said_by([sys.executable, *fetch], request["limit"] + 2), where="the login host")


def said_by(command: "list[str]", seconds: float) -> "dict[str, Any]":
    """{"said"} or {"trouble"}: the last line that tells something. Slurm says most things on standard error."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"trouble": f"{command[0]} did not answer within {seconds:.0f} s"}
    except OSError as error:
        return {"trouble": f"{command[0]}: {error.strerror}"}
    said = (done.stdout.strip() or done.stderr.strip()) if done.returncode == 0 else done.stderr.strip()
    if done.returncode == 0:
        return {"said": said}
    lines = [line for line in said.splitlines() if line.strip()] or [f"status {done.returncode}"]
    return {"trouble": f"{command[0]}: {lines[-1][:SAID]}"}


OPERATIONS = {"host": host, "scheduler": scheduler, "submission": submission, "route": route}
