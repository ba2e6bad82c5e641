#!/usr/bin/env bash
# Installs into a temporary prefix and builds a program against it, by pkg-config (shared and static) and by find_package.
set -eu
build=${1:?usage: check_install.sh BUILD CMAKE CC VERSION} cmake=$2 cc=$3 version=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
prefix=$folder/prefix
"$cmake" --install "$build" --prefix "$prefix" >"$folder/log" || { cat "$folder/log"; exit 1; }
libdir=$(dirname "$(find "$prefix" -name libkrait.a)")

cat >"$folder/consumer.c" <<'C'
#include <krait/krait.h>
#include <stdio.h>
int main(void)
{
    krait_config config;
    krait_error error;
    if (krait_config_named(&config, "130m", &error)) return puts(error.message), 1;
    printf("%s %llu\n", krait_version(), (unsigned long long)krait_config_parameters(&config));
    return 0;
}
C
expected="$version 129135360"
expect() { # what, output
    [ "$2" = "$expected" ] || { echo "$1: expected \"$expected\", found \"$2\""; exit 1; }
    echo "$1: ok"
}

if command -v pkg-config >/dev/null; then
    export PKG_CONFIG_PATH=$libdir/pkgconfig
    [ "$(pkg-config --modversion krait)" = "$version" ]
    # shellcheck disable=SC2046 # words on purpose
    "$cc" "$folder/consumer.c" -o "$folder/shared" $(pkg-config --cflags --libs krait)
    expect "pkg-config" "$(LD_LIBRARY_PATH=$libdir "$folder/shared")"
    # The example, as its first lines say; a build without text has no tokenizer to run it with.
    root=$(cd "$(dirname "$0")/.." && pwd)
    # shellcheck disable=SC2046
    "$cc" -Wall -Wextra -Werror "$root/examples/embed.c" -o "$folder/embed" $(pkg-config --cflags --libs krait)
    if text=$(LD_LIBRARY_PATH=$libdir "$folder/embed" "$root/models/text-small" "It was a dark and stormy night" 2>"$folder/log"); then
        [ "${#text}" -gt 20 ] || { echo "examples/embed.c: found \"$text\""; exit 1; }
        echo "examples/embed.c: ok"
    else
        grep -q "this build has no tokenizers" "$folder/log" || { cat "$folder/log"; exit 1; }
        echo "examples/embed.c: built; this build has no text"
    fi
    # shellcheck disable=SC2046
    "$cc" "$folder/consumer.c" -o "$folder/static" $(pkg-config --cflags krait) "$libdir/libkrait.a" \
        $(pkg-config --libs --static krait | sed 's/-lkrait//')
    expect "pkg-config --static" "$("$folder/static")"
else
    echo "pkg-config: not installed, not tried"
fi

cat >"$folder/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.22)
project(consumer C)
find_package(krait REQUIRED)
add_executable(shared consumer.c)
target_link_libraries(shared krait::krait)
add_executable(static consumer.c)
target_link_libraries(static krait::krait_static)
CMAKE
"$cmake" -S "$folder" -B "$folder/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" >"$folder/log" 2>&1 \
    && "$cmake" --build "$folder/build" >>"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
expect "find_package, krait::krait" "$("$folder/build/shared")"
expect "find_package, krait::krait_static" "$("$folder/build/static")"

# What else is promised to be there.
for file in include/krait/krait.h; do
    [ -f "$prefix/$file" ] || { echo "$file was not installed"; exit 1; }
done
[ -z "$(find "$prefix" -name '*.h' ! -path '*/include/krait/*')" ] || { echo "internal headers were installed"; exit 1; }
readelf -d "$libdir/libkrait.so" | grep -q "soname: \[libkrait.so.${version%%.*}\]" || { echo "wrong soname"; exit 1; }
if [ -x "$prefix/bin/krait" ]; then
    expect_version=$("$prefix/bin/krait" --version | head -1)
    case $expect_version in *"$version"*) echo "krait --version: ok" ;; *) echo "krait --version: $expect_version"; exit 1 ;; esac
    for file in share/man/man1/krait.1 share/bash-completion/completions/krait share/zsh/site-functions/_krait; do
        [ -f "$prefix/$file" ] || { echo "$file was not installed"; exit 1; }
    done
fi
