#!/usr/bin/env python3
"""krait.torch beside PyTorch's own ways, in one run: ratios. Needs torch; transformers for its part.

    PYTHONPATH=python build/torch-env/bin/python bench/python/bench_torch.py [--threads N] [--only scan|transformers|overhead|generate|openmp]
"""
import argparse
import gc
import resource
import subprocess
import sys
import time
from typing import Any, Callable, Dict

import torch
import torch.nn.functional as F

import krait
import krait.torch as kt


def best(run: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def reference(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, delta_bias: Any) -> Any:
    """The scan as PyTorch code usually has it: all decays and inputs at once, [batch, dim, length, n], then a loop."""
    dt = F.softplus(delta + delta_bias[:, None])
    decay = torch.exp(torch.einsum("bdl,dn->bdln", dt, A))
    added = torch.einsum("bdl,bnl,bdl->bdln", dt, B, u)
    h, ys = u.new_zeros(u.shape[0], u.shape[1], A.shape[1]), []
    for t in range(u.shape[2]):
        h = decay[:, :, t] * h + added[:, :, t]
        ys.append(torch.einsum("bdn,bn->bd", h, C[:, :, t]))
    return (torch.stack(ys, 2) + D[:, None] * u) * F.silu(z)


def scan_inputs(batch: int, dim: int, n: int, length: int, last: bool) -> Dict[str, Any]:
    x = {"u": torch.randn(batch, dim, length), "delta": 0.5 * torch.randn(batch, dim, length), "A": -torch.exp(torch.randn(dim, n)),
         "B": torch.randn(batch, n, length), "C": torch.randn(batch, n, length), "D": torch.randn(dim), "z": torch.randn(batch, dim, length),
         "delta_bias": torch.randn(dim)}
    if last:
        x = {k: v.transpose(1, 2).contiguous().transpose(1, 2) if v.dim() == 3 else v for k, v in x.items()}
    return x


def scan() -> None:
    shape = (2, 1536, 16, 2048)
    print(f"selective scan, batch, dim, n, length = {shape}")

    def run(function: Callable[..., Any], x: Dict[str, Any], backward: bool, **more: Any) -> Callable[[], Any]:
        def once() -> None:
            a = {k: v.detach().requires_grad_(backward) for k, v in x.items()}
            y = function(**a, **more)
            if backward:
                y.sum().backward()
        return once

    x = scan_inputs(*shape, last=False)
    loop = best(run(reference, x, False), 1)
    # Autograd makes a tensor of all times for each time: its backward pass is measured at an eighth of the length, and grows with its square.
    eighth = {k: v[..., : shape[3] // 8].contiguous() if v.dim() == 3 else v for k, v in x.items()}
    loop_backward = best(run(reference, eighth, True), 1)
    for last in (False, True):
        x = scan_inputs(*shape, last=last)
        forward = best(run(kt.selective_scan_fn, x, False, delta_softplus=True), 5)
        both = best(run(kt.selective_scan_fn, x, True, delta_softplus=True), 5)
        small = {k: v[..., : shape[3] // 8].contiguous() if v.dim() == 3 else v for k, v in x.items()}
        both_small = best(run(kt.selective_scan_fn, small, True, delta_softplus=True), 5)
        print(f"  channels {'contiguous' if last else 'far apart '}: forward {forward * 1e3:.1f} ms, {loop / forward:.0f}x a loop ({loop:.2f} s); with backward "
              f"{both * 1e3:.1f} ms; at an eighth of the length {both_small * 1e3:.1f} ms, {loop_backward / both_small:.0f}x a loop ({loop_backward:.2f} s)")
    del x, eighth, small
    gc.collect()
    x = scan_inputs(*shape, last=True)
    size = sum(v.numel() * 4 for v in x.values())
    a = {k: v.requires_grad_() for k, v in x.items()}
    y = kt.selective_scan_fn(**a, delta_softplus=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    y.sum().backward()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"  inputs {size / 1e6:.0f} MB; the backward pass raised the peak by {(after - before) / 1e3:.0f} MB, gradients included")


def transformers() -> None:
    from transformers import MambaConfig, MambaForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    model = MambaForCausalLM(MambaConfig(vocab_size=50280, hidden_size=768, num_hidden_layers=24))

    def prefill() -> None:
        model.eval()
        with torch.no_grad():
            model(torch.randint(0, 50000, (1, 512)))

    def step() -> None:
        model.train()
        ids = torch.randint(0, 50000, (1, 256))
        model(ids, labels=ids).loss.backward()
        model.zero_grad()

    kt.install()
    fast = best(prefill, 3), best(step, 2)
    kt.uninstall()
    slow = best(prefill, 1), best(step, 1)
    print(f"transformers' MambaForCausalLM, 130m: prefill 512 {fast[0]:.2f} s, {slow[0] / fast[0]:.1f}x without install() ({slow[0]:.2f} s); training step, "
          f"256 tokens, {fast[1]:.2f} s, {slow[1] / fast[1]:.1f}x ({slow[1]:.1f} s)")


def overhead() -> None:
    import numpy as np

    from krait import ops

    def floats(*shape: int) -> Any:
        return np.ones(shape, np.float32)

    x, w, out = floats(1, 8), floats(8), floats(1, 8)
    state, A, B = floats(1, 8, 4), -floats(8, 4), floats(1, 4)
    u, B3, w4 = floats(1, 8, 4), floats(1, 4, 4), floats(8, 4)
    cases = {"rms_norm": lambda: ops.rms_norm(x, w, out=out, threads=1), "causal_conv1d": lambda: ops.causal_conv1d(u, w4, threads=1),
             "selective_state_update": lambda: ops.selective_state_update(state, x, x, A, B, B, threads=1),
             "selective_scan": lambda: ops.selective_scan(u, u, A, B3, B3, threads=1)}
    for name, call in cases.items():
        print(f"{name}: {best(lambda: [call() for _ in range(2000)], 7) / 2000 * 1e6:.1f} us a call on next to nothing")


def generate(threads: int) -> None:
    """Model.generate beside the program, of the same model."""
    from krait._program import path

    model = krait.Model.load(threads=threads)
    options = {"max_tokens": 1000, "seed": 1}
    ours, theirs = [], []
    for _ in range(5):
        g = model.generate("It was", **options)
        ours.append(len(g.ids) / g.decode_seconds)
        told = subprocess.run([str(path()), "run", "-p", "It was", "-n", "1000", "--seed", "1", "--temp", "0.8", "-t", str(threads), "--stats", "--no-echo"],
                              capture_output=True, text=True)
        theirs += [float(line.split()[-2]) for line in told.stderr.splitlines() if line.startswith("generated")]
    print(f"generate: {max(ours):.0f} tokens/s, the program {max(theirs):.0f}: {max(ours) / max(theirs):.3f}")


def openmp() -> None:
    """A scan and a product of torch's in turns, beside each alone: whether the two OpenMP runtimes get in each other's way."""
    x = scan_inputs(1, 1536, 16, 256, True)
    a, b = torch.randn(768, 768), torch.randn(768, 768)

    def product() -> None:
        a @ b

    def ours() -> None:
        kt.selective_scan_fn(**x, delta_softplus=True)

    def turns() -> None:
        for _ in range(20):
            product()
            ours()

    alone = best(lambda: [product() for _ in range(20)], 9) + best(lambda: [ours() for _ in range(20)], 9)
    print(f"a product and a scan in turns: {best(turns, 9) / alone:.2f} of both alone ({alone / 20 * 1e3:.2f} ms)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, krait {krait.__version__} ({krait.build_info()}), {options.threads} threads, Python {sys.version.split()[0]}")
    for name, run in (("scan", scan), ("transformers", transformers), ("overhead", overhead), ("generate", lambda: generate(options.threads)),
                      ("openmp", openmp)):
        if options.only in (None, name):
            run()


if __name__ == "__main__":
    main()
