#!/usr/bin/env python3
"""A training step of a small Mamba: krait's trainer beside PyTorch with a scan that was compiled, in turns. What PyTorch does, it does as well as it can be had by writing
Python: its own products (MKL), its own convolution, and for the scan plain_scan.c, built with -O3 -march=native -ffast-math -fopenmp, or krait.torch's.

    PYTHONPATH=python build/torch-env/bin/python bench/python/bench_training.py [--layers 6] [--width 256] [--vocabulary 2048] [--rows 16] [--window 256] [--threads N]
"""
import argparse
import ctypes
import os
import subprocess
import tempfile
import time
from typing import Any, Callable, List

import torch
import torch.nn.functional as F
from torch import nn

import krait
import krait.torch as kt

N = 16


def compiled() -> Any:
    """plain_scan.c as an autograd function."""
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "plain_scan.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plain_scan.c")
    subprocess.run(["cc", "-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC", source, "-o", path, "-lm"], check=True)
    library = ctypes.CDLL(path)

    def run(name: str, sizes: Any, *tensors: torch.Tensor) -> None:
        getattr(library, name)(*map(ctypes.c_long, sizes), *[ctypes.c_void_p(t.data_ptr()) for t in tensors])

    class Scan(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: torch.Tensor) -> torch.Tensor:
            inputs = tuple(t.contiguous() for t in inputs)
            ctx.save_for_backward(*inputs)
            y = torch.empty_like(inputs[0])
            run("plain_scan_forward", inputs[0].shape, *inputs, y)
            return y

        @staticmethod
        def backward(ctx: Any, dy: torch.Tensor) -> Any:
            u, delta, A, B, C, D, z = ctx.saved_tensors
            du, ddelta, dz = torch.empty_like(u), torch.empty_like(u), torch.empty_like(u)
            dA, dB, dC, dD = torch.zeros_like(A), torch.zeros_like(B), torch.zeros_like(C), torch.zeros_like(D)
            run("plain_scan_backward", u.shape, u, delta, A, B, C, D, z, dy.contiguous(), du, ddelta, dA, dB, dC, dD, dz)
            return du, ddelta, dA, dB, dC, dD, dz

    return Scan.apply


class Mixer(nn.Module):
    def __init__(self, width: int, scan: Any) -> None:
        super().__init__()
        inner, rank = 2 * width, -(-width // 16)
        self.rank, self.scan = rank, scan
        self.norm = nn.Parameter(torch.ones(width))
        self.in_proj, self.out_proj = nn.Linear(width, 2 * inner, bias=False), nn.Linear(inner, width, bias=False)
        self.conv = nn.Conv1d(inner, inner, 4, groups=inner, padding=3)
        self.x_proj, self.dt_proj = nn.Linear(inner, rank + 2 * N, bias=False), nn.Linear(rank, inner)
        nn.init.uniform_(self.dt_proj.bias, -6.9, -2.2)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, N + 1)).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.norm
        u, z = self.in_proj(h).transpose(1, 2).chunk(2, dim=1)
        u = F.silu(self.conv(u)[..., : x.shape[1]])
        dt, B, C = self.x_proj(u.transpose(1, 2)).split([self.rank, N, N], dim=-1)
        y = self.scan(u, self.dt_proj(dt).transpose(1, 2), -torch.exp(self.A_log), B, C, self.D, z)
        return x + self.out_proj(y.transpose(1, 2))


class Model(nn.Module):
    def __init__(self, vocabulary: int, width: int, layers: int, scan: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.Sequential(*[Mixer(width, scan) for _ in range(layers)])
        self.norm = nn.Parameter(torch.ones(width))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.layers(self.embedding(ids))
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.norm
        return F.linear(x, self.embedding.weight)


def pytorch(arguments: Any, scan: Any, data: torch.Tensor) -> Callable[[], float]:
    torch.manual_seed(1)
    model = Model(arguments.vocabulary, arguments.width, arguments.layers, scan)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, foreach=True)

    def step() -> float:
        logits = model(data[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), data[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    return step


def trainer(arguments: Any, compute: str, data: torch.Tensor) -> Callable[[], float]:
    t = krait.Trainer({"vocab_size": arguments.vocabulary, "d_model": arguments.width, "n_layer": arguments.layers}, seed=1, learning_rate=1e-3, compute=compute,
                      threads=arguments.threads)
    rows = data.numpy()
    return lambda: float(t.step(rows).loss)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, value in (("layers", 6), ("width", 256), ("vocabulary", 2048), ("rows", 16), ("window", 256), ("threads", 2), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    data = torch.randint(0, a.vocabulary, (a.rows, a.window + 1))

    def ours(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any) -> Any:
        return kt.selective_scan_fn(u, delta, A, B.transpose(1, 2), C.transpose(1, 2), D, z, None, True)

    sides = {"PyTorch, plain C scan": pytorch(a, compiled(), data), "PyTorch, krait.torch's scan": pytorch(a, ours, data),
             "krait, float32": trainer(a, "f32", data), "krait, bfloat16": trainer(a, "bf16", data)}
    losses = {name: step() for name, step in sides.items()}
    times: dict[str, List[float]] = {name: [] for name in sides}
    for _ in range(a.rounds):
        for name, step in sides.items():
            begin = time.perf_counter()
            losses[name] = step()
            times[name].append(time.perf_counter() - begin)
    print(f"{a.layers} layers of {a.width}, vocabulary {a.vocabulary}, {a.rows} x {a.window} tokens, {a.threads} threads, torch {torch.__version__}")
    plain = min(times["PyTorch, plain C scan"])
    for name, seconds in times.items():
        best = min(seconds)
        print(f"{name:28} {a.rows * a.window / best:9,.0f} tokens/s  {plain / best:5.2f} x  loss {losses[name]:.3f} (median {sorted(seconds)[len(seconds) // 2] / best:.2f} of the best)")


if __name__ == "__main__":
    main()
