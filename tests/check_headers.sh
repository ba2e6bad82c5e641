#!/usr/bin/env bash
# Every header compiles on its own: public ones as C11, C17 and, if there is a C++ compiler, C++11; internal ones as C17.
set -u
root=${1:?usage: check_headers.sh ROOT CC} cc=$2
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
failed=0
try() { # header, compiler and flags...
    local header=$1
    shift
    if ! echo "#include \"$header\"" | "$@" -Wall -Wextra -Wpedantic -Werror -I"$root/include" -fsyntax-only - 2>"$folder/log"; then
        echo "$header: $*"
        cat "$folder/log"
        failed=1
    fi
}
cxx=
for candidate in g++ c++ clang++; do command -v "$candidate" >/dev/null && cxx=$candidate && break; done
cd "$root" || exit 1
for header in include/krait/*.h; do
    for standard in c11 c17; do try "${header#include/}" "$cc" -std=$standard -x c; done
    [ -z "$cxx" ] || try "${header#include/}" "$cxx" -std=c++11 -x c++
done
# Vector code is written for a set of vector operations that the including file chooses, and is not meant to stand alone.
for header in $(grep -rL --include='*.h' -E '\bVEC_INLINE\b|\bvec_[a-z]' src); do
    try "${header#src/}" "$cc" -std=c17 -D_GNU_SOURCE -Isrc -x c
done
[ $failed = 0 ] && echo "every header stands alone${cxx:+ (C++: $cxx)}"
exit $failed
