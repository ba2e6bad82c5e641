#!/usr/bin/env bash
# arm64-root.sh FOLDER PACKAGE...: Debian's arm64 packages and all that they depend on, unpacked into FOLDER; nothing to do when they are there (remove FOLDER
# for newer ones). This machine's own packages and architectures stay as they are: apt gets lists, a cache and a database of its own, in FOLDER, and no
# script of a package runs. dpkg-query --admindir=FOLDER/var/lib/dpkg says which package a file is from.
set -eu
folder=${1:?usage: arm64-root.sh FOLDER PACKAGE...}
shift
complete=$folder/.complete
[ "$(cat "$complete" 2>/dev/null)" != "$*" ] || exit 0
command -v apt-get >/dev/null || { echo "arm64-root.sh: this needs apt-get, of a Debian whose mirror has arm64" >&2; exit 1; }
rm -rf "$folder"
mkdir -p "$folder"
folder=$(realpath "$folder") complete=$folder/.complete
apt=$folder/.apt admin=$folder/var/lib/dpkg
mkdir -p "$apt"/{lists,archives}/partial "$admin/info"
: >"$apt/status"
# The machine's sources and keys, everything else private. As root, apt would hand the download to a user who cannot see this folder.
get() {
    apt-get -q -o Dir::State="$apt" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt" -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
        -o APT::Install-Recommends=false -o APT::Sandbox::User=root -o APT::Keep-Downloaded-Packages=true -o Acquire::Retries=3 "$@"
}
{ get update -o APT::Update::Post-Invoke-Success= && get -y --download-only install "$@"; } >"$apt/log" 2>&1 || { tail -n 30 "$apt/log" >&2; exit 1; }
for deb in "$apt"/archives/*.deb; do
    dpkg-deb -x "$deb" "$folder"
    name=$(dpkg-deb -f "$deb" Package)
    dpkg-deb --fsys-tarfile "$deb" | tar -t | sed -e 's,^\.,,' -e 's,/$,,' -e 's,^$,/.,' >"$admin/info/$name.list"
    { dpkg-deb -f "$deb" | sed '1a Status: install ok installed'; echo; } >>"$admin/status"
done
# Links that start at the root mean this one.
find "$folder" -type l -lname '/*' | while read -r link; do ln -sfn -r "$folder$(readlink "$link")" "$link"; done
rm -rf "$apt"
echo "$*" >"$complete"
