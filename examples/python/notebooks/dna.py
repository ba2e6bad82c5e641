# %% [markdown]
# # A Mamba that reads DNA
#
# An alphabet of four letters, texts of millions of them without a space: what a tokenizer for a language is good for does not help here, and a token for each letter makes
# texts long. That is where a state of fixed size is good. This notebook makes a tokenizer of an alphabet, trains a small model base by base, measures
# it beside models that count, and finds a rhythm in it. It needs krait, numpy and matplotlib.
#
# `KRAIT_DNA` names a FASTA file, gzipped or not; without it the phage lambda is read, which is beside this notebook. What is shown below is *Escherichia coli* K-12
# (NC_000913.3), in which there is a hundred times as much to learn from.

# %%
import gzip
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import krait

STEPS = int(os.environ.get("KRAIT_EXAMPLE_STEPS", 3000))  # fewer when the tests run this
fasta = Path(os.environ.get("KRAIT_DNA", "../data/lambda.fa"))
with (gzip.open if fasta.suffix == ".gz" else open)(fasta, "rt") as file:
    lines = file.read().splitlines()
bases = "".join(line for line in lines if not line.startswith(">")).upper()
print(lines[0])
print(f"{len(bases):,} bases: {bases[:60]}...")

# %% [markdown]
# ## Letters, strands, and what is held out
#
# The tokenizer has a token for each letter of `ACGTN`; N stands for a base that is not known, and anything else becomes `<unk>`. The last tenth of the genome is held out and measured in pieces
# from all over it. DNA has two strands: the other one is read backwards, A for T and C for G, and is as good a text to learn from.

# %%
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
tokenizer = krait.train_tokenizer(folder / "tokenizer.json", kind="characters", alphabet="ACGTN")
ids = tokenizer.encode(bases)
print({letter: tokenizer.id(letter) for letter in "ACGTN"}, "of", tokenizer.vocab_size, "tokens")

