#!/usr/bin/env bash
# The symbols that libkrait.so exports are exactly the functions that include/krait/*.h declares with KRAIT_API.
set -u
root=${1:?usage: check_symbols.sh ROOT LIBRARY [NM]} library=$2 nm=${3:-nm}
# The name before the first '(' behind KRAIT_API.
declared=$(grep -hE '^KRAIT_API ' "$root"/include/krait/*.h | sed -E 's/^KRAIT_API [^(]*[ *](krait_[a-z0-9_]+)\(.*/\1/' | sort)
exported=$("$nm" -D --defined-only "$library" | awk '{ print $3 }' | sed 's/@.*//' | sort)
[ -n "$declared" ] || { echo "no declarations found"; exit 1; }
if [ -n "$(uniq -d <<<"$declared")" ]; then
    echo "declared twice: $(uniq -d <<<"$declared")"
    exit 1
fi
if ! difference=$(diff <(echo "$declared") <(echo "$exported")); then
    echo "declared (<) and exported (>) differ:"
    grep '^[<>]' <<<"$difference"
    exit 1
fi
echo "$(wc -l <<<"$exported") functions"
