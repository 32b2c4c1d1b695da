#!/bin/bash -l
#SBATCH --job-name=rrm-0a1b2c3d4e
#SBATCH --comment=rrm:7f3a
#SBATCH --output=out.log
#SBATCH --error=err.log
#SBATCH --open-mode=append
#SBATCH --no-requeue
#SBATCH --signal=B:USR1@90
#SBATCH --account="vis team"
#SBATCH --partition=gpu
#SBATCH --reservation=demo_2026
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gres=gpu:2
#SBATCH --exclude=gpu07,gpu12.example.org
#SBATCH --exclusive
#SBATCH --time=1-02:30:00
#SBATCH --constraint=skylake
#SBATCH -q high
#SBATCH --mem=96G

umask 077
here=$PWD node= ending=
record() {
    printf '{"job": "%s", "status": %d, "told": "%s"}\n' "$SLURM_JOB_ID" "$1" "$ending" >"$here/exit.part"
    mv -f "$here/exit.part" "$here/exit.json"
}
drain() { ending=yes; [ -z "$node" ] || kill -TERM "$node"; }
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
module purge
module load gcc/12.3 python/3.11 || exit
export OMP_NUM_THREADS=16
export GREETING='it'"'"'s "me"; $HOME'
ulimit -n 4096
echo "on $(hostname)" >&2
export RRM_NODE_NAME=rrm-0a1b2c3d4e RRM_DATA="${here%/nodes/*}" PYTHONUNBUFFERED=1
cd "$RRM_DATA" || exit
[ -z "$ending" ] || exit 143
/opt/viewer/bin/serve --title 'a '"'"'b'"'"' $(c)' <&3 3<&- &
node=$!
[ -z "$ending" ] || drain
printf '{"job": "%s", "pid": %d, "host": "%s"}\n' "$SLURM_JOB_ID" "$node" "$HOSTNAME" >"$here/start.json"
while wait "$node"; status=$?; kill -0 "$node" 2>/dev/null; do :; done
reap
exit "$status"
