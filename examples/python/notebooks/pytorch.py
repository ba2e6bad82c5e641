# %% [markdown]
# # Mamba in PyTorch on a CPU
#
# `krait.torch` has the modules and functions of mamba_ssm and causal_conv1d for the CPU, with autograd. Here one of its layers is put into a model of one's own,
# a whole language model is trained in an ordinary loop, and transformers' Mamba becomes faster without a change to it. It needs krait, torch, transformers and
# matplotlib; nothing is downloaded.

# %%
import math
import os
import tempfile
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

import krait
import krait.torch
from krait.torch import Mamba, MambaConfig, MambaLMHeadModel

STEPS = int(os.environ.get("KRAIT_EXAMPLE_STEPS", 400))  # fewer when the tests run this
torch.manual_seed(0);

# %% [markdown]
# ## A layer in a model of one's own
#
# `Mamba(d_model)` takes `[batch, length, d_model]` to the same, each place seeing those before it. The task: of a row of letters, tell at each place which the last capital
# letter was. What came since then must be passed over, and the state has to keep one of 26 things, as long as it takes. Rows of 128 letters to learn
# from, one capital in 16; then rows of 1,024 with one in 256.

# %%


class LastCapital(torch.nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.enter, self.norm, self.mamba, self.leave = torch.nn.Embedding(52, width), torch.nn.LayerNorm(width), Mamba(width), torch.nn.Linear(width, 26)

    def forward(self, letters):  # [batch, length]
        h = self.enter(letters)
        return self.leave(h + self.mamba(self.norm(h)))


def examples(rows, length, share):
    """Letters, what is to be told at each, and how long ago it came."""
    letters, capital = torch.randint(0, 26, (rows, length)), torch.rand(rows, length) < share
    capital[:, 0] = True
    last = torch.where(capital, torch.arange(length), 0).cummax(dim=1).values
    return letters + 26 * capital, letters.gather(1, last), torch.arange(length) - last


finder = LastCapital()
optimizer = torch.optim.AdamW(finder.parameters(), lr=1e-2)
shares = []
for _ in range(STEPS):
    letters, goals, _ = examples(16, 128, 1 / 16)
    told = finder(letters)
    loss = F.cross_entropy(told.flatten(0, 1), goals.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    shares.append((told.argmax(2) == goals).float().mean().item())

with torch.no_grad():
    letters, goals, ago = examples(32, 1024, 1 / 256)
    right = (finder(letters).argmax(2) == goals).float()
reach = [2**i for i in range(10)]
by_distance = [right[(ago >= a) & (ago < 2 * a)].mean().item() for a in reach]

figure, (one, two) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
one.plot(100 * torch.tensor(shares), lw=0.9)
one.set_xlabel("step")
one.set_ylabel("right [%]")
two.semilogx(reach, 100 * torch.tensor(by_distance), "o-", base=2)
two.axvline(128, color="gray", ls=":", lw=1.5)
two.text(110, 50, "as long as the rows\nthat it learned from", color="gray", ha="right")
two.set_xticks(reach[::2], reach[::2])
two.set_xlabel("letters since the capital (up to twice as many)")
two.set_ylabel("right [%]")
for axes in (one, two):
    axes.axhline(100 / 26, color="gray", ls="--", lw=1)
    axes.set_ylim(0, 104)
    axes.grid(alpha=0.3)
plt.show()
print(f"after {STEPS} steps {100 * sum(shares[-20:]) / 20:.1f} % are right; by chance 1 in 26 would be")

# %% [markdown]
# ## A language model in an ordinary loop
#
# Byte by byte, on two chapters of *The Hound of the Baskervilles*; the last tenth is held out. What it is to beat: knowing how often each byte is there.

# %%
ids = torch.tensor(list(Path("../data/hound.txt").read_bytes()))
train, held_out = ids[: len(ids) * 9 // 10], ids[len(ids) * 9 // 10 :]
counts = torch.bincount(train, minlength=256) + 1.0
frequencies = -(counts / counts.sum()).log2()[held_out].mean().item()

model = MambaLMHeadModel(MambaConfig(d_model=64, n_layer=2, vocab_size=256))
optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.1)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)


def bits(batch):
    logits = model(batch[:, :-1]).logits
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()) / math.log(2)


