#!/bin/sh
# Makes .venv from the pinned requirements: deployment/setup.sh [dev]
# Does nothing when .venv is complete and current; repairs one whose set-up was interrupted.
set -eu
cd "$(dirname "$0")/.."
venv=.venv
stamp=$venv/setup.stamp
wanted=requirements.txt
[ "${1:-}" = dev ] && wanted="requirements.txt requirements-dev.txt"

say() { printf '%s\n' "$*" >&2; }

# The stamp is written last. It ties the environment to its Python version, to this folder (the scripts in it name the
# folder) and to the contents of the files it was installed from.
version_of() { "$1" -c 'import sys; print("python %d.%d" % sys.version_info[:2])' 2>/dev/null; }
base_lines() { version_of $venv/bin/python && printf 'folder %s\n' "$PWD"; }
line_of() { printf '%s %s\n' "$1" "$(cksum <"$1")"; }

is_usable() {
    [ -f $stamp ] && lines=$(base_lines) && [ "$lines" = "$(head -n 2 $stamp)" ]
}

is_current() {
    is_usable || return 1
    for file in $wanted; do grep -qxF "$(line_of "$file")" $stamp || return 1; done
}

suits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        suits "$PYTHON" && { command -v "$PYTHON"; return; }
        say "PYTHON=$PYTHON is not a working Python 3.11, 3.12 or 3.13."
        exit 1
    fi
    for name in python3 python3.13 python3.12 python3.11 /usr/bin/python3 python; do
        if suits "$name"; then command -v "$name"; return; fi
    done
    say "Python 3.11, 3.12 or 3.13 is needed and none was found (python3 here: $(python3 --version 2>&1 || echo none))."
    say "On Debian 12 or later and on Ubuntu 24.04 or later: apt-get install python3 python3-venv"
    say "If it is installed somewhere else, name it: make setup PYTHON=/path/to/python3.12"
    exit 1
}

need_modules() {
    if ! "$1" -c 'import venv; from ensurepip import version' 2>/dev/null; then
        version=$(version_of "$1")
        say "$1 cannot make virtual environments: its ensurepip module is missing."
        say "On Debian and Ubuntu it is a package of its own: apt-get install python${version#python }-venv"
        exit 1
    fi
    for module in ssl sqlite3 ctypes zlib; do
        "$1" -c "import $module" 2>/dev/null && continue
        say "$1 was built without its $module module; use a complete Python: make setup PYTHON=/path/to/python3"
        exit 1
    done
}

create() {
    python=$(find_python)
    need_modules "$python"
    say "Making $venv with $("$python" --version) ($python)"
    rm -rf $venv
    "$python" -m venv $venv
}

install() {
    say "Installing the pinned packages of: $*"
    options=
    for file in "$@"; do options="$options -r $file"; done
    # Wheels only: nothing here needs a compiler, and a missing wheel should say so at once.
    # shellcheck disable=SC2086
    $venv/bin/python -m pip install --quiet --no-user --no-input --disable-pip-version-check --require-hashes --only-binary :all: $options || {
        say "The packages could not be installed. Wheels exist for Linux on x86_64 and aarch64 (glibc 2.28 or later);"
        say "check the network connection and pip's message above, then call make setup again: it starts afresh."
        exit 1
    }
}

warm() {
    [ -f renderers/__main__.py ] || return 0
    say "Compiling the renderer's kernels (kept for later starts)"
    $venv/bin/python -m renderers warm >/dev/null || say "The kernels could not be compiled now; nodes will try again."
}

is_current && exit 0
begin=$(date +%s)
# Without a stamp an earlier set-up was interrupted, and half-installed packages look installed to pip: start afresh.
if ! is_usable; then create; fi
rm -f $stamp
# shellcheck disable=SC2086
install $wanted
warm
{ base_lines && for file in $wanted; do line_of "$file"; done; } >$stamp.new
mv $stamp.new $stamp
say "Ready after $(($(date +%s) - begin)) s."
