"""A Mamba that is trained in an ordinary PyTorch loop, byte by byte, on two chapters of a novel.

    python torch_loop.py [--steps 300]          # needs torch
"""
import argparse
import math
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

import krait
from krait.torch import MambaConfig, MambaLMHeadModel

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=300)
steps = parser.parse_args().steps

text = (Path(__file__).parent / "data" / "hound.txt").read_bytes()
ids = torch.tensor(list(text))
train, held_out = ids[: len(ids) * 9 // 10], ids[len(ids) * 9 // 10 :]
WINDOW, ROWS = 128, 8

torch.manual_seed(0)
model = MambaLMHeadModel(MambaConfig(d_model=64, n_layer=2, vocab_size=256))
optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.1)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(train):,} bytes to learn from, {len(held_out):,} held out")


def bits(batch: torch.Tensor) -> torch.Tensor:
    """Mean bits per byte of each byte behind those before it, batch [rows, n]."""
    logits = model(batch[:, :-1]).logits
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()) / math.log(2)


@torch.no_grad()
def evaluate() -> float:
    return bits(held_out[None]).item()  # in one stream, as long as it is


losses, tests = [], [(0, evaluate())]
for step in range(1, steps + 1):
    at = torch.randint(0, len(train) - WINDOW, (ROWS,)).tolist()
    loss = bits(torch.stack([train[a : a + WINDOW + 1] for a in at]))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    losses.append(loss.item())
    if step % max(steps // 10, 1) == 0 or step == steps:
        tests.append((step, evaluate()))
        print(f"step {step:>4}: {sum(losses[-20:]) / len(losses[-20:]):.3f} bits per byte, held out {tests[-1][1]:.3f}")

# How often each byte is there, and no more: what is beaten by looking at what came before.
counts = torch.bincount(train, minlength=256) + 1.0
frequencies = -(counts / counts.sum()).log2()[held_out].mean().item()
print(f"by the bytes' frequencies alone: {frequencies:.3f}")

# What was trained is a model for krait, too: the folder is loaded, and continued without torch.
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(Path(folder) / "model")
    fast = krait.Model.load(Path(folder) / "model")
    sample = bytes(fast.generate(list(b"Holmes "), max_tokens=120, temperature=0.7, seed=1).ids).decode("utf-8", "replace")
print(f"Holmes {sample}")

try:
    import matplotlib
except ImportError:
    print("(no plot: matplotlib is not installed)")
else:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    axes.plot(range(1, steps + 1), losses, lw=0.7, alpha=0.6, label="training, each step")
    axes.plot(*zip(*tests), "o-", label="held out")
    axes.axhline(frequencies, color="gray", ls="--", lw=1, label="frequencies of bytes")
    axes.set_xlabel("step")
    axes.set_ylabel("loss [bits per byte]")
    axes.set_ylim(0, 8.5)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig("torch_loop.png", dpi=120)
    print("plot: torch_loop.png")
