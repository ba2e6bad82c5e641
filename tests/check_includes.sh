#!/usr/bin/env bash
# The floors of the house: a file includes files of lower floors and of its own folder, never of a higher floor or of another
# room on its own floor. Reads the #include lines. First shows on planted includes that it would find them.
set -u

# name:floor; the same table as in docs/ARCHITECTURE.md
floors="base:0 tensor:1 ops:2 cpu:3 cuda:3 formats:3 hub:3 model:4 api:4 text:4 generate:5 train:5 eval:5 cli:6 server:6"
# What the top floor may use besides the public header: the last three are for krait task, whose folder is kept as that of a run.
cli_may="base/json.h base/memory.h base/nearest.h train/manifest.h train/metrics.h train/run_folder.h"

floor_of() {
    local pair
    for pair in $floors; do
        [ "${pair%%:*}" = "$1" ] && echo "${pair##*:}" && return
    done
    return 1
}

# check ROOT: prints every violation, returns 1 if there is one.
check() {
    local root=$1 file room line target other here there bad=0
    while IFS=: read -r file line target; do
        room=${file#"$root"/src/}
        room=${room%%/*}
        target=$(sed -E 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"([^"]+)".*/\1/' <<<"$target")
        if ! here=$(floor_of "$room"); then
            echo "${file#"$root"/}: its folder is on no floor" && bad=1 && continue
        fi
        case $target in
        krait/*) continue ;;
        */*) ;;
        *) # a file beside it
            [ -e "$(dirname "$file")/$target" ] && continue
            echo "${file#"$root"/}:$line: \"$target\" is not in this folder" && bad=1 && continue ;;
        esac
        other=${target%%/*}
        [ "$other" = "$room" ] && continue
        if ! there=$(floor_of "$other"); then
            echo "${file#"$root"/}:$line: \"$target\" is on no floor" && bad=1
        elif [ "$here" -ge 6 ]; then
            case " $cli_may " in
            *" $target "*) ;;
            *) echo "${file#"$root"/}:$line: $room uses the public header and $cli_may only, not \"$target\"" && bad=1 ;;
            esac
        elif [ "$there" -ge "$here" ]; then
            echo "${file#"$root"/}:$line: $room (floor $here) includes \"$target\" (floor $there)" && bad=1
        fi
    done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$root/src" --include='*.[ch]' --include='*.inc' --include='*.cu')
    return $bad
}

self_test() {
    local planted
    mkdir -p "$scratch"/src/{base,tensor,ops,cpu,formats,hub,model,cli,attic}
    # "file include verdict"
    while read -r file target verdict; do
        rm -f "$scratch"/src/*/*
        echo "#include \"$target\"" >"$scratch/src/$file"
        planted=allowed
        check "$scratch" >/dev/null || planted=refused
        if [ "$planted" != "$verdict" ]; then
            echo "self-test: $file including \"$target\": expected $verdict, found $planted"
            return 1
        fi
    done <<'CASES'
base/a.c ops/ops.h refused
base/a.c base/file.h allowed
ops/a.h model/model.h refused
ops/a.h krait/krait.h allowed
cpu/a.c formats/checkpoint.h refused
cpu/a.c ops/ops.h allowed
formats/a.c cpu/device.h refused
hub/a.c formats/checkpoint.h refused
model/a.c cpu/device.h allowed
model/a.c cli/cli.h refused
model/a.c attic/x.h refused
model/a.c missing.h refused
cli/a.c model/model.h refused
cli/a.c base/json.h allowed
cli/a.c train/run_folder.h allowed
cli/a.c train/trainer.h refused
attic/a.c base/json.h refused
CASES
}

root=${1:?usage: check_includes.sh ROOT}
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
self_test || exit 1
check "$root" && echo "no include goes up"
