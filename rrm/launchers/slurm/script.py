"""The batch script of a node: pure text from its settings.

Every value is quoted for the program that reads it, or refused: sbatch's own reader of `#SBATCH` lines for options, the
shell for all else. Only an operator's prologue goes in as it is.

The script runs in the node's folder and leaves there: `claim` and `start.json` when it begins, `exit.json` when it
ends.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from rrm.errors import LauncherError
from rrm.launchers.base import NodeSpec
from rrm.launchers.slurm.directives import directives

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9@%+=:,./_~-]*")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")

_BODY = """
umask 077
here=$PWD node= ending=
record() {
    printf '{"job": "%s", "status": %d, "told": "%s"}\\n' "$SLURM_JOB_ID" "$1" "$ending" >"$here/exit.part"
    mv -f "$here/exit.part" "$here/exit.json"
}
drain() { ending=yes; @DRAIN@; }
# What the node, and no other of its name, started and left behind; not every cluster finds it.
reap() {
    local path
    for path in $(env -u RRM_NODE_NAME grep -lzsxF "RRM_NODE_NAME=$RRM_NODE_NAME" /proc/[0-9]*/environ); do
        grep -qzsxF "RRM_DATA=$RRM_DATA" "$path" && kill -KILL "${path//[!0-9]/}" 2>/dev/null
    done
}
trap drain USR1
trap : TERM
# Put into the queue again, by whomever, it does nothing: a node runs once.
if ! (set -C; echo "$SLURM_JOB_ID" >claim) 2>/dev/null; then
    [ -s claim ] && exit 0
    echo "Nothing can be written to $PWD." >&2
    exit 73
fi
trap 'record $?' EXIT
exec 3<token || exit 75
rm -f token
unset SLURM_EXPORT_ENV SBATCH_EXPORT
@SETTINGS@
export RRM_NODE_NAME=@NAME@ RRM_DATA="${here%/nodes/*}" PYTHONUNBUFFERED=1
cd "$RRM_DATA" || exit
[ -z "$ending" ] || exit 143
@RUN@
node=$!
[ -z "$ending" ] || drain
printf '{"job": "%s", "pid": %d, "host": "%s"}\\n' "$SLURM_JOB_ID" "$node" "$HOSTNAME" >"$here/start.json"
while wait "$node"; status=$?; kill -0 "$node" 2>/dev/null; do :; done
reap
exit "$status"
"""
_MEMBER = """\
# One renderer on each machine; the first has the job's name.
member() {
    if [ "$SLURM_PROCID" != 0 ]; then
        export RRM_NODE_NAME="$RRM_NODE_NAME.$SLURM_PROCID"
        exec >>"$here/out.$SLURM_PROCID.log" 2>>"$here/err.$SLURM_PROCID.log"
    fi
    trap : TERM
    @COMMAND@ <&0 &
    local node=$! status
    while wait "$node"; status=$?; kill -0 "$node" 2>/dev/null; do :; done
    reap
    printf '{"job": "%s", "status": %d}\\n' "$SLURM_JOB_ID" "$status" >"$here/exit.$SLURM_PROCID.json"
    exit "$status"
}
export here
export -f member reap
srun --export=ALL --nodes=@NODES@ --ntasks=@NODES@ --ntasks-per-node=1 --kill-on-bad-exit=0 --wait=0 \\
    /bin/bash -c member <&3 3<&- &"""


def batch_script(spec: NodeSpec, mark: str, command: Sequence[str], lib: str = "") -> str:
    """The script of the node; `mark` is the comment by which RRM knows its jobs, `command` what it runs.

    `lib` comes first in PYTHONPATH, before what the site and the resource have there.
    Raises LauncherError for a setting that cannot be passed on safely.
    """
    several = spec.batch.nodes > 1
    words = " ".join(_word(word, spec.name if several else None) for word in command)
    body = _fill(
        _BODY,
        NAME=spec.name,
        SETTINGS="\n".join(_settings(spec, lib)),
        # A signal to the job's steps reaches every member; srun itself would end them by force.
        DRAIN='scancel --signal=TERM "$SLURM_JOB_ID"' if several else '[ -z "$node" ] || kill -TERM "$node"',
        RUN=_fill(_MEMBER, NODES=str(spec.batch.nodes), COMMAND=words) if several else f"{words} <&3 3<&- &",
    )
    return "\n".join(("#!/bin/bash -l", *(f"#SBATCH {line}" for line in directives(spec.name, mark, spec.batch)), body))


def _fill(template: str, **values: str) -> str:
    """The template with each @NAME@ replaced once; what was put in is not looked at again."""
    return re.sub(r"@([A-Z]+)@", lambda found: values[found[1]], template)


def _settings(spec: NodeSpec, lib: str) -> Iterable[str]:
    """Modules, then the environment, then the prologue, then where our own package is."""
    if spec.modules:
        yield "module purge"
        yield f"module load {' '.join(_module(name) for name in spec.modules)} || exit"
    for name, value in spec.environment.items():
        yield f"export {_variable(name)}={_quoted(name, value)}"
    if spec.prologue.strip():
        yield _text("prologue", spec.prologue.replace("\r\n", "\n")).strip("\n")
    if lib:
        yield f"export PYTHONPATH={_quoted('lib', lib)}${{PYTHONPATH:+:$PYTHONPATH}}"


def _word(word: str, name: str | None) -> str:
    """A word of the command; among several members each puts its own name in place of the job's."""
    return '"$RRM_NODE_NAME"' if word == name else _within_quotes("command", word)


def _within_quotes(what: str, value: str) -> str:
    """Quoted even where that seems needless: as the first word it could be a keyword, or set a variable."""
    quoted = _quoted(what, value)
    return quoted if quoted.startswith(("'", "-", "/")) else f"'{quoted}'"


def _quoted(what: str, value: str) -> str:
    return shlex.quote(_text(what, value))


def _text(what: str, value: str) -> str:
    """Text that a script can hold: sbatch refuses NUL and carriage returns."""
    if _UNPRINTABLE.search(value):
        raise LauncherError(f"{what} has a control character in it, which a batch script cannot hold.")
    return value


def _module(name: str) -> str:
    if not _MODULE.fullmatch(name):
        raise LauncherError(f"{name!r} cannot name a module.")
    return shlex.quote(name)


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise LauncherError(f"{name!r} cannot name an environment variable.")
    return name
