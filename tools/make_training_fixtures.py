#!/usr/bin/env python3
"""tests/data/tokenizer_train: what Hugging Face tokenizers learns from corpus.txt, and how it encodes with tokenizer.json files that
krait wrote. Usage: make_training_fixtures.py path/to/krait (needs the package tokenizers; 0.23.3 was used)"""
import json
import os
import random
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

krait = sys.argv[1]
folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "data", "tokenizer_train")
corpus = open(os.path.join(folder, "corpus.txt"), encoding="utf-8", newline="").read()

# Learned by Hugging Face.
hf = Tokenizer(models.BPE())
hf.normalizer = normalizers.NFC()
hf.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
hf.decoder = decoders.ByteLevel()
hf.train_from_iterator([corpus], trainers.BpeTrainer(
    vocab_size=700, min_frequency=2, special_tokens=["<|endoftext|>"], show_progress=False,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
learned = json.loads(hf.to_str())["model"]
merges = [m if isinstance(m, str) else " ".join(m) for m in learned["merges"]]
with open(os.path.join(folder, "learned.json"), "w", encoding="utf-8") as out:
    json.dump({"vocab": learned["vocab"], "merges": merges}, out, ensure_ascii=False, indent=0)
    out.write("\n")

# Encoded by Hugging Face.
random.seed(7)
texts = ["", " ", "\n", "the moor", "It's 1889, isn't it?  \n\n", "caf\u00e9 cafe\u0301 \u65e5\u672c\u8a9e \U0001f600",
         "<|endoftext|>one<|endoftext|>", "ACGTNNACGT", "acgt\u03b1\u03b2A<unk>C", "\u0000\u0001\u007f\u00a0\u00ad"]
for _ in range(12):
    start = random.randrange(len(corpus) - 200)
    texts.append(corpus[start:start + random.randrange(10, 200)])
pool = list("ACGTN") * 5 + ["\u03b1", "x", " ", "<unk>", "<|endoftext|>"]
for _ in range(6):
    texts.append("".join(random.choice(pool) for _ in range(60)))
makes = {
    "bpe": [os.path.join(folder, "corpus.txt"), "--vocab", "700", "--nfc"],
    "digits": [os.path.join(folder, "corpus.txt"), "--vocab", "400", "--digits"],
    "bytes": ["--kind", "bytes"],
    "characters": ["--kind", "characters", "--alphabet", "ACGTN\u03b1"],
}
with open(os.path.join(folder, "cases.jsonl"), "w", encoding="utf-8") as out, tempfile.TemporaryDirectory() as temporary:
    for name, arguments in makes.items():
        path = os.path.join(temporary, name + ".json")
        subprocess.run([krait, "tokenizer", "train", *arguments, "-o", path], check=True, stdout=subprocess.DEVNULL)
        tokenizer = Tokenizer.from_file(path)
        for text in texts:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            row = {"tokenizer": name, "text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)}
            out.write(json.dumps(row) + "\n")
