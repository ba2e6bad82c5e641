#!/usr/bin/env bash
# The Python package from the checkout, with the library that was built: pytest, of everything that needs no more than numpy. With "address", the library
# is one of the address sanitizer's. Exit code 77, skipped, where there is no Python with numpy and pytest; under CI that is a failure.
set -u
root=${1:?usage: check_python.sh ROOT LIBRARY CC [address]} library=$2 cc=$3
python=
for candidate in ${KRAIT_PYTHON:-} /usr/bin/python3 python3; do
    if "$candidate" -c 'import numpy, pytest' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "no Python with numpy and pytest (Debian: python3-numpy python3-pytest)"
    [ -n "${CI:-}" ] && exit 1
    exit 77
fi
export PYTHONPATH=$root/python KRAIT_LIBRARY=$library PYTHONDONTWRITEBYTECODE=1 OMP_WAIT_POLICY=passive
cd "$root" || exit 1
if [ "${4:-}" = address ]; then
    LD_PRELOAD="$("$cc" -print-file-name=libasan.so) $("$cc" -print-file-name=libubsan.so)"
    export LD_PRELOAD ASAN_OPTIONS=detect_leaks=0 KRAIT_SANITIZED=1 # what Python itself leaves is not ours
fi
exec "$python" -m pytest -q -p no:cacheprovider tests/python --ignore-glob='*torch*' --ignore-glob='*wheel*'
