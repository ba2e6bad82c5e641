#!/usr/bin/env bash
# Builds with the preset `coverage`, runs the tests, and prints the share of lines executed of every file of the library and the program.
set -eu
cd "$(dirname "$0")/.."
cmake --preset coverage >/dev/null
cmake --build --preset coverage -j "$(nproc)" >/dev/null
find build/coverage -name '*.gcda' -delete
ctest --preset coverage -j "$(nproc)" -LE house | tail -n 5
root=$PWD
cd build/coverage
find . -path '*src/*.gcda' -exec gcov -n -r -s "$root" {} + 2>/dev/null | awk '
    /^File/ { file = $2; gsub(/\047/, "", file) }
    /^Lines executed/ && file ~ /^src\// {
        split($2, a, /[:%]/)
        if ($4 > lines[file]) lines[file] = $4
        if (a[2] > share[file]) share[file] = a[2]
        file = ""
    }
    END {
        for (f in lines) {
            printf "%6.2f %% of %4d  %s\n", share[f], lines[f], f
            all += lines[f]; hit += lines[f] * share[f] / 100
        }
        if (all) printf "%6.2f %% of %4d  all\n", 100 * hit / all, all
    }' | sort -n
