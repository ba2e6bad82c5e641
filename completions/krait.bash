# bash completion for krait

_krait() {
    local word=$2 previous=$3 command=${COMP_WORDS[1]} options
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "run inspect tokenize logits perplexity quantize train bench data tokenizer pull list rm plot task help version" -- "$word")
        return
    fi
    case $command in
    run)
        options="-m --model --tokenizer -p --prompt -f --file --ids --bos -i --interactive --before --after --prompts
            -o --out --batch -n --tokens --stop --stop-id --ignore-eos --logit-bias --repeat-penalty --frequency-penalty
            --presence-penalty --penalty-window --temp --greedy --top-k --top-p --min-p --seed --state-in
            --state-out --no-echo --json --logprobs --stats -t --threads --type --isa --chunk -h --help"
        ;;
    inspect)
        options="-m --model --check-values --no-check-values --json -h --help"
        ;;
    tokenize)
        options="-m --model --tokenizer -p --prompt -f --file -d --decode --jsonl --no-special --skip-special -h
            --help"
        ;;
    logits)
        options="-m --model --ids --ids-file -p --prompt --tokenizer -o --out --hidden --states --json -t
            --threads --type --isa --chunk -h --help"
        ;;
    perplexity)
        options="-m --model --tokenizer -f --file --ids-file --window --bos --crlf --compare
            --compare-type --json -t --threads --type --isa --chunk -h --help"
        ;;
    quantize)
        options="--type --keep --calibrate --calibrate-ids --calibrate-tokens --tune --tokenizer --shape --force --json -t --threads
            -h --help"
        ;;
    train)
        options="--resume --allow-changes --from-step --dry-run --init-config -q --quiet --json --out --seed --shape
            --from --tokenizer --d-model --layers --d-state --d-conv --expand --dt-rank --vocab-size --dt-min --dt-max
            --tied-head --freeze --data --include --exclude --held-out --held-out-pattern --held-out-share --field
            --prompt-field --split --crlf --invalid --window --rows --order --steps --tokens --epochs --accumulate
            --learning-rate --min-learning-rate --schedule --warmup-steps --decay-steps --weight-decay --beta1 --beta2
            --epsilon --clip-norm --compute --recompute --threads --isa --evaluate-every --evaluate-window --evaluate-tokens
            --patience --sample-prompt --sample-tokens --sample-temperature --checkpoint-every --checkpoint-minutes --keep
            --on-nonfinite --on-spike --spike-rise --divergence-limit --log-every -h --help"
        ;;
    bench)
        options="-m --model --shape --prefill --decode --batch -t --threads --long --rounds --type --isa --chunk --json
            -h --help"
        ;;
    data)
        options="-o --out -m --model --tokenizer --field --prompt-field --split --include --exclude --crlf --invalid
            --no-special --end --no-end --held-out --held-out-share --held-out-file --seed --inspect --documents --json
            -t --threads -h --help"
        ;;
    tokenizer)
        options="-o --out --kind --vocab --min-count --nfc --digits --alphabet --unknown --special --without-special --field
            --include --exclude --crlf --invalid --json -t --threads -h --help"
        ((COMP_CWORD == 2)) && options="train inspect $options"
        ;;
    pull)
        options="--json -h --help"
        ;;
    list)
        options="--json -h --help"
        ;;
    rm)
        options="-h --help"
        ;;
    plot)
        options="-y --series -x --axis --from --to --log --smooth -o --out --size --title --name --ascii --json -h --help"
        ;;
    task)
        options="--length --memory --vocabulary --layers --width --state -m --model --steps --batch --lr --seed -t --threads --isa
            --test --samples -o --out --plot --size --ascii --json -h --help"
        [[ $word != -* ]] && options="induction selective-copying copying"
        ;;
    help)
        options="run inspect tokenize logits perplexity quantize train bench data tokenizer pull list rm plot task"
        ;;
    *) return ;;
    esac
    case $previous in
    -m | --model | --tokenizer | -f | --file | --ids-file | --compare | --calibrate | --calibrate-ids | --prompts | -o | --out | --state-in | --state-out | --resume | --from | --data | --held-out-file | --inspect)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    --kind) options="bpe bytes characters" ;;
    --invalid) options="error replace skip" ;;
    --isa) options="auto plain avx2 avx2-vnni avx512 avx512-bf16 avx512-amx neon neon-dot neon-bf16" ;;
    --type | --compare-type) options="auto f32 f16 bf16 q8 q6 q4" ;;
    -x | --axis) options="steps tokens seconds" ;;
    --log) options="x y xy" ;;
    --shape) options="130m 370m 790m 1.4b 2.8b" ;;
    -p | --prompt | --ids | -n | --tokens | --stop | --stop-id | --before | --after | --logit-bias | --repeat-penalty | \
        --frequency-penalty | --presence-penalty | --penalty-window | --temp | --top-k | --top-p | --min-p | --seed | -t | \
        --threads | --chunk | --window | -y | --series | --from | --to | --smooth | --size | --title | --name | --prefill | --decode | --batch | --long | --rounds | --keep | --calibrate-tokens | --tune | \
        --field | --prompt-field | --split | --include | --exclude | --end | --held-out | --held-out-share | --documents | \
        --vocab | --min-count | --alphabet | --unknown | --special)
        # A value to type; --decode of tokenize takes none.
        [[ $command == tokenize && $previous == --decode ]] || return
        ;;
    esac
    if [[ $command =~ ^(rm|pull)$ && $word != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(krait list 2>/dev/null | cut -d ' ' -f 1)" -- "$word")
        return
    fi
    if [[ $command =~ ^(inspect|quantize|plot|data)$ || ($command == tokenizer && $COMP_CWORD -gt 2) ]] && [[ $word != -* ]]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
}

complete -F _krait krait