train, rest = np.split(ids, [len(ids) * 9 // 10])
piece = min(4096, len(rest) // 4)
held_out = np.stack([rest[at : at + piece] for at in np.linspace(0, len(rest) - piece, min(16, len(rest) // piece)).astype(int)])
complement = np.arange(tokenizer.vocab_size)
for a, b in zip("ACGT", "TGCA"):
    complement[tokenizer.id(a)] = tokenizer.id(b)
strands = [train, complement[train[::-1]]]
print(f"{len(train):,} bases to learn from, {held_out.size:,} of the {len(rest):,} held out are measured")

# %% [markdown]
# ## Counting
#
# The simplest models: how often did each base stand behind the same *k* bases? With none it takes 2 bits to write a base. The more are looked at, the better, until there are more
# contexts than have been seen. Many bases on, counting becomes memory for what is repeated word for word.

# %%
letters = np.full(tokenizer.vocab_size, -1)
letters[[tokenizer.id(c) for c in "ACGT"]] = range(4)


def contexts(x, k):
    """(the k bases before as a number, the base) wherever all are known."""
    x = letters[x]
    before = sum((x[..., i : x.shape[-1] - k + i] * 4 ** (k - 1 - i) for i in range(k)), np.zeros_like(x[..., k:]))
    known = np.lib.stride_tricks.sliding_window_view(x, k + 1, axis=-1).min(-1) >= 0
    return before[known], x[..., k:][known]


def counting(k):
    counts = np.ones((4**k, 4))
    for strand in strands:
        np.add.at(counts, contexts(strand, k), 1)
    return -np.log2((counts / counts.sum(1, keepdims=True))[contexts(held_out, k)]).mean()


orders = list(range(13 if len(ids) > 1_000_000 else 7))
counted = [counting(k) for k in orders]
best = int(np.argmin(counted))
print(f"order 0: {counted[0]:.4f} bits per base; the best is order {best}: {counted[best]:.4f}, of {4 ** (best + 1):,} counts")

# %% [markdown]
# ## Training
#
# `krait.Trainer` takes batches of any kind. Each is four windows of 512 bases, from anywhere on either strand.

# %%
trainer = krait.Trainer({"vocab_size": tokenizer.vocab_size, "d_model": 64, "n_layer": 3}, learning_rate=4e-3, schedule="cosine",
                        warmup_steps=min(20, STEPS // 4), total_steps=STEPS, seed=1)
random = np.random.default_rng(1)
steps, bits = [], []
for step in range(STEPS + 1):
    if step % max(STEPS // 15, 1) == 0:
        steps.append(step)
        bits.append(trainer.evaluate(held_out) / np.log(2))
    if step < STEPS:
        which, at = random.integers(0, 2, 4), random.integers(0, len(train) - 512, 4)
        trainer.step(np.stack([strands[w][a : a + 513] for w, a in zip(which, at)]))
trainer.save_model(folder / "model", tokenizer=folder / "tokenizer.json")
model = krait.Model.load(folder / "model")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
left.plot(orders, counted, "s-", color="tab:gray")
left.set_xlabel("bases that counting looks at")
left.set_ylabel("held out [bits per base]")
left.set_title("counting")
right.plot(steps[1:], bits[1:], "o-")
right.axhline(counted[best], color="tab:gray", ls="--", lw=1, label=f"counting, order {best}")
if best > 8:
    right.axhline(min(counted[:9]), color="tab:gray", ls=":", lw=1.5, label=f"counting, order {int(np.argmin(counted[:9]))}")
right.set_xlabel("step of training")
right.set_title(f"Mamba, {model.config.parameters:,} parameters")
right.legend()
for axes in (left, right):
    axes.grid(alpha=0.3)
plt.show()
print(f"Mamba: {bits[-1]:.4f} bits per base; counting at its best {counted[best]:.4f}")
print(f"read in training: {STEPS * 4 * 512 / len(train) / 2:.2f} times both strands")

# %% [markdown]
# ## A rhythm of three
#
# Genes are written in words of three bases, and nobody has told the model. The spectrum of its hidden states along held-out DNA shows what it has found: a peak at a
# period of three bases, which is weak in the letters themselves (layer 0) and grows from layer to layer.

# %%
WINDOW = 384  # bases


def spectrum(x):
    """Power of each channel [n, channels] over its median, the mean over channels and windows."""
    x = x[: len(x) // WINDOW * WINDOW].reshape(-1, WINDOW, x.shape[-1])
    x = (x - x.mean(axis=1, keepdims=True)) * np.hanning(WINDOW)[:, None]
    power = (np.abs(np.fft.rfft(x, axis=1)) ** 2).mean(axis=0)[2:]
    return (power / np.median(power, axis=0)).mean(axis=1)


hidden = np.concatenate([model.hidden(row) for row in held_out], axis=1)  # [layers, n, d_model]
frequencies = np.fft.rfftfreq(WINDOW)[2:]
peaks = []
figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
for i, layer in enumerate(hidden):
    power = spectrum(layer)
    peaks.append(power[np.abs(frequencies - 1 / 3).argmin()])
    axes.semilogy(1 / frequencies, power, lw=1, color=plt.cm.viridis(i / len(hidden)), label=f"layer {i}")
axes.set_xlim(2, 8)
axes.set_xlabel("period [bases]")
axes.set_ylabel("power [of the median]")
axes.grid(alpha=0.3)
axes.legend()
plt.show()
print("power at three bases, of the median:", [round(float(p), 1) for p in peaks])

# %% [markdown]
# ## Some of its own
#
# What it writes is no gene, but has the statistics of what it read. In the genome of *E. coli* the triplet CTG is frequent and TAG is rare; by chance it would be 16 of 1,000 each.

# %%
own = model.generate(bases[:300], max_tokens=3000, temperature=1, seed=1).text
print(own[:120])
for name, text in (("the genome", bases[-len(bases) // 10 :]), ("the model", own)):
    print(f"{name}: G and C {100 * (text.count('G') + text.count('C')) / len(text):.0f} %, TAG {1000 * text.count('TAG') / len(text):.0f} and "
          f"CTG {1000 * text.count('CTG') / len(text):.0f} of 1,000 triplets")

# %%
temporary.cleanup()