losses, tests = [], []
for step in range(STEPS + 1):
    if step % max(STEPS // 10, 1) == 0:
        with torch.no_grad():
            tests.append((step, bits(held_out[None]).item()))
    loss = bits(torch.stack([train[a : a + 129] for a in torch.randint(0, len(train) - 128, (8,)).tolist()]))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    losses.append(loss.item())

figure, axes = plt.subplots(figsize=(6.5, 3.5), layout="constrained")
axes.plot(losses, lw=0.7, alpha=0.6, label="training, each step")
axes.plot(*zip(*tests), "o-", label="held out")
axes.axhline(frequencies, color="gray", ls="--", lw=1, label="frequencies of bytes")
axes.set_xlabel("step")
axes.set_ylabel("loss [bits per byte]")
axes.set_ylim(0, 8.5)
axes.grid(alpha=0.3)
axes.legend()
plt.show()
print(f"held out: {tests[-1][1]:.2f} bits per byte; by frequencies {frequencies:.2f}")

# %% [markdown]
# What comes of it is a checkpoint in mamba_ssm's layout, which `krait.Model` loads and runs without PyTorch, with the same logits:

# %%
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(f"{folder}/model")
    fast = krait.Model.load(f"{folder}/model")
with torch.no_grad():
    difference = (torch.from_numpy(fast.logits(held_out[:500])) - model(held_out[None, :500]).logits[0]).abs().max().item()
print(f"logits differ by at most {difference:.0e}")
print("Holmes " + bytes(fast.generate(list(b"Holmes "), max_tokens=150, temperature=0.7, seed=1).ids).decode("utf-8", "replace"))

# %% [markdown]
# ## transformers, faster
#
# On a CPU transformers computes Mamba's scan in a loop over time, in Python. After `krait.torch.install()` its models use krait's functions: the same logits and gradients, in less
# time, and the more so the longer the text, because autograd keeps less.

# %%
warnings.filterwarnings("ignore", "IProgress")  # of tqdm, without ipywidgets
from transformers import MambaConfig as TheirConfig
from transformers import MambaForCausalLM
from transformers.utils import logging

logging.set_verbosity_error()  # it advises to install mamba_ssm, which wants CUDA
theirs = MambaForCausalLM(TheirConfig(vocab_size=1000, hidden_size=128, num_hidden_layers=2))


def read(n):
    with torch.no_grad():
        return theirs(torch.arange(n)[None]).logits


def learn(n):
    theirs.zero_grad()
    theirs(torch.arange(n)[None], labels=torch.arange(n)[None]).loss.backward()
    return torch.cat([p.grad.flatten() for p in theirs.parameters()])


def measure(work, n, rounds):
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        result = work(n)
        times.append(time.perf_counter() - begin)
    return result, min(times)


lengths, ratios, furthest = [16, 32, 64, 128, 256], {read: [], learn: []}, 0.0
for n in lengths:
    for work in (read, learn):
        krait.torch.install()
        found, fast_time = measure(work, n, 10)
        krait.torch.uninstall()
        expected, slow_time = measure(work, n, 4 if work is read else 1 if n > 100 else 3)
        ratios[work].append(slow_time / fast_time)
        furthest = max(furthest, ((found - expected).abs().max() / expected.abs().max()).item())

figure, axes = plt.subplots(figsize=(6.5, 3.5), layout="constrained")
axes.loglog(lengths, ratios[read], "o-", label="reading")
axes.loglog(lengths, ratios[learn], "s-", label="forward and backward")
axes.axhline(1, color="gray", lw=0.8)
axes.set_xticks(lengths, lengths)
axes.set_yticks([1, 2, 5, 10, 20, 50, 100], [1, 2, 5, 10, 20, 50, 100])
axes.minorticks_off()
axes.set_xlabel("length of the text [tokens]")
axes.set_ylabel("times as fast with install()")
axes.grid(alpha=0.3)
axes.legend()
plt.show()
print(f"logits and gradients with and without differ by {furthest:.0e} of the largest")
