#!/usr/bin/env python3
"""Whether krait and llama.cpp say the same of each other's files: token ids, and logits after a prompt; see README.md in this folder.

    agree.py --llama DIR --krait PROGRAM [MODEL...]

For each MODEL (a folder, a weights file or a GGUF file; without one krait's built-in model), in float32:
  - krait's GGUF file of it in llama.cpp, beside krait on the model itself;
  - that file written anew by llama.cpp (llama-quantize F32), in krait.
And for each type that krait writes, F16, BF16, Q8_0 and Q4_0:
  - krait's file of that type, loaded by llama.cpp, which multiplies it in its own way: it rounds what it multiplies with, krait here does not;
  - that file expanded by llama.cpp to F32 and run there, beside the file itself expanded by krait: the same numbers are read out of it.
Each line ends with the largest difference of the logits in parts of the largest logit. Exit code 1 if one is above 1e-5 (where llama.cpp rounds,
above 0.002 for F16, 0.02 for BF16, 0.03 for Q8_0 and Q4_0), or ids differ.
"""
import argparse
import array
import json
import os
import struct
import subprocess
import sys
import tempfile

TEXT = "The inspector opened the door, and there - in 1,200 years! - nobody's naïve café was \"found\"."
LIMIT = 1e-5
ROUNDED = {"f16": 0.002, "bf16": 0.02, "q8": 0.03, "q4": 0.03}


def run(arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, errors="replace")
    if done.returncode:
        sys.exit(f"agree.py: {os.path.basename(arguments[0])}: exit code {done.returncode}: {' '.join(done.stderr.split())[-400:]}")
    return done.stdout


def floats(data):
    values = array.array("f", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def last_row(path):
    """The last row of the tensor logits of a safetensors file."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(length))["logits"]
        begin, end = entry["data_offsets"]
        row = 4 * entry["shape"][1]
        file.seek(8 + length + end - row)
        return floats(file.read(row))


class Programs:
    def __init__(self, krait, llama, folder):
        self.krait, self.llama, self.folder = krait, llama, folder

    def path(self, name):
        return os.path.join(self.folder, name)

    def krait_logits(self, model, ids):
        out = self.path("krait.safetensors")
        run([self.krait, "logits", *(["-m", model] if model else []), "--type", "f32", "--ids", ",".join(map(str, ids)), "-o", out])
        return last_row(out)

    def krait_ids(self, model):
        return [int(i) for i in run([self.krait, "tokenize", *(["-m", model] if model else []), "-p", TEXT]).split()]

    def llama_logits(self, model):
        """Ids and logits, from the files that llama-debug writes."""
        out = self.path("llama")
        run([os.path.join(self.llama, "llama-debug"), "-m", model, "-p", TEXT, "--save-logits", "--logits-output-dir", out])
        stem = os.path.join(out, "llamacpp-" + os.path.splitext(os.path.basename(model))[0])
        with open(stem + ".bin", "rb") as file:
            logits = floats(file.read())
        with open(stem + "-tokens.bin", "rb") as file:
            data = file.read()
        return list(struct.unpack(f"<{len(data) // 4}i", data)), logits


def difference(found, expected):
    if len(found) != len(expected):
        return float("inf")
    largest = max(map(abs, expected))
    return max(abs(f - e) for f, e in zip(found, expected)) / largest


def check(programs, model):
    name = model or "the built-in model"
    source = [model] if model else []
    ours, theirs = programs.path("krait.gguf"), programs.path("llama.gguf")
    good = True

    def tell(what, found, expected, limit=LIMIT):
        nonlocal good
        d = difference(found, expected)
        good = good and d <= limit
        print(f"{name}: {what}: {len(ids)} tokens, {len(expected)} logits, {d:.2g}{'' if d <= limit else ' DIFFERENT'}", flush=True)

    def rewrite(extra=()):
        run([os.path.join(programs.llama, "llama-quantize"), *extra, ours, theirs, "F32"])

    ids = programs.krait_ids(model)
    for note in json.loads(run([programs.krait, "quantize", *source, ours, "--type", "f32", "--force", "--json"]))["notes"]:
        print(f"{name}: note: {note}")  # such as that llama.cpp has one epsilon for all norms, from which logits differ by 3e-4
    rewrite()
    their_ids, logits = programs.llama_logits(ours)
    if their_ids != ids:
        print(f"{name}: other ids: llama.cpp {their_ids}, krait {ids}")
        return False
    expected = programs.krait_logits(model, ids)
    tell("krait's file in llama.cpp", logits, expected)
    tell("llama.cpp's file in krait", programs.krait_logits(theirs, ids), expected)
    for of_type, limit in ROUNDED.items():
        run([programs.krait, "quantize", *source, ours, "--type", of_type, "--force"])
        expected = programs.krait_logits(ours, ids)
        tell(f"krait's {of_type} file in llama.cpp, which rounds", programs.llama_logits(ours)[1], expected, limit)
        rewrite(["--allow-requantize"])
        tell(f"krait's {of_type} file expanded by llama.cpp", programs.llama_logits(theirs)[1], expected)
    return good


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--llama", required=True, metavar="DIR", help="folder of llama-debug and llama-quantize")
    p.add_argument("--krait", required=True, metavar="PROGRAM")
    p.add_argument("models", nargs="*", metavar="MODEL")
    options = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="krait-agree-") as folder:
        results = [check(Programs(options.krait, options.llama, folder), m) for m in options.models or [None]]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
