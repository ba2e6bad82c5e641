#!/usr/bin/env bash
# smoke.sh BUILD [SECONDS]: runs every libFuzzer program of a build made with the preset `fuzz` for so many seconds (15) each on its
# corpus. What it finds is left in BUILD/findings. New inputs are not added to the corpus.
set -u
here=$(cd "$(dirname "$0")" && pwd) build=${1:?usage: smoke.sh BUILD [SECONDS]} seconds=${2:-15}
mkdir -p "$build/findings"
failed=0 n=0
for program in "$build"/fuzz/fuzz_*; do
    [ -f "$program" ] && [ -x "$program" ] || continue
    name=$(basename "$program")
    work=$(mktemp -d)
    options=(-max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -artifact_prefix="$build/findings/$name-" -print_final_stats=1)
    [ -f "$here/$name.dict" ] && options+=(-dict="$here/$name.dict")
    if "$program" "${options[@]}" "$work" "$here/corpus/${name#fuzz_}" >"$work.log" 2>&1; then
        echo "$name: $(grep -oE 'number_of_executed_units: [0-9]+' "$work.log" | grep -oE '[0-9]+') runs, nothing found"
    else
        echo "$name: FAILED"
        tail -n 60 "$work.log"
        failed=1
    fi
    rm -rf "$work" "$work.log"
    n=$((n + 1))
done
[ $n -gt 0 ] || { echo "no fuzz programs in $build/fuzz"; exit 1; }
exit $failed
