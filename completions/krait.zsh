#compdef krait
# zsh completion for krait

_krait() {
    local -a commands
    commands=(
        'run:continue a text'
        'inspect:show what is in a checkpoint, and whether it can be run'
        'tokenize:turn text into token ids and back'
        'logits:write logits, hidden rows and states to a file'
        'perplexity:measure how well a model predicts a text'
        'quantize:write weights in another type, as a GGUF file'
        'train:train a model on text'
        'bench:measure speed beside the bound of the machine'
        'data:turn texts into token files'
        'tokenizer:learn a tokenizer, or show what is in one'
        'pull:download a model from the Hugging Face hub'
        'list:list the models that are downloaded'
        'rm:remove a downloaded model'
        'plot:draw the curves of training runs'
        'task:learn one of the synthetic tasks, and test it at any length'
        'help:explain a command'
        'version:print the version'
    )
    if ((CURRENT == 2)); then
        _describe command commands
        return
    fi
    local command=$words[2]
    shift words
    ((CURRENT--))
    case $command in
    run)
        _arguments \
            '(-m --model)'{-m,--model}'[checkpoint]:file:_files' \
            '--tokenizer[tokenizer.json or GGUF file to use instead of the checkpoint'\''s own]:file:_files' \
            '(-p --prompt)'{-p,--prompt}'[text to continue]:text: ' \
            '(-f --file)'{-f,--file}'[continue the text in a file]:file:_files' \
            '*--ids[continue token ids]:1,2,3: ' \
            '--bos[put the beginning-of-text token first]' \
            '(-i --interactive)'{-i,--interactive}'[a conversation, line by line]' \
            '--before[with -i, put before each line]:text: ' \
            '--after[with -i, put behind each line]:text: ' \
            '--prompts[continue many prompts, one JSON object per line]:file:_files' \
            '(-o --out)'{-o,--out}'[with --prompts, the results]:file:_files' \
            '--batch[with --prompts, how many generate at a time]:n: ' \
            '(-n --tokens)'{-n,--tokens}'[generate at most N tokens]:n: ' \
            '*--stop[stop before this text]:text: ' \
            '*--stop-id[stop at this token]:id: ' \
            '--ignore-eos[go on past the end-of-text token]' \
            '*--logit-bias[add to the logit of a token]:id and bias: ' \
            '--repeat-penalty[divide positive logits of tokens seen before by X]:x: ' \
            '--frequency-penalty[subtract X from the logit of a token for each time it was seen]:x: ' \
            '--presence-penalty[subtract X once from the logit of each token seen]:x: ' \
            '--penalty-window[how many of the last tokens count as seen]:n: ' \
            '--temp[temperature, 0 is greedy]:t: ' \
            '--greedy[always the most probable token]' \
            '--top-k[choose among the K most probable]:k: ' \
            '--top-p[choose among the fewest whose probabilities sum to P]:p: ' \
            '--min-p[choose among those at least P times as probable as the first]:p: ' \
            '--seed[same seed, same text]:n: ' \
            '--state-in[go on from a saved state]:file:_files' \
            '--state-out[save the state at the end]:file:_files' \
            '--no-echo[do not repeat the prompt before its continuation]' \
            '--json[one JSON object]' \
            '--logprobs[with --json, log-probabilities]' \
            '--stats[rates and memory on stderr]' \
            '(-t --threads)'{-t,--threads}'[threads]:n: ' \
            '--type[convert the weights while loading]:type:(auto f32 f16 bf16 q8 q6 q4)' \
            '--isa[instruction set to compute with]:isa:(auto plain avx2 avx2-vnni avx512 avx512-bf16 avx512-amx neon neon-dot neon-bf16)' \
            '--chunk[tokens of a long input that are processed at a time]:n: ' \
            '(-h --help)'{-h,--help}'[show a summary of the options]'
        ;;
    inspect)
        _arguments \
            '(-m --model)'{-m,--model}'[the same as the argument MODEL]:file:_files' \
            '--check-values[look for NaN and infinite weights however large the checkpoint is]' \
            '--no-check-values[do not look for them]' \
            '--json[one JSON object]' \
            '(-h --help)'{-h,--help}'[show a summary of the options]' \
            ':model:_files'
        ;;
    tokenize)
        _arguments \
            '(-m --model)'{-m,--model}'[checkpoint]:file:_files' \
            '--tokenizer[tokenizer.json or GGUF file to use instead of the checkpoint'\''s own]:file:_files' \
            '(-p --prompt)'{-p,--prompt}'[the text]:text: ' \
            '(-f --file)'{-f,--file}'[read it from a file]:file:_files' \
            '(-d --decode)'{-d,--decode}'[ids in, text out]' \
            '--jsonl[a JSON object per line]' \
            '--no-special[read special tokens as ordinary text]' \
            '--skip-special[with --decode, leave special tokens out]' \
            '(-h --help)'{-h,--help}'[show a summary of the options]'
        ;;
    logits)
        _arguments \
            '(-m --model)'{-m,--model}'[checkpoint]:file:_files' \
            '*--ids[the token ids]:1,2,3: ' \
            '--ids-file[the token ids from a file]:file:_files' \
            '(-p --prompt)'{-p,--prompt}'[the ids of a text]:text: ' \
            '--tokenizer[tokenizer.json or GGUF file to use instead of the checkpoint'\''s own]:file:_files' \
            '(-o --out)'{-o,--out}'[the safetensors file to write]:file:_files' \
            '--hidden[also the residual stream after each layer]' \
            '--states[also the states after the last token]' \
            '--json[say what was written as one JSON object on stdout]' \
            '(-t --threads)'{-t,--threads}'[threads]:n: ' \
            '--type[convert the weights while loading]:type:(auto f32 f16 bf16 q8 q6 q4)' \
            '--isa[instruction set to compute with]:isa:(auto plain avx2 avx2-vnni avx512 avx512-bf16 avx512-amx neon neon-dot neon-bf16)' \
            '--chunk[tokens of a long input that are processed at a time]:n: ' \
            '(-h --help)'{-h,--help}'[show a summary of the options]'
        ;;
    perplexity)
        _arguments \
            '(-m --model)'{-m,--model}'[checkpoint]:file:_files' \
            '--tokenizer[tokenizer.json or GGUF file to use instead of the checkpoint'\''s own]:file:_files' \
            '(-f --file)'{-f,--file}'[the text]:file:_files' \
            '--ids-file[token ids instead of text]:file:_files' \
            '--window[score windows of N tokens]:n: ' \
            '--bos[put the beginning-of-text token in front]' \
            '--crlf[read line ends CR LF as LF]' \
            '--compare[another model on the same tokens]:file:_files' \
            '--compare-type[convert the weights of the other model]:type:(auto f32 f16 bf16 q8 q6 q4)' \
            '--json[one JSON object]' \
            '(-t --threads)'{-t,--threads}'[threads]:n: ' \
            '--type[convert the weights while loading]:type:(auto f32 f16 bf16 q8 q6 q4)' \
            '--isa[instruction set to compute with]:isa:(auto plain avx2 avx2-vnni avx512 avx512-bf16 avx512-amx neon neon-dot neon-bf16)' \
            '--chunk[tokens of a long input that are processed at a time]:n: ' \
            '(-h --help)'{-h,--help}'[show a summary of the options]'
        ;;
    quantize)
        _arguments \
            '--type[what the matrices become]:type:(f32 f16 bf16 q8 q6 q4)' \
            '*--keep[another type for the tensors of a name]:pattern=type: ' \
            '--calibrate[a text to choose numbers for]:file:_files' \
            '--calibrate-ids[token ids to choose numbers for]:file:_files' \
            '--calibrate-tokens[how many of them to use]:n: ' \
            '--tune[steps of tuning by the predictions]:steps: ' \
            '--tokenizer[tokenizer.json or GGUF file to use]:file:_files' \
            '--shape[random weights of a published shape instead of a model]:shape:(130m 370m 790m 1.4b 2.8b)' \
            '--force[quantise a model that is quantised already]' \
            '--json[one JSON object]' \
            '(-t --threads)'{-t,--threads}'[threads]:n: ' \
            '(-h --help)'{-h,--help}'[show a summary of the options]' \
            ':model:_files' \
            ':out:_files -g "*.gguf"'
        ;;
    train)
        _arguments \
            '--resume[go on with the run in this folder]:run:_files -/' \
            '--allow-changes[go on though settings differ]' \
            '--from-step[go on from the checkpoint of that step]:n: ' \
            '--dry-run[say what the run would be]' \
            '--init-config[print a config file to begin from]' \
            '(-q --quiet)'{-q,--quiet}'[notes and errors alone]' \
            '--json[one JSON object at the end]' \
            '--out[the folder of the run]:file:_files' \
            '--seed[draws a new model, the order of the data and what samples are drawn]:n: ' \
            '--shape[a new model of a published shape, instead of dimensions]:choice:(130m 370m 790m 1.4b 2.8b)' \
            '--from[go on from this model (a folder, a file, OWNER/NAME on the hub) with its tokenizer, instead of a new one]:file:_files' \
            '--tokenizer[tokenizer.json of a new model]:file:_files' \
            '--d-model[width of the residual stream]:n: ' \
            '--layers[layers]:n: ' \
            '--d-state[state of each channel (N of the paper)]:n: ' \
            '--d-conv[width of the causal convolution]:n: ' \
            '--expand[channels of the mixer for each of d_model]:n: ' \
            '--dt-rank[rank of the projection to dt]:n: ' \
            '--vocab-size[rows of the embedding]:n: ' \
            '--dt-min[step sizes of a new model are drawn from here]:x: ' \
            '--dt-max[to here]:x: ' \
            '--tied-head[the head is the embedding]:choice:(true false)' \
            '*--freeze[parameters of that Hugging Face name do not change (* and ? stand for any text and character)]:pattern: ' \
            '*--data[what to learn]:file:_files' \
            '*--include[of folders only files of such a name (* and ? stand for any text and character)]:pattern: ' \
            '*--exclude[no files of such a name]:pattern: ' \
            '*--held-out[what to evaluate on, which must be no part of what is learned]:file:_files' \
            '*--held-out-pattern[or files of data.train of such a name, which are then not learned]:pattern: ' \
            '--held-out-share[or this share of the documents, drawn by the seed]:share: ' \
            '--field[files are lines of JSON, each a document]:name: ' \
            '--prompt-field[and the field that has a text in front of it, which is read but not learned (fine-tuning)]:name: ' \
            '--split[what stands between documents of a text file]:text: ' \
            '--crlf[line ends CR LF of texts are read as LF]:choice:(true false)' \
            '--invalid[bytes that are no UTF-8]:choice:(error replace skip)' \
            '--window[tokens of a row]:n: ' \
            '--rows[rows that are run at a time]:n: ' \
            '--order[windows from everywhere, each from an empty state]:choice:(shuffled streams)' \
            '--steps[how long]:n: ' \
            '--tokens[how long, in tokens]:n: ' \
            '--epochs[how long, in passes over the data]:x: ' \
            '--accumulate[batches of an update]:n: ' \
            '--learning-rate[its peak]:x: ' \
            '--min-learning-rate[what the schedule ends at]:x: ' \
            '--schedule[after the warm-up]:choice:(cosine wsd constant)' \
            '--warmup-steps[steps in which the rate rises to its peak]:n: ' \
            '--decay-steps[last steps, of wsd]:n: ' \
            '--weight-decay[AdamW'\''s]:x: ' \
            '--beta1[AdamW'\''s memory of the gradient]:x: ' \
            '--beta2[AdamW'\''s memory of its square]:x: ' \
            '--epsilon[AdamW'\''s]:x: ' \
            '--clip-norm[norm that a larger gradient is scaled down to]:x: ' \
            '--compute[matrix products in float32, or in bfloat16 with float32 master weights]:choice:(f32 bf16)' \
            '--recompute[run each layer forward twice instead of keeping its activations]:choice:(true false)' \
            '--threads[threads]:n: ' \
            '--isa[instruction set to compute with]:choice:(auto plain avx2 avx2-vnni avx512 avx512-bf16 avx512-amx neon neon-dot neon-bf16)' \
            '--evaluate-every[steps from one evaluation of the held-out text to the next]:n: ' \
            '--evaluate-window[score windows of N tokens, each from an empty state]:n: ' \
            '--evaluate-tokens[score the first N tokens of it]:n: ' \
            '--patience[stop after so many evaluations without a new best]:n: ' \
            '--sample-prompt[what samples at each checkpoint begin with]:text: ' \
            '--sample-tokens[tokens of such a sample]:n: ' \
            '--sample-temperature[0]:x: ' \
            '--checkpoint-every[steps from one checkpoint to the next]:n: ' \
            '--checkpoint-minutes[and one whenever so many minutes have passed without]:x: ' \
            '--keep[the newest so many are kept, and the best model beside]:n: ' \
            '--on-nonfinite[when loss or gradient are NaN or infinite]:choice:(skip stop back)' \
            '--on-spike[when the loss leaps above its running mean]:choice:(note stop back off)' \
            '--spike-rise[a leap is so many nats per token]:x: ' \
            '--divergence-limit[stop when it was passed over, or gone back, so often without a new checkpoint]:n: ' \
            '--log-every[steps that a line of metrics.jsonl is the mean of]:n: ' \
            '(-h --help)'{-h,--help}'[show a summary of the options]' \
            ':config:_files -g "*.yaml"'
        ;;
    bench)
        _arguments \
            '(-m --model)'{-m,--model}'[checkpoint]:file:_files' \
            '--shape[random weights of a published shape instead of a checkpoint]:shape:(130m 370m 790m 1.4b 2.8b)' \
            '--prefill[lengths of prompts to read]:n,...: ' \
            '--decode[tokens to generate]:n,...: ' \
            '--batch[sequences that generate at a time]:b,...: ' \
            '(-t --threads)'{-t,--threads}'[numbers of threads]:n,...: ' \
            '--long[time per token and memory at these positions]:n,...: ' \
            '--rounds[work and bound take turns so many times]:n: ' \
            '--type[convert the weights while loading]:type:(auto f32 f16 bf16 q8 q6 q4)' \
            '--isa[instruction set to compute with]:isa:(auto plain avx2 avx2-vnni avx512 avx512-bf16 avx512-amx neon neon-dot neon-bf16)' \
            '--chunk[tokens of a long input that are processed at a time]:n: ' \
            '--json[one JSON object]' \
            '(-h --help)'{-h,--help}'[show a summary of the options]'
        ;;
    data)
        _arguments \
            '(-o --out)'{-o,--out}'[the token file to write]:file:_files' \
            '(-m --model)'{-m,--model}'[checkpoint whose tokenizer it is]:file:_files' \
            '--tokenizer[tokenizer.json or GGUF file]:file:_files' \
            '--field[files are JSONL, and this string is the text]:name: ' \
            '--prompt-field[a string in front of it that is not learned]:name: ' \
            '--split[cut files into documents at this text]:text: ' \
            '*--include[of files in folders only those of such a name]:pattern: ' \
            '*--exclude[no files of such a name]:pattern: ' \
            '--crlf[read line ends CR LF as LF]' \
            '--invalid[bytes that are no UTF-8]:what to do:(error replace skip)' \
            '--no-special[read special tokens as ordinary text]' \
            '--end[the token between documents]:token: ' \
            '--no-end[nothing between documents]' \
            '*--held-out[files that go into a second token file]:pattern: ' \
            '--held-out-share[or this share of the documents]:share: ' \
            '--held-out-file[where that goes]:file:_files' \
            '--seed[of the choice of --held-out-share]:n: ' \
            '--inspect[show and verify a token file]:file:_files' \
            '--documents[how many documents to show]:n: ' \
            '--json[one JSON object]' \
            '(-t --threads)'{-t,--threads}'[threads]:n: ' \
            '(-h --help)'{-h,--help}'[show a summary of the options]' \
            '*:text:_files'
        ;;
    tokenizer)
        _arguments \
            '(-o --out)'{-o,--out}'[the tokenizer.json to write]:file:_files' \
            '--kind[what kind of tokenizer]:kind:(bpe bytes characters)' \
            '--vocab[how many tokens]:n: ' \
            '--min-count[merge no pair that is met less often]:n: ' \
            '--nfc[normal form C first]' \
            '--digits[each digit stays alone]' \
            '--alphabet[the characters]:text: ' \
            '--unknown[what every other character becomes]:token: ' \
            '*--special[a special token]:token: ' \
            '--without-special[no special token]' \
            '--field[files are JSONL, and this string is the text]:name: ' \
            '*--include[of files in folders only those of such a name]:pattern: ' \
            '*--exclude[no files of such a name]:pattern: ' \
            '--crlf[read line ends CR LF as LF]' \
            '--invalid[bytes that are no UTF-8]:what to do:(error replace skip)' \
            '--json[one JSON object]' \
            '(-t --threads)'{-t,--threads}'[threads]:n: ' \
            '(-h --help)'{-h,--help}'[show a summary of the options]' \
            ':action:(train inspect)' \
            '*:text:_files'
        ;;
    pull)
        _arguments \
            '--json[one JSON object]' \
            '(-h --help)'{-h,--help}'[show a summary of the options]' \
            ':model:($(krait list 2>/dev/null | cut -d " " -f 1))'
        ;;
    list)
        _arguments \
            '--json[one JSON list]' \
            '(-h --help)'{-h,--help}'[show a summary of the options]'
        ;;
    rm)
        _arguments \
            '(-h --help)'{-h,--help}'[show a summary of the options]' \
            ':model:($(krait list 2>/dev/null | cut -d " " -f 1))'
        ;;
    plot)
        _arguments \
            '*'{-y,--series}'[curves, by their names]:name,...:(loss held_out_loss lr tokens_per_second grad_norm)' \
            '(-x --axis)'{-x,--axis}'[what stands below]:axis:(steps tokens seconds)' \
            '--from[leave out what is before]:x: ' \
            '--to[leave out what is behind]:x: ' \
            '--log[logarithmic scale]:axes:(x y xy)' \
            '--smooth[a mean of so many points]:n or auto: ' \
            '(-o --out)'{-o,--out}'[a picture, .svg or .png]:file:_files -g "*.(svg|png)"' \
            '--size[width and height]:WxH: ' \
            '--title[what stands above]:text: ' \
            '*--name[what to call a run]:text: ' \
            '--ascii[letters instead of braille dots]' \
            '--json[one JSON object with the points]' \
            '(-h --help)'{-h,--help}'[show a summary of the options]' \
            '*:run:_files'
        ;;
    task)
        _arguments \
            '--length[tokens of the longest sequences that are learned from]:n: ' \
            '--memory[tokens to be copied]:n: ' \
            '--vocabulary[different tokens]:n: ' \
            '--layers[layers of the model]:n: ' \
            '--width[its d_model]:n: ' \
            '--state[its d_state]:n: ' \
            '(-m --model)'{-m,--model}'[test this model and learn nothing]:file:_files' \
            '--steps[updates of the parameters]:n: ' \
            '--batch[tokens of a step]:n: ' \
            '--lr[learning rate]:x: ' \
            '--seed[of the model and the sequences]:n: ' \
            '(-t --threads)'{-t,--threads}'[threads]:n: ' \
            '--isa[instruction set to compute with]:isa:(auto plain avx2 avx512 avx512-bf16 avx512-amx neon)' \
            '*--test[lengths, ascending]:n,...: ' \
            '--samples[sequences of each length]:n: ' \
            '(-o --out)'{-o,--out}'[keep the model and the results]:folder:_files -/' \
            '*--plot[draw accuracy over length, .svg or .png]:file:_files -g "*.(svg|png)"' \
            '--size[width and height]:WxH: ' \
            '--ascii[letters instead of braille dots]' \
            '--json[one JSON object]' \
            '(-h --help)'{-h,--help}'[show a summary of the options]' \
            ':task:(induction selective-copying copying)'
        ;;
    help) _describe command commands ;;
    esac
}

_krait "$@"
