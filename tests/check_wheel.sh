#!/usr/bin/env bash
# check_wheel.sh WHEEL: installs it where nothing of this repository and none of the libraries it needs can be seen, and uses it: a folder with numpy and the
# wheel, and, where this may be done (root), a root of its own that has Python and the C library and nothing else.
set -eu
wheel=$(realpath "${1:?usage: check_wheel.sh WHEEL}")
python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$python" -m venv tools
tools/bin/pip -q install --target site "$wheel"

cat >use.py <<'EOF'
import sys, time
begin = time.perf_counter()
import krait
seconds = time.perf_counter() - begin
assert "torch" not in sys.modules and "numpy" not in sys.modules
model = krait.Model.load()
text = str(model.generate("It was a dark and stormy night, and the", max_tokens=12, temperature=0))
assert len(text) > 10, text
import numpy as np
from krait import ops
assert np.allclose(ops.rms_norm(np.full((1, 4), 2, np.float32)), 1)
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
EOF
run="env -i PATH=/usr/bin:/bin PYTHONPATH=$folder/site"
$run "$python" use.py
$run "$python" -m krait run -p 'It was' -n 8 --greedy | head -n 3
$run "$folder/site/bin/krait" --version

if [ "$(id -u)" = 0 ] && mkdir root 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    real=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
    stdlib=$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
    mkdir -p root/tmp root/proc "root$(dirname "$real")" "root$(dirname "$stdlib")"
    cp "$real" "root$real"
    cp -r "$stdlib" "root$stdlib"
    cp -r site root/site
    cp use.py root/
    # The C library, what Python's own modules want, and what every manylinux system has beside: the compiler's runtime and zlib.
    for library in $( (ldd "$real"; find "$stdlib" -name '*.so' -exec ldd {} + 2>/dev/null) | grep -oE '/[^ ]+\.so[^ )]*' | grep -v "$stdlib" | sort -u) \
        $(ldconfig -p | grep -oE '/[^ ]*/(libstdc\+\+\.so\.6|lib(pthread|dl|rt|util|m|resolv|mvec|anl)\.so\.[0-9]|libgcc_s\.so\.1|libz\.so\.1)$'); do
        mkdir -p "root$(dirname "$library")"
        cp -L "$library" "root$library"
    done
    for library in libdnnl libpcre2 libutf8proc libcurl libgomp libcairo; do
        [ -z "$(find root -path root/site -prune -o -name "$library*" -print)" ] || { echo "$library is in the bare root: it proves nothing"; exit 1; }
    done
    echo "in a root of Python $version and the C library alone:"
    PATH=$PATH:/usr/sbin:/sbin
    PYTHONPATH=/site chroot root "$real" /use.py bare
    # Programs find their libraries by /proc.
    unshare -m sh -c "mount --bind /proc root/proc && chroot root /site/krait/bin/krait run -p 'It was' -n 8 --greedy"
fi
