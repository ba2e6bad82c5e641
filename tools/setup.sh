#!/usr/bin/env bash
# setup.sh LIST...: installs the packages of tools/packages.txt in the lists named (run, test, arm64, ci), if any is missing.
# Fast and silent when nothing is. A package that cannot be had is a warning: the build then does without it where it can.
set -u
cd "$(dirname "$0")" || exit 1

wanted=$(awk -v lists=" $* " '!/^#/ && NF && index(lists, " " $2 " ") { print $1 }' packages.txt)

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    # Not Debian or Ubuntu: say what is needed, unless the build's tools are there already.
    if ! command -v cmake >/dev/null || ! command -v cc >/dev/null; then
        echo "krait needs these, under your system's names for them (a C17 compiler, cmake and make suffice; the rest is optional):"
        awk -v lists=" $* " '!/^#/ && NF && index(lists, " " $2 " ") { name = $1; $1 = $2 = ""; print "  " name ":" $0 }' packages.txt
    fi
    exit 0
fi

installed() { dpkg-query -W -f '${db:Status-Abbrev}\n' "$1" 2>/dev/null | grep -q '^ii'; }
missing=()
for package in $wanted; do installed "$package" || missing+=("$package"); done
[ ${#missing[@]} -gt 0 ] || exit 0

root=()
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null; then
        root=(sudo)
    else
        echo "warning: not installed, and neither root nor sudo to install them: ${missing[*]}" >&2
        echo "as root: apt-get install ${missing[*]}" >&2
        exit 0
    fi
fi
get() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q "$@"; }

echo "installing: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lists may be old or absent: update only when a first try fails. One by one only when together fails.
if ! get install --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
    get update >>"$log" 2>&1
    if ! get install --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
        for package in "${missing[@]}"; do get install --no-install-recommends "$package" >>"$log" 2>&1; done
    fi
fi
for package in "${missing[@]}"; do
    installed "$package" || echo "warning: $package could not be installed: $(grep -E "^E:.* '?$package'?( |$)" "$log" | tail -1)" >&2
done
exit 0
