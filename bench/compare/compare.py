#!/usr/bin/env python3
"""Speed and quality of krait beside llama.cpp, on one machine in one session; see README.md in this folder.

    compare.py --llama DIR --krait PROGRAM [--shapes 130m,1.4b] [--text FILE --model MODEL] [--only PATTERN] [--json FILE]

Every case is independent: one that fails is named at the end, and the exit code is then 1. What a build does not have is left out and said so.
"""
import argparse
import fnmatch
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

TYPES = ("f32", "bf16", "q8", "q4")
LLAMA_TYPES = {"q8": "Q8_0", "q4": "Q4_0"}  # the rest is written by krait: there is nothing to choose
WORKS = {"prefill512": "prefill 512", "decode1": "decode, batch 1", "decode16": "decode, batch 16"}
PROMPT, STEPS, BATCH = 512, 64, 16

# The least ratio to llama.cpp that is wanted, by shape, work, type and threads.
WANTED = {
    ("130m", "prefill512", "f32", 1): 3.2, ("130m", "prefill512", "bf16", 1): 5, ("130m", "prefill512", "q8", 1): 6,
    ("1.4b", "prefill512", "bf16", 2): 2.5, ("1.4b", "prefill512", "q8", 2): 5,
    ("130m", "decode1", "f32", 2): 1.1, ("130m", "decode1", "bf16", 2): 1.3,
    ("130m", "decode1", "q8", 2): 2, ("130m", "decode1", "q4", 2): 2,
    ("1.4b", "decode1", "q8", 2): 1.5, ("1.4b", "decode1", "q4", 2): 1.5,
    ("130m", "decode16", "bf16", 2): 7, ("130m", "decode16", "q8", 2): 10,
}  # fmt: skip


class Failed(Exception):
    """A case could not be measured."""


class Missing(Exception):
    """A build does not have what a case needs."""


@dataclass
class Rates:
    """Tokens per second of one case, round by round."""

    krait: list = field(default_factory=list)
    llama: list = field(default_factory=list)
    of_bound: list = field(default_factory=list)  # krait's rate as a share of the bound that `krait bench` measured with it

    def ratios(self):
        return [k / l for k, l in zip(self.krait, self.llama)]


