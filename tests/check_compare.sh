#!/usr/bin/env bash
# bench/compare/compare.py with stand-ins for both programs: what it calls, its table, what it leaves out and what fails. The stand-ins say
# what the real programs are documented to say; they cannot show that the real ones do.
set -u
root=${1:?usage: check_compare.sh ROOT}
command -v python3 >/dev/null || { echo "no python3: nothing to check"; exit 0; }
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
failed=0

# stand_in NAME: the program is what comes on stdin; each call is noted.
stand_in() {
    { printf '#!/usr/bin/env bash\necho "%s $*" >>%q\n' "$1" "$folder/calls"; cat; } >"$folder/$1"
    chmod +x "$folder/$1"
}
stand_in krait <<'E2'
case "$*" in
*--help) echo "--type f32|bf16|q8" ;;
quantize*) for a; do case $a in *.gguf) : >"$a" ;; esac; done ;;
bench*) echo '{"results": [{"tokens_per_second": 300, "ratio": 1.25}]}' ;;
perplexity*q8*) echo '{"perplexity": 31.5}' ;;
perplexity*) echo '{"perplexity": 30.0}' ;;
esac
E2
stand_in llama-quantize <<'E2'
: >"$2"
E2
stand_in llama-bench <<'E2'
case "$*" in *-bf16.gguf*) echo "cannot load" >&2; exit 3 ;; esac
echo '[{"n_prompt": 512, "avg_ts": 90.0, "samples_ts": [80.0, 100.0, 90.0]}]'
E2
stand_in llama-batched-bench <<'E2'
echo 'some header'
echo '{"pp": 16, "tg": 64, "pl": 16, "speed_tg": 20.0}'
echo '{"pp": 16, "tg": 64, "pl": 16, "speed_tg": 30.0}'
E2
stand_in llama-perplexity <<'E2'
echo 'Final estimate: PPL = 32.0000 +/- 0.1'
E2

# expect WHAT FILE PATTERN
expect() {
    grep -qE -- "$3" "$folder/$2" && return
    echo "$1: expected $3 in $2, found:"
    cat "$folder/$2"
    failed=1
}
# compare CODE ARGUMENTS...
compare() {
    local code=$1
    shift
    : >"$folder/calls"
    python3 "$root/bench/compare/compare.py" --krait "$folder/krait" --llama "$folder" "$@" >"$folder/out" 2>"$folder/err"
    local found=$?
    [ $found -eq "$code" ] && return
    echo "compare.py $*: expected exit code $code, found $found"
    cat "$folder/err"
    failed=1
}

compare 0 --rounds 2 --only '130m/*/f32/t1' --json "$folder/json" --models "$folder/models"
expect "a rate" out '^\| 130m \| prefill 512 \| f32 \| 1 \| 300\.0 \| 100\.0 \| \*\*3\.00x\*\* \(3\.00-3\.00\) \| 3\.2x \| 80 % \|$'
expect "a batch" out '^\| 130m \| decode, batch 16 \| f32 \| 1 \| 300\.0 \| 30\.0 \| 10\.00x '
expect "files" calls '^krait quantize --shape 130m .*\.gguf --type f32$'
expect "krait's work" calls '^krait bench --shape 130m --type f32 --prefill 0 --decode 64 --batch 16 --threads 1 --rounds 3 --json$'
turns=$(grep -oE '^(krait bench --shape .*--prefill 512|llama-bench .*-p 512)' "$folder/calls" | cut -c1-5 | tr '\n' ' ')
[ "$turns" = "krait llama llama krait " ] || { echo "expected the sides to take turns, found $turns"; failed=1; }
python3 - "$folder/json" <<'E2' || failed=1
import json, sys
found = json.load(open(sys.argv[1]))
assert [r["ratio"] for r in found["rates"]] == [3.0, 3.0, 10.0], found
assert found["rates"][0]["llama_tokens_per_second"] == [100.0, 100.0] and found["failed"] == {}, found
E2
[ "$(ls -A "$folder/models")" = random-130m-f32.gguf ] || { echo "expected one model file, found $(ls -A "$folder/models")"; failed=1; }

compare 0 --rounds 1 --only '130m/decode1/q8/t2' --models "$folder/models"
expect "llama's own file" calls '^llama-quantize .*random-130m-f32\.gguf .* Q8_0$'
if grep -q 'quantize --shape' "$folder/calls"; then
    echo "expected the model file of before to be used again"
    failed=1
fi

compare 1 --rounds 1 --threads 1 --types f32,bf16,q4
expect "a failure is named" err '^FAILED: 130m/prefill512/bf16/t1: llama-bench ended with 3: cannot load$'
expect "what a build lacks is said" err '^left out: 130m/decode1/q4/t1: this krait has no bench --type q4$'
expect "the other cases go on" out '^\| 130m \| decode, batch 16 \| bf16 '

compare 0 --rounds 1 --types f32,q8 --text "$root/README.md" --only 'text/*'
expect "perplexity" out '^\| q8 \| 31\.5000 \(\+5\.000 %\) \| 32\.0000 \(\+0\.000 %\) \| 32\.0000 \(\+0\.000 %\) \|$'
expect "without repacking" calls '^llama-perplexity .* --no-repack$'

rm "$folder/llama-batched-bench"
compare 1 --rounds 1 --only '130m/decode16/f32/t1'
expect "a program that is not there" err '^left out: .*: no llama-batched-bench in '
compare 2 --only nothing
compare 2 --types q5
[ $failed -eq 0 ] && echo "compare.py does what it says, with stand-ins"
exit $failed
