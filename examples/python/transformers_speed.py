"""transformers' Mamba on a CPU before and after krait.torch.install(): the same logits and gradients, in a fraction of the time.

    python transformers_speed.py          # needs torch and transformers; random weights, nothing is downloaded
"""
import time

import torch
from transformers import MambaConfig, MambaForCausalLM
from transformers.utils import logging

import krait.torch

logging.set_verbosity_error()  # it advises to install mamba_ssm, which wants CUDA

torch.manual_seed(0)
model = MambaForCausalLM(MambaConfig(vocab_size=1000, hidden_size=256, num_hidden_layers=2))
ids = torch.randint(0, 1000, (1, 128))


def read():
    with torch.no_grad():
        return model.eval()(ids).logits


def train():
    model.train().zero_grad()
    model(ids, labels=ids).loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def measure(work, rounds):
    """What it gives, and the shortest time that it took."""
    result, times = work(), []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return result, min(times)


before = {work.__name__: measure(work, 1) for work in (read, train)}
krait.torch.install()
after = {work.__name__: measure(work, 5) for work in (read, train)}
krait.torch.uninstall()

errors, ratios = {}, {}
for name, what, values in (("read", "reading 128 tokens", "logits"), ("train", "forward and backward of them", "gradients")):
    (expected, slow), (found, fast) = before[name], after[name]
    errors[name] = ((found - expected).abs().max() / expected.abs().max()).item()
    ratios[name] = slow / fast
    print(f"{what}: {ratios[name]:.1f} times as fast, {values} off by {errors[name]:.0e} of the largest")
