#!/usr/bin/env python3
"""Writes tests/data/tokenizer: small tokenizers with the settings seen in published ones, and hard texts with the ids that
Hugging Face tokenizers gives for them. `--compare PROGRAM` compares instead, on random texts.

Needs `pip install tokenizers` (made with 0.21.4). PROGRAM is the krait command-line program."""
import json
import os
import random
import subprocess
import sys
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(ROOT, "tests", "data", "tokenizer")
SEED = 20

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + REST
QWEN = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + REST
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
GPT4O = (r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + "+" + CONTRACTIONS + r"?|[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER + "*"
         + CONTRACTIONS + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(prefix=False, regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def split(pattern, behavior="isolated", invert=False, literal=False):
    return pre_tokenizers.Split(pattern if literal else Regex(pattern), behavior, invert)


def sequence(*steps):
    return pre_tokenizers.Sequence(list(steps))


BYTES = byte_level(regex=False)
SETTINGS = {  # name: normalizer, pre-tokenizer
    "plain": (None, byte_level()),
    "neox": (normalizers.NFC(), byte_level()),
    "prefix": (None, byte_level(prefix=True)),
    "llama3": (None, sequence(split(LLAMA3), BYTES)),
    "qwen": (normalizers.NFC(), sequence(split(QWEN), BYTES)),
    "gpt4o": (None, sequence(split(GPT4O), BYTES)),
    "falcon": (None, sequence(pre_tokenizers.Punctuation("contiguous"), byte_level(), pre_tokenizers.Digits(False),
                              split("[0-9][0-9][0-9]"))),
    "deepseek": (normalizers.Sequence([]), sequence(split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"),
                                                    split("[一-龥ࠀ-一가-퟿]+"), pre_tokenizers.Digits(True), BYTES)),
    "starcoder": (None, sequence(pre_tokenizers.Digits(True), byte_level())),
    "bloom": (None, sequence(split(r" ?[^(\s|[.,!?…。，、।۔،])]+"), BYTES)),
    "nfkc": (normalizers.Sequence([normalizers.NFD(), normalizers.NFKC()]),
             sequence(pre_tokenizers.Punctuation("merged_with_previous"), byte_level(prefix=True))),
    "nfd": (normalizers.NFD(), sequence(pre_tokenizers.Punctuation("merged_with_next"), pre_tokenizers.Digits(False), BYTES)),
    "nfkd": (normalizers.NFKD(), sequence(pre_tokenizers.Punctuation("removed"), byte_level())),
    "word": (None, sequence(split(r"\w+", "removed", invert=True), BYTES)),
    "contiguous": (None, sequence(split(r"[\w]", "contiguous", invert=True), split(r"\s", "merged_with_next"), BYTES)),
    "empty": (None, sequence(split(r"a*|[^\S\n]*"), split("th", "merged_with_previous", literal=True),
                             split(" t", "merged_with_next", invert=True, literal=True), BYTES)),
    "after": (None, sequence(BYTES, split("Ġ+", "merged_with_next"), pre_tokenizers.Punctuation(), split("Ċ", "removed"))),
    "lines": (None, sequence(split(r"^\s*|.$|(?m:x.)"), byte_level())),
}

ADDED = [
    AddedToken("<|endoftext|>", special=True, normalized=False),
    AddedToken("<|pad|>", special=True, normalized=False),
    AddedToken("<mask>", special=True, normalized=False, lstrip=True),
    AddedToken("<r>", special=True, normalized=False, rstrip=True),
    AddedToken("<lr>", special=False, normalized=False, lstrip=True, rstrip=True),
    AddedToken("word", special=False, normalized=False, single_word=True),
    AddedToken("<|end", special=False, normalized=False),
    AddedToken("  ", special=False, normalized=True),
    AddedToken("    ", special=False, normalized=True),
    AddedToken("\n\n\n", special=False, normalized=True),
    AddedToken("ﬁ", special=False, normalized=True),
    AddedToken("ö\u0323", special=False, normalized=True, single_word=True),
    AddedToken("[X]", special=True, normalized=True, lstrip=True, single_word=True),
    AddedToken("日本", special=False, normalized=True),
]

TRAINING = [
    "The storm had broken before they reached the harbour, and the old captain, who had said nothing since the morning, told them "
    "that it's no use: they'd wait, he'd sleep, and we'll see what the tide brings. \"Don't you think so?\" I'm sure they've gone.\n",
    "int main(void)\n{\n    for (int i = 0; i < 100; i++)\n        x[i] = y[i] + 1;\r\n\treturn 42;   // 1984, 12345678\n}\n\n\n",
    "日本語のテキスト。中文文本,测试。 Русский текст для проверки. ελληνικά κείμενα. café naïve façade déjà vu. 한국어 नमस्ते ١٢٣ ½ ² Ⅷ 👨‍👩‍👧 🎉\n",
    "e\u0301 a\u0327\u0301 \u200d \u200b\u180e\u0085\u00a0\u3000 the captain and the character of the characters\n",
] * 20

SPACES = ["\t", "\n", "\r", "\r\n", "\x0b", "\x0c", " ", "  ", "    ", "\x85", "\xa0", "\u1680", "\u180e", "\u2000", "\u200a", "\u200b",
          "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff", "\x1c", "\x1f"]
MARKS = [chr(c) for c in list(range(0x300, 0x36f)) + [0x5b0, 0x5b4, 0x64b, 0x651, 0x653, 0x93c, 0x94d, 0x9be, 0xdcf, 0x3099, 0x309a,
                                                      0x1161, 0x11a8]]
TOKENS = [t.content for t in ADDED] + ["e\u0301", "ọ\u0308", "fi", "<|endoftext|", "<|endo", "words", "sword"]
WORDS = """the and of it's we'RE they'll I'd you've Don'T 'ſ xyz character th at 1984 12 007 1234567 a aa aaa x_y foo.bar() -- ... !? (x)
[y] {z} "q" café naïve Ⅷ ½² ①Ⓐ ١٢٣ नमस्ते 한국어 각 中文 Русский ελλ Ǆ ß ﬃ K Å 👨‍👩‍👧 🎉 \u200d a\u0327\u0301 ،۔ … $+<=>^`|~ Ġ Ċ é""".split()


def agreed(c):
    """Assigned so long ago that every library knows the character, and of the same kind ever since."""
    return unicodedata.category(chr(c)) != "Cs" and unicodedata.ucd_3_2_0.category(chr(c)) != "Cn" and c != 0x166d


def random_text():
    parts = []
    for _ in range(random.choice([1, 2, 3, 5, 8, 20, 40])):
        kind = random.random()
        if kind < 0.35:
            parts.append(random.choice(WORDS))
        elif kind < 0.55:
            parts.append(random.choice(SPACES) * random.choice([1, 1, 1, 2, 3, 7]))
        elif kind < 0.62:
            parts.append(random.choice(MARKS) * random.choice([1, 1, 2, 20]))
        elif kind < 0.72:
            parts.append(random.choice(TOKENS))
        elif kind < 0.85:
            parts.append(chr(random.randrange(32, 127)))
        else:
            c = 0xd800
            while not agreed(c):
                c = random.choice([random.randrange(0x80, 0x250), random.randrange(0x250, 0x3000), random.randrange(0x3000, 0xfffe),
                                   random.randrange(0x10000, 0x1ffff)])
            parts.append(chr(c))
        if random.random() < 0.4:
            parts.append(" ")
    return "".join(parts)


HARD = ["", " ", "  ", "\n", "the captain", " the captain", "the  captain   ", "\u0301", "e\u0301 ö\u0323 o\u0323\u0308", "a\u0301\u0327b",
        "<mask>", "a  <mask>  b", "a <r> \n b", "a \u3000<lr>\t\nb", "word words sword a word.", "<|endoftext|", "<|endoftext|><|endo",
        "[X]", "a [X] b", "a[X]b", "日本日本語", "     x", "\n\n\n\n", "1234567 12345678", "x\ny\n", "characterxyz", "\u180e \u180e", "\x85\x85",
        "x_1 ½x ①x Ⓐx e\u0301x", "\u1100\u1161\u11a8", "가\u11a8", "Å ﬁ ²", "\u0344\u0390", "\u0958 \u2126 \uf900", "\x00\x01\x7f"]


def model_settings(name, d):
    """What tokenizers cannot be made to write by training."""
    vocab, merges = d["model"]["vocab"], d["model"]["merges"]
    random.seed(SEED)
    if name == "llama3":  # tokens that only ignore_merges finds
        n = len(vocab)
        vocab["_y"], vocab["xyz"] = n, n + 1
        d["added_tokens"] = [dict(t, id=t["id"] + (2 if t["id"] >= n else 0)) for t in d["added_tokens"]]
        d["model"]["ignore_merges"] = True
    if name in ("neox", "falcon"):  # the older spelling
        d["model"]["merges"] = [" ".join(m) for m in merges]
    if name == "starcoder":  # ranks that no training gives
        random.shuffle(merges)
    if name == "gpt4o":  # every way to make a token
        merges = [[t[:i], t[i:]] for t in vocab for i in range(1, len(t)) if t[:i] in vocab and t[i:] in vocab]
        random.shuffle(merges)
        d["model"]["merges"] = merges


def make():
    os.makedirs(FOLDER, exist_ok=True)
    with open(os.path.join(FOLDER, "cases.jsonl"), "w") as cases:
        for name, (normalizer, pre_tokenizer) in SETTINGS.items():
            t = Tokenizer(models.BPE())
            if normalizer is not None:
                t.normalizer = normalizer
            t.pre_tokenizer = pre_tokenizer
            t.decoder = decoders.ByteLevel()
            t.train_from_iterator(TRAINING, trainers.BpeTrainer(vocab_size=400, show_progress=False,
                                                                initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
            t.add_tokens(ADDED)
            d = json.loads(t.to_str())
            model_settings(name, d)
            path = os.path.join(FOLDER, name + ".json")
            with open(path, "w") as f:
                json.dump(d, f, ensure_ascii=False, separators=(",", ":"))
                f.write("\n")
            write_cases(cases, name, path, 12)
        write_cases(cases, "text-small", os.path.join(ROOT, "models", "text-small", "tokenizer.json"), 40)


def write_cases(cases, name, path, n_random):
    t, plain = Tokenizer.from_file(path), Tokenizer.from_file(path)
    plain.encode_special_tokens = True
    random.seed(SEED)
    for text in HARD + [random_text() for _ in range(n_random)]:
        row = {"tokenizer": name, "text": text, "ids": t.encode(text, add_special_tokens=False).ids}
        no_special = plain.encode(text, add_special_tokens=False).ids
        if no_special != row["ids"]:
            row["no_special"] = no_special
        cases.write(json.dumps(row) + "\n")


def compare(program, n):
    differ = 0
    paths = [os.path.join(FOLDER, name + ".json") for name in SETTINGS]
    paths.append(os.path.join(ROOT, "models", "text-small", "tokenizer.json"))
    if "KRAIT_DATA" in os.environ:
        paths.append(os.path.join(os.environ["KRAIT_DATA"], "tokenizer", "gpt-neox-20b.tokenizer.json"))
    for path in paths:
        texts = [random_text() for _ in range(n)]
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        out = subprocess.run([program, "tokenize", "--tokenizer", path, "--jsonl"], input=lines, capture_output=True, text=True, check=True)
        t = Tokenizer.from_file(path)
        for text, line in zip(texts, out.stdout.splitlines(), strict=True):
            expected, found = t.encode(text, add_special_tokens=False).ids, json.loads(line)["ids"]
            if expected != found:
                differ += 1
                print(f"{path}: {text!r}: expected {expected}, found {found}")
    print(f"{len(paths)} tokenizers, {n} texts each: {differ} differ")
    return differ != 0


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "--compare":
        sys.exit(compare(sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1000))
    make()