@dataclass(frozen=True)
class Case:
    shape: str
    work: str  # of WORKS, or "perplexity"
    type: str
    threads: int

    @property
    def name(self):
        return f"{self.shape}/{self.work}/{self.type}/t{self.threads}"


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(command, timeout):
    """The standard output and error of a program that succeeded."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failed(f"{os.path.basename(command[0])} took over {timeout} s") from None
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise Failed(f"{os.path.basename(command[0])} ended with {done.returncode}: {lines[-1].strip()}")
    return done.stdout, done.stderr


def positive(value, what):
    if not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise Failed(f"{what}: expected a rate above 0, found {value!r}")
    return value


class Krait:
    def __init__(self, program, timeout):
        self.program, self.timeout, self.helps = program, timeout, {}

    def call(self, *arguments):
        return run([self.program, *map(str, arguments)], self.timeout)[0]

    def help(self, command):
        if command not in self.helps:
            try:
                self.helps[command] = self.call(command, "--help")
            except Failed:
                self.helps[command] = ""
        return self.helps[command]

    def type_options(self, command, type_):
        """What makes `command` use a type; Missing when the program cannot."""
        listed = re.search(r"--type (\w+(?:\|\w+)+)", self.help(command))
        if type_ == "f32" and not listed:
            return []
        if not listed or type_ not in listed.group(1).split("|"):
            raise Missing(f"this krait has no {command} --type {type_}")
        return ["--type", type_]

    def rate(self, case, repeats):
        work = ["--prefill", PROMPT, "--decode", 0]
        if case.work != "prefill512":
            work = ["--prefill", 0, "--decode", STEPS, "--batch", BATCH if case.work == "decode16" else 1]
        text = self.call("bench", "--shape", case.shape, *self.type_options("bench", case.type), *work,
                         "--threads", case.threads, "--rounds", repeats, "--json")  # fmt: skip
        try:
            (result,) = json.loads(text)["results"]
            return positive(result["tokens_per_second"], "krait bench"), 1 / result["ratio"]
        except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise Failed(f"krait bench: unexpected output: {error!r}") from None

    def perplexity(self, options, type_):
        model = ["-m", options.model] if options.model else []
        text = self.call("perplexity", *model, "-f", options.text, "--window", options.window, "--threads", max(options.threads),
                         *self.type_options("perplexity", type_), "--json")  # fmt: skip
        try:
            return positive(json.loads(text)["perplexity"], "krait perplexity")
        except (ValueError, KeyError) as error:
            raise Failed(f"krait perplexity: unexpected output: {error!r}") from None


class Llama:
    def __init__(self, folder, timeout):
        self.folder, self.timeout = folder, timeout

    def program(self, name):
        path = os.path.join(self.folder, name)
        if not os.access(path, os.X_OK):
            raise Missing(f"no {name} in {self.folder}")
        return path

    def rate(self, case, model, repeats):
        """The best of the repeats, as `krait bench` gives it."""
        if case.work == "decode16":
            tokens = ",".join([str(STEPS)] * repeats)
            out = run([self.program("llama-batched-bench"), "-m", model, "-npp", "16", "-ntg", tokens, "-npl", str(BATCH), "-c",
                       str(BATCH * (16 + STEPS)), "-t", str(case.threads), "-tb", str(case.threads),
                       "--output-format", "jsonl"], self.timeout)  # fmt: skip
            lines = [line for text in out for line in text.splitlines() if line.startswith('{"')]
            key, name = "speed_tg", "llama-batched-bench"
        else:
            prompt, steps = (PROMPT, 0) if case.work == "prefill512" else (0, STEPS)
            out, _ = run([self.program("llama-bench"), "-m", model, "-p", str(prompt), "-n", str(steps), "-t", str(case.threads),
                          "-r", str(repeats), "-o", "json"], self.timeout)  # fmt: skip
            lines, key, name = [out], "samples_ts", "llama-bench"
        try:
            found = [json.loads(line) for line in lines]
            samples = [f[key] for f in found] if key == "speed_tg" else found[0][0][key]
            return max(positive(s, name) for s in samples)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise Failed(f"{name}: unexpected output: {error!r}") from None

    def perplexity(self, options, model, repack):
        out = run([self.program("llama-perplexity"), "-m", model, "-f", options.text, "-c", str(options.window), "-t",
                   str(max(options.threads)), *([] if repack else ["--no-repack"])], self.timeout)  # fmt: skip
        found = re.search(r"Final estimate: PPL = ([0-9.]+)", "\n".join(out))
        if not found:
            raise Failed("llama-perplexity: no final estimate in its output")
        return positive(float(found.group(1)), "llama-perplexity")


class Models:
    """Model files, made once, each whole or not at all."""

    def __init__(self, folder, krait, llama):
        self.folder, self.krait, self.llama = folder, krait, llama
        os.makedirs(folder, exist_ok=True)

    def path(self, name, type_, source):
        """A GGUF file of `source`, the arguments of krait quantize that name a model."""
        path = os.path.join(self.folder, f"{name}-{type_}.gguf")
        if os.path.exists(path):
            return path
        part = os.path.join(self.folder, f".making-{os.getpid()}.gguf")
        try:
            if type_ in LLAMA_TYPES:
                base = self.path(name, "f32", source)
                say(f"making {path}")
                run([self.llama.program("llama-quantize"), base, part, LLAMA_TYPES[type_]], self.llama.timeout)
            else:
                if not self.krait.help("quantize"):
                    raise Missing("this krait has no quantize, which makes the model files")
                say(f"making {path}")
                self.krait.call("quantize", *source, part, "--type", type_)
            os.replace(part, path)
        finally:
            if os.path.exists(part):
                os.remove(part)
        return path

    def of_shape(self, shape, type_):
        return self.path(f"random-{shape}", type_, ["--shape", shape])

    def of_model(self, model, type_):
        base = re.sub(r"[^\w.-]", "_", os.path.basename(os.path.abspath(model))) if model else "built-in"
        return self.path(f"text-{base}", type_, [model] if model else [])


def measure_rates(case, options, krait, llama, models):
    """Both sides in turns; who begins changes every round, so that a machine that slows down wrongs neither."""
    krait.type_options("bench", case.type)
    model = models.of_shape(case.shape, case.type)
    rates = Rates()
    for i in range(options.rounds):
        for side in ("krait", "llama") if i % 2 == 0 else ("llama", "krait"):
            if side == "krait":
                rate, share = krait.rate(case, options.repeats)
                rates.krait.append(rate)
                rates.of_bound.append(share)
            else:
                rates.llama.append(llama.rate(case, model, options.repeats))
        say(f"{case.name} {i + 1}/{options.rounds}: {rates.krait[-1]:.1f} and {rates.llama[-1]:.1f} tokens/s, {rates.ratios()[-1]:.2f}x")
    return rates


def measure_perplexity(case, options, krait, llama, models):
    found = {"krait": krait.perplexity(options, case.type)}
    model = models.of_model(options.model, case.type)
    found["llama"] = llama.perplexity(options, model, True)
    if case.type in LLAMA_TYPES:
        found["llama_no_repack"] = llama.perplexity(options, model, False)
    say(f"{case.name}: " + ", ".join(f"{k} {v:.4f}" for k, v in found.items()))
    return found


def all_cases(options):
    cases = [Case(s, w, ty, t) for s in options.shapes for w in WORKS for ty in options.types for t in options.threads]
    if options.text:
        cases += [Case("text", "perplexity", ty, max(options.threads)) for ty in options.types]
    return [c for c in cases if not options.only or any(fnmatch.fnmatchcase(c.name, p) for p in options.only)]


def change(perplexities, type_, side):
    """In per cent of the same side's float32: the two sides do not score the same tokens."""
    base, found = perplexities.get("f32", {}).get("krait" if side == "krait" else "llama"), perplexities.get(type_, {}).get(side)
    return None if base is None or found is None else 100 * (found / base - 1)


