"""A Mamba that reads DNA base by base: how many bits it needs for a base it has not seen, beside models that count.

    python dna.py [--fasta genome.fa[.gz]] [--steps 300] [--out FOLDER]

Without --fasta: E. coli below $KRAIT_DATA if that is set, else the phage lambda beside this script.
"""
import argparse
import gzip
import os
import tempfile
from pathlib import Path

import numpy as np

import krait

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--fasta", type=Path)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--out", type=Path, help="a new folder, for the model")
options = parser.parse_args()
fasta = options.fasta
if fasta is None:
    ecoli = Path(os.environ.get("KRAIT_DATA", "")) / "dna" / "ecoli_k12" / "GCF_000005845.2_ASM584v2_genomic.fna.gz"
    fasta = ecoli if ecoli.exists() else Path(__file__).parent / "data" / "lambda.fa"
with (gzip.open if fasta.suffix == ".gz" else open)(fasta, "rt") as file:
    lines = file.read().splitlines()
bases = "".join(line for line in lines if not line.startswith(">")).upper()
print(f"{lines[0]}\n{len(bases):,} bases")

folder = Path(tempfile.mkdtemp()) if options.out is None else options.out
folder.mkdir(exist_ok=True)
# A token for each letter; what is none of them becomes <unk>.
tokenizer = krait.train_tokenizer(folder / "tokenizer.json", kind="characters", alphabet="ACGTN")
ids = tokenizer.encode(bases)

# The last tenth is held out, and measured in pieces from all over it.
train, rest = np.split(ids, [len(ids) * 9 // 10])
n = min(4096, len(rest) // 4)
held_out = np.stack([rest[at : at + n] for at in np.linspace(0, len(rest) - n, min(16, len(rest) // n)).astype(int)])

# Each strand is a text: the other one is read backwards, A for T and C for G.
complement = np.arange(tokenizer.vocab_size)
for a, b in zip("ACGT", "TGCA"):
    complement[tokenizer.id(a)] = tokenizer.id(b)
strands = [train, complement[train[::-1]]]


def counting(k):
    """Bits per base when it is foreseen from how often it stood behind the same k bases."""
    letters = np.full(tokenizer.vocab_size, -1)
    letters[[tokenizer.id(c) for c in "ACGT"]] = range(4)

    def contexts(x):
        x = letters[x]
        before = sum((x[..., i : x.shape[-1] - k + i] * 4 ** (k - 1 - i) for i in range(k)), np.zeros_like(x[..., k:]))
        known = np.lib.stride_tricks.sliding_window_view(x, k + 1, axis=-1).min(-1) >= 0
        return before[known], x[..., k:][known]

    counts = np.ones((4**k, 4))
    for strand in strands:
        np.add.at(counts, contexts(strand), 1)
    return -np.log2((counts / counts.sum(1, keepdims=True))[contexts(held_out)]).mean()


orders = list(range(13 if len(ids) > 1_000_000 else 7))
counted = [counting(k) for k in orders]
for k, found in zip(orders, counted):
    print(f"counting, order {k:>2}: {found:.4f} bits per base")

# Long windows, because it has more to look at than k bases.
WINDOW, ROWS = 512, 4
trainer = krait.Trainer({"vocab_size": tokenizer.vocab_size, "d_model": 64, "n_layer": 3}, learning_rate=4e-3, schedule="cosine",
                        warmup_steps=min(20, options.steps // 4), total_steps=options.steps, seed=1)
random = np.random.default_rng(1)
steps, bits = [], []
for step in range(options.steps + 1):
    if step % max(options.steps // 10, 1) == 0 or step == options.steps:
        steps.append(step)
        bits.append(trainer.evaluate(held_out) / np.log(2))
        print(f"step {step:>4}: {bits[-1]:.4f} bits per base, held out")
    if step < options.steps:
        which = random.integers(0, 2, ROWS)
        at = random.integers(0, len(train) - WINDOW, ROWS)
        trainer.step(np.stack([strands[w][a : a + WINDOW + 1] for w, a in zip(which, at)]))
print(f"Mamba {bits[-1]:.4f}, the best that counts {min(counted):.4f} (order {orders[int(np.argmin(counted))]})")

# A model with its tokenizer: for `krait run -m`, or to go on with here.
trainer.save_model(folder / "model", tokenizer=folder / "tokenizer.json")
model = krait.Model.load(folder / "model")
print(f"some of its own: {model.generate(bases[:60], max_tokens=60, temperature=1, seed=1)}")
if options.out is not None:
    print(f"the model: {folder / 'model'}")

try:
    import matplotlib
except ImportError:
    print("(no plot: matplotlib is not installed)")
else:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    left.plot(orders, counted, "s-", color="tab:gray")
    left.set_xlabel("bases looked at by counting")
    left.set_ylabel("held out [bits per base]")
    left.set_title("counting")
    right.plot(steps[1:], bits[1:], "o-")
    right.axhline(min(counted), color="tab:gray", ls="--", lw=1, label="the best of counting")
    right.set_xlabel("step of training")
    right.set_title("Mamba")
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig("dna.png", dpi=120)
    print("plot: dna.png")
