#!/usr/bin/env bash
# check_wheel.sh WHEEL: installs it where nothing of this repository and none of the libraries it needs can be seen, and uses it: a folder with numpy and the
# wheel, and, where this may be done (root), a root of its own that has Python and the C library and nothing else. A wheel for arm64 is used on another machine
# by Debian's Python for arm64 (tools/arm64-root.sh) under qemu-user, pip included, so that its tags are tried too.
set -eu
wheel=$(realpath "${1:?usage: check_wheel.sh WHEEL}")
here=$(realpath "$(dirname "$0")/..")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=/usr/bin/python3 emulator=
[ -x "$python" ] || python=$(command -v python3)
cd "$folder"
"$python" -m venv tools # for its pip
case $wheel in
*_"$(uname -m)".whl) ;;
*_aarch64.whl)
    arm64=$here/build/arm64-python
    # Beside Python what every manylinux system has: the C++ runtime; zlib and the compiler's come with it.
    "$here/tools/arm64-root.sh" "$arm64" '^python3\.[0-9]+-minimal$' '^libpython3\.[0-9]+-stdlib$' libstdc++6
    emulator="$(command -v qemu-aarch64-static) -L $arm64"
    python=$(echo "$arm64"/usr/bin/python3.*[0-9])
    ;;
*) echo "check_wheel.sh: $wheel: neither of this machine nor for arm64" >&2; exit 1 ;;
esac
if [ -n "$emulator" ]; then
    # Kernels for arm64 may have pages of 64 KB, which no test with this machine's would notice.
    tools/bin/python -m zipfile -e "$wheel" unpacked
    narrow=$(find unpacked \( -name '*.so*' -o -path '*/bin/krait' \) -exec readelf -lW {} + | awk '/^File:/ { file = $2 } $1 == "LOAD" && $NF != "0x10000" { print file }' | sort -u)
    [ -z "$narrow" ] || { echo "not aligned to 64 KB: $narrow"; exit 1; }
fi
install() { PYTHONPATH=$(echo tools/lib/python*/site-packages) $emulator "$python" -m pip -q --no-cache-dir install --root-user-action=ignore --target "$@"; }
install site "$wheel"

cat >use.py <<'EOT'
import sys, time
begin = time.perf_counter()
import krait
seconds = time.perf_counter() - begin
assert "torch" not in sys.modules and "numpy" not in sys.modules
model = krait.Model.load(threads=2)
text = str(model.generate("It was a dark and stormy night, and the", max_tokens=12, temperature=0))
assert text == " sun was\nsitting in the dark, and the sun", text  # on every machine

import numpy as np
from krait import ops
assert np.allclose(ops.rms_norm(np.full((1, 4), 2, np.float32)), 1)
rng = np.random.default_rng(0)
u, delta, A, B, C = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 8, 50), (2, 8, 50), (8, 4), (2, 4, 50), (2, 4, 50)))
A = -np.exp(A)
y = ops.selective_scan(u, delta, A, B, C, delta_softplus=True)
h, dt = np.zeros((2, 8, 4)), np.log1p(np.exp(delta.astype(np.float64)))
for t in range(50):
    h = np.exp(dt[:, :, t, None] * A) * h + (dt[:, :, t] * u[:, :, t])[:, :, None] * B[:, None, :, t]
    assert np.allclose(y[:, :, t], (h * C[:, None, :, t]).sum(-1), atol=1e-4), t

for feature in ("onednn", "openmp", "pcre2", "utf8proc", "curl"):
    assert feature in krait.build_info(), krait.build_info()
strangers = set()
for line in open("/proc/self/maps") if len(sys.argv) == 1 else ():
    name = line.split()[-1]
    if ".so" in name and "/site/" not in name and "/python3" not in name:
        strangers.add(name.rsplit("/", 1)[-1])
allowed = ("ld-linux", "libc.so", "libm.so", "libpthread", "libdl.so", "librt.so", "libz.so", "libexpat", "libffi", "libgcc_s", "libcrypto", "libssl", "libbz2",
           "liblzma", "libuuid", "libutil", "libresolv", "libpython", "libstdc++", "libmvec", "libanl")
strange = [s for s in strangers if not s.startswith(allowed)]
assert not strange, f"of the system: {strange}"
print(f"imported in {seconds * 1000:.0f} ms; {krait.build_info()}; {text!r}")
EOT
run="env -i PATH=/usr/bin:/bin PYTHONPATH=$folder/site"
$run $emulator "$python" use.py
if [ -z "$emulator" ]; then
    $run "$python" -m krait run -p 'It was' -n 8 --greedy | head -n 3
    $run "$folder/site/bin/krait" --version
else # which is not there for what a program starts
    program=$($run $emulator "$python" -c 'from krait import _program; print(_program.path())')
    $run $emulator "$program" run -p 'It was' -n 8 --greedy
    $run $emulator "$program" --version
    # Of the package's own tests those that take seconds there; elsewhere they run from the checkout (check_python.sh).
    install pytest pytest
    $run:$folder/pytest PYTHONDONTWRITEBYTECODE=1 $emulator "$python" -m pytest -q -p no:cacheprovider "$here"/tests/python/test_{ops,core_tokenizer,core_state}.py
fi

if [ "$(id -u)" = 0 ] && mkdir root 2>/dev/null; then
    if [ -z "$emulator" ]; then
        real=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
        stdlib=$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
        mkdir -p "root$(dirname "$real")" "root$(dirname "$stdlib")"
        cp "$real" "root$real"
        cp -r "$stdlib" "root$stdlib"
        # The C library, what Python's own modules want, and what every manylinux system has beside: the compiler's runtime and zlib.
        for library in $( (ldd "$real"; find "$stdlib" -name '*.so' -exec ldd {} + 2>/dev/null) | grep -oE '/[^ ]+\.so[^ )]*' | grep -v "$stdlib" | sort -u) \
            $(ldconfig -p | grep -oE '/[^ ]*/(libstdc\+\+\.so\.6|lib(pthread|dl|rt|util|m|resolv|mvec|anl)\.so\.[0-9]|libgcc_s\.so\.1|libz\.so\.1)$'); do
            mkdir -p "root$(dirname "$library")"
            cp -L "$library" "root$library"
        done
    else
        real=${python#"$arm64"} emulator=/qemu
        cp -a "$arm64/." root
        cp "$(command -v qemu-aarch64-static)" root/qemu
        find root -name 'libpcre2*.so*' -delete # it came with dpkg, which Python's packages name
    fi
    mkdir -p root/tmp root/proc
    cp -r site root/site
    cp use.py root/
    for library in libdnnl libpcre2 libutf8proc libcurl libgomp libcairo; do
        [ -z "$(find root -path root/site -prune -o -name "$library*.so*" -print)" ] || { echo "$library is in the bare root: it proves nothing"; exit 1; }
    done
    echo "in a root of ${real##*/} and the C library alone:"
    PATH=$PATH:/usr/sbin:/sbin
    PYTHONPATH=/site chroot root $emulator "$real" /use.py bare
    # Programs find their libraries by /proc.
    unshare -m sh -c "mount --bind /proc root/proc && chroot root $emulator /site/krait/bin/krait run -p 'It was' -n 8 --greedy"
fi