def percent(value):
    return "" if value is None else f"{value:+.3f} %"


def markdown(rates, perplexities):
    rows = []
    if rates:
        head = ["shape", "work", "weights", "threads", "krait, tokens/s", "llama.cpp", "ratio (rounds)", "wanted", "of the bound"]
        if perplexities:
            head += ["perplexity of krait", "of llama.cpp", "without repacking"]
        rows += [head, ["---"] * len(head)]
        for case, r in rates.items():
            ratio, wanted = statistics.median(r.ratios()), WANTED.get((case.shape, case.work, case.type, case.threads))
            bold = "**" if wanted and ratio < wanted else ""
            row = [case.shape, WORKS[case.work], case.type, str(case.threads), f"{statistics.median(r.krait):.1f}",
                   f"{statistics.median(r.llama):.1f}", f"{bold}{ratio:.2f}x{bold} ({min(r.ratios()):.2f}-{max(r.ratios()):.2f})",
                   f"{wanted}x" if wanted else "", f"{100 * statistics.median(r.of_bound):.0f} %"]  # fmt: skip
            if perplexities:
                row += [percent(change(perplexities, case.type, s)) for s in ("krait", "llama", "llama_no_repack")]
            rows.append(row)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if perplexities:
        lines += [""] if lines else []
        lines += ["| weights | perplexity, krait | llama.cpp | llama.cpp without repacking |", "|---|---|---|---|"]
        for type_, found in perplexities.items():
            cells = [type_]
            for side in ("krait", "llama", "llama_no_repack"):
                cells.append(f"{found[side]:.4f} ({percent(change(perplexities, type_, side)) or 'no f32'})" if side in found else "")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def as_json(options, rates, perplexities, left_out, failed):
    def one(case, r):
        return {
            "shape": case.shape, "work": case.work, "type": case.type, "threads": case.threads,
            "krait_tokens_per_second": r.krait, "llama_tokens_per_second": r.llama, "ratio": statistics.median(r.ratios()),
            "wanted": WANTED.get((case.shape, case.work, case.type, case.threads)), "of_bound": statistics.median(r.of_bound),
        }  # fmt: skip

    return {
        "rounds": options.rounds, "repeats": options.repeats, "window": options.window,
        "rates": [one(c, r) for c, r in rates.items()],
        "perplexity": [{"type": t, **found} for t, found in perplexities.items()],
        "left_out": left_out, "failed": failed,
    }  # fmt: skip


