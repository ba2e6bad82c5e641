#!/usr/bin/env bash
# No source file above 800 lines; no tracked file above 15 MB, and all of them together below 50 MB.
set -u
root=${1:?usage: check_size.sh ROOT}
cd "$root" || exit 1
failed=0
while read -r lines file; do
    [ "$file" = total ] && continue
    if [ "$lines" -gt 800 ]; then
        echo "$file: $lines lines, expected at most 800: split it by concept"
        failed=1
    fi
done < <(find CMakeLists.txt include src tests fuzz bench tools cmake completions -type f \
    \( -name '*.[ch]' -o -name '*.inc' -o -name '*.sh' -o -name '*.py' -o -name '*.cmake' -o -name CMakeLists.txt \) -exec wc -l {} +)
if git rev-parse --git-dir >/dev/null 2>&1; then
    list() { git ls-files -z; }
else # an unpacked archive
    list() { find . -name build -prune -o -type f -print0; }
fi
while read -r size file; do
    if [ "$file" = total ]; then continue; fi
    if [ "$size" -gt $((15 << 20)) ]; then
        echo "$file: $size bytes, expected at most 15 MB"
        failed=1
    fi
    total=$((${total:-0} + size))
done < <(list | xargs -0 stat -c '%s %n' 2>/dev/null)
echo "all files: $((total >> 10)) KB"
if [ "$total" -gt $((50 << 20)) ]; then
    echo "expected at most 50 MB"
    failed=1
fi
exit $failed
