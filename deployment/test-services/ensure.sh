#!/bin/sh
# Makes sure that the programs the tests talk to are installed: Redis, PostgreSQL, Chromium, an SSH server,
# Slurm, nginx.
# Installs what is missing from Debian's packages when it may, and otherwise says what to install.
# Starts nothing: each test run starts its own private servers (tests/services.py).
# Exit status: 0 all there; 1 something is missing.
set -eu

say() { printf '%s\n' "$*" >&2; }
has_redis() { command -v redis-server >/dev/null || command -v valkey-server >/dev/null; }
has_postgresql() { command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }
has_chromium() { command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; }
has_sbin() { PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null; }

missing() {
    has_redis || printf ' redis-server'
    has_postgresql || printf ' postgresql'
    has_chromium || printf ' chromium fonts-dejavu-core'
    has_sbin sshd || printf ' openssh-server'
    has_sbin nginx || printf ' nginx'
    { has_sbin munged && has_sbin slurmctld && has_sbin slurmd && has_sbin squeue; } ||
        printf ' munge slurmctld slurmd slurm-client'
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

may_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

policy=/usr/sbin/policy-rc.d
made_policy=
restore_policy() { if [ -n "$made_policy" ]; then as_root rm -f $policy; fi; }

# Debian's packages start their services on the default ports; a test run has no business there.
forbid_service_starts() {
    [ -e $policy ] && return
    made_policy=yes
    trap restore_policy EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
}

packages=$(missing)
[ -n "$packages" ] || exit 0
if ! may_install; then
    say "The tests need programs that are not installed:$packages"
    say "As root: apt-get update && apt-get install --no-install-recommends$packages"
    exit 1
fi
say "Installing for the tests:$packages"
forbid_service_starts
as_root apt-get update -qq
# shellcheck disable=SC2086
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages >/dev/null
packages=$(missing)
[ -z "$packages" ] || { say "Still missing after the installation:$packages"; exit 1; }