def parse(arguments):
    def words(allowed):
        def split(text):
            for word in text.split(","):
                if word not in allowed:
                    raise argparse.ArgumentTypeError(f"expected some of {','.join(allowed)}, found {word}")
            return text.split(",")

        return split

    def count(text):
        if not text.isdecimal() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"expected a whole number, at least 1, found {text}")
        return int(text)

    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--llama", required=True, metavar="DIR", help="folder of llama-bench, llama-batched-bench, llama-quantize, llama-perplexity")
    p.add_argument("--krait", required=True, metavar="PROGRAM")
    p.add_argument("--models", metavar="DIR", help="keep model files here (130m: 1.2 GB, 1.4b: 11 GB); without it they go away at the end")
    p.add_argument("--shapes", type=words(["130m", "370m", "790m", "1.4b", "2.8b"]), default=["130m"])
    p.add_argument("--types", type=words(TYPES), default=list(TYPES))
    p.add_argument("--threads", type=lambda text: [count(t) for t in text.split(",")], default=[1, 2])
    p.add_argument("--rounds", type=count, default=5, help="the sides take turns so many times; the median ratio is shown [5]")
    p.add_argument("--repeats", type=count, default=3, help="measurements in a turn; the best counts, on both sides [3]")
    p.add_argument("--text", metavar="FILE", help="also both sides' perplexity on this text")
    p.add_argument("--model", help="the model for it, as krait takes it; without it krait's built-in one")
    p.add_argument("--window", type=count, default=512, help="tokens that a window of that text has [512]")
    p.add_argument("--only", action="append", metavar="PATTERN", help="only cases of such names, as in '130m/decode*/q8/*'; may be repeated")
    p.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    p.add_argument("--timeout", type=count, default=1800, help="seconds that one program may take [1800]")
    p.add_argument("--json", metavar="FILE", help="write everything here, too")
    return p.parse_args(arguments)


def main(arguments):
    options = parse(arguments)
    cases = all_cases(options)
    if options.list:
        print("\n".join(c.name for c in cases))
        return 0
    if not cases:
        say(f"compare.py: --only {' '.join(options.only or [])}: no case has such a name; --list shows them")
        return 2
    krait, llama = Krait(options.krait, options.timeout), Llama(options.llama, options.timeout)
    rates, perplexities, left_out, failed, code = {}, {}, {}, {}, 0
    with tempfile.TemporaryDirectory(prefix="krait-compare-") as scratch:
        models = Models(options.models or scratch, krait, llama)
        try:
            for case in cases:
                try:
                    if case.work == "perplexity":
                        perplexities[case.type] = measure_perplexity(case, options, krait, llama, models)
                    else:
                        rates[case] = measure_rates(case, options, krait, llama, models)
                except Missing as missing:
                    left_out[case.name] = str(missing)
                except Failed as error:
                    failed[case.name] = str(error)
                    say(f"{case.name} FAILED: {error}")
        except KeyboardInterrupt:
            say("interrupted: what follows is what was measured before")
            code = 130
    if rates or perplexities:
        print(markdown(rates, perplexities))
    for what, names in (("left out", left_out), ("FAILED", failed)):
        for name, why in names.items():
            say(f"{what}: {name}: {why}")
    if options.json:
        with open(options.json + ".part", "w", encoding="utf-8") as file:
            json.dump(as_json(options, rates, perplexities, left_out, failed), file, indent=1)
            file.write("\n")
        os.replace(options.json + ".part", options.json)
    if not rates and not perplexities and not code:
        say("nothing was measured")
        code = 1
    return code or (1 if failed else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
