# %% [markdown]
# # A whole training run, interrupted
#
# `krait.train` does what the program `krait train` does: it makes a model from texts, measures what is held out, writes checkpoints, and goes on from the last one when it is
# called again. This notebook trains a small model, stops it in the middle, goes on, and compares that with a run that was never stopped: bit for bit. It needs
# krait, numpy and matplotlib.

# %%
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import krait

STEPS = int(os.environ.get("KRAIT_EXAMPLE_STEPS", 400))  # fewer when the tests run this
text = Path("../data/hound.txt").read_text("utf-8")
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
cut = len(text) * 9 // 10
(folder / "train.txt").write_text(text[:cut])
(folder / "held_out.txt").write_text(text[cut:])
print(f"{cut:,} characters to learn from, {len(text) - cut:,} held out")

# %% [markdown]
# ## A tokenizer
#
# Byte pair encoding joins what often stands together. With 512 tokens a token is about two bytes of this text.

# %%
tokenizer = krait.train_tokenizer(folder / "tokenizer.json", [folder / "train.txt"], vocab_size=512)
ids = tokenizer.encode(text[cut:])
print(f"{len(text[cut:].encode()) / len(ids):.2f} bytes a token")
print("|".join(tokenizer.decode([i]) for i in tokenizer.encode("Mr. Holmes, they were the footprints of a gigantic hound!")))

# %% [markdown]
# ## The run
#
# Settings are those of a config file of `krait train`, as a dict. `on_event` hears of every step and evaluation; when it returns False the run writes a checkpoint
# and ends, as it does at Ctrl-C.

# %%
settings = {
    "seed": 1,
    "model": {"tokenizer": str(folder / "tokenizer.json"), "d_model": 64, "n_layer": 2},
    "data": {"train": [str(folder / "train.txt")], "held_out": [str(folder / "held_out.txt")], "window": 128, "rows": 4},
    "train": {"steps": STEPS, "learning_rate": 4e-3, "warmup_steps": STEPS // 20, "schedule": "cosine"},
    "evaluate": {"every": STEPS // 10},
    "sample": {"tokens": 0},
}


class Watch:
    """Keeps what a run tells, and stops it at a step."""

    def __init__(self, stop=None):
        self.stop, self.steps, self.tests = stop, [], []

    def __call__(self, event):
        if event.type == "step":
            self.steps.append((event.step, event.loss, event.learning_rate))
        elif event.type == "evaluation":
            self.tests.append((event.step, event.held_out_bits_per_byte))
        return event.step != self.stop


first = Watch(stop=STEPS * 2 // 5)
run = krait.train(settings, out=folder / "run", on_event=first)
print(f"stopped at step {run.step}, finished: {run.finished}")
second = Watch()
run = krait.train(settings, out=folder / "run", on_event=second)
print(f"went on from step {second.steps[0][0]} to {run.step}, finished: {run.finished}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for watch, name in ((first, "until it was stopped"), (second, "after it went on")):
    left.plot([s for s, _, _ in watch.steps], [loss for _, loss, _ in watch.steps], lw=0.8, label=name)
    right.plot(*zip(*watch.tests), "o-", label=name)
left.set_xlabel("step")
left.set_ylabel("loss of the batch [nats per token]")
left.legend()
right.set_xlabel("step")
right.set_ylabel("held out [bits per byte]")
right.legend()
for axes in (left, right):
    axes.grid(alpha=0.3)
plt.show()
print(f"held out: {first.tests[0][1]:.2f} bits per byte at step {first.tests[0][0]}, {min(t for _, t in first.tests + second.tests):.2f} at best, {second.tests[-1][1]:.2f} at the end")

# %% [markdown]
# The loss of what it reads goes on falling, that of what is held out does not: 30 kB are soon learned by heart. A run keeps the model with the lowest held-out loss in `run.best`,
# beside the newest checkpoint in `run.last`.
#
# ## As if nothing had happened
#
# The same run without a stop ends with the same model, in every bit.

# %%
whole = Watch()
other = krait.train(settings, out=folder / "whole", on_event=whole)
same = (run.last / "model.safetensors").read_bytes() == (other.last / "model.safetensors").read_bytes()
print(f"losses of all {len(whole.steps)} steps the same: {first.steps + second.steps == whole.steps}")
print(f"models the same: {same}")
assert same

# %% [markdown]
# ## What it learned, and what it learned by heart
#
# Both models are run like any other. How well each byte is foreseen, along the text, shows where the held-out part begins.

# %%
models = {"the newest": krait.Model.load(run.last), "the best": krait.Model.load(run.best)}
for name, model in models.items():
    print(f"{name}: Holmes" + " ".join(model.generate("Holmes", max_tokens=60, temperature=0.7, seed=2).text.split("\n")))

ids = tokenizer.encode(text)
sizes = np.array([len(tokenizer.token(int(i))) for i in ids])  # bytes
places, window = np.cumsum(sizes)[1:], 400
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
for name, model in models.items():
    bits = -np.array(model.score(text).logprobs) / np.log(2)  # of each token behind the first
    smooth = np.convolve(bits, np.ones(window), "valid") / np.convolve(sizes[1:], np.ones(window), "valid")
    axes.plot(places[window // 2 :][: len(smooth)] / 1000, smooth, label=name)
    seen = places <= cut
    print(f"{name}: {bits[seen].sum() / sizes[1:][seen].sum():.2f} bits per byte of what it has read, {bits[~seen].sum() / sizes[1:][~seen].sum():.2f} of what is held out")
axes.axvspan(cut / 1000, len(text) / 1000, color="gray", alpha=0.2, label="held out")
axes.set_xlabel("place in the text [kB]")
axes.set_ylabel(f"bits per byte\n[mean over {window} tokens]")
axes.set_xlim(0, len(text) / 1000)
axes.set_ylim(0)
axes.grid(alpha=0.3)
axes.legend(loc="lower left")
plt.show()

# %%
temporary.cleanup()
