"""The operations as torch sees them: tensors in, new tensors out, no autograd, float32 on the CPU. `ops.py` puts autograd around them."""
from typing import Any, List, Optional, Tuple

import torch
from torch import Tensor

from .. import _ops, errors

CHUNK = 128  # tokens for each of which the forward pass keeps one state, if the backward pass is to follow


def threads() -> int:
    """As many as torch uses itself: torch.set_num_threads() counts for both."""
    return int(torch.get_num_threads())


def take(a: Any, name: str, shape: Tuple[int, ...], is_complex: bool) -> _ops.Taken:
    if not isinstance(a, Tensor):
        raise TypeError(f"{name}: expected a tensor, found {type(a).__name__}")
    wanted = torch.complex64 if is_complex else torch.float32
    if a.dtype is not wanted:
        raise errors.ArgumentError(f"{name}: expected {wanted}, found {a.dtype}")
    if a.device.type != "cpu" or a.layout is not torch.strided:
        raise errors.ArgumentError(f"{name}: expected a dense tensor on the CPU, found one on {a.device}, {a.layout}")
    if tuple(a.shape) != tuple(shape):
        raise errors.ArgumentError(f"{name}: expected shape {list(shape)}, found {list(a.shape)}")
    strides = [s * 2 for s in a.stride()] if is_complex else a.stride()
    return (a.data_ptr(), *strides, *(0,) * (4 - len(strides)))


def saved_floats(batch: int, dim: int, length: int, n: int, n_starts: int, is_complex: bool) -> Any:
    """What the forward pass keeps; at most one chunk more for each sequence than its length says. Works for symbolic sizes."""
    chunks = (length + CHUNK - 1) // CHUNK * batch if n_starts == 0 else length // CHUNK + n_starts - 1
    return chunks * n * dim * (2 if is_complex else 1)


def scan_forward(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Optional[Tensor], z: Optional[Tensor],
                 delta_bias: Optional[Tensor], softplus: bool, initial_state: Optional[Tensor], starts: Optional[Tensor],
                 keep: bool) -> Tuple[Tensor, Tensor, Tensor]:
    """out, the last state, and what the backward pass wants to have kept (nothing unless `keep`)."""
    scan = _ops.Scan(take, u, delta, A, B, C, D, z, delta_bias, softplus, initial_state, _positions(starts), A.is_complex())
    out = torch.empty_like(u)
    last = A.new_empty((scan.n_states, scan.dim, scan.n))
    n_starts = 0 if starts is None else int(starts.shape[0])
    saved = u.new_empty(saved_floats(scan.batch, scan.dim, scan.length, scan.n, n_starts, scan.is_complex) if keep else 0)
    if keep and scan.saved_floats() > saved.numel():
        raise errors.Error(f"krait keeps {scan.saved_floats()} floats, expected at most {saved.numel()}")
    scan.forward(take, out, last, saved.data_ptr() if keep else 0, threads())
    return out, last, saved


def scan_backward(dout: Tensor, dlast_state: Optional[Tensor], saved: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
                  D: Optional[Tensor], z: Optional[Tensor], delta_bias: Optional[Tensor], softplus: bool,
                  initial_state: Optional[Tensor], starts: Optional[Tensor], wanted: List[bool]) -> List[Tensor]:
    """Gradients of the inputs u, delta, A, B, C, D, z, delta_bias, initial_state; empty where it is not wanted or the input is absent."""
    scan = _ops.Scan(take, u, delta, A, B, C, D, z, delta_bias, softplus, initial_state, _positions(starts), A.is_complex())
    names = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")
    given = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    made = {name: torch.empty_like(a, memory_format=_dense(a)) for name, a, yes in zip(names, given, wanted) if yes and a is not None}
    scan.backward(take, dout, dlast_state, made, saved.data_ptr() if saved.numel() else 0, threads())
    return [made.get(name, u.new_empty(0)) for name in names]


def conv_forward(x: Tensor, weight: Tensor, bias: Optional[Tensor], silu: bool, initial_state: Optional[Tensor],
                 starts: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
    """out and the final state."""
    conv = _ops.Conv(take, x, weight, bias, silu, initial_state, _positions(starts))
    out = torch.empty_like(x)
    last = x.new_empty((conv.n_states, conv.dim, conv.width - 1))
    conv.forward(take, out, last, threads())
    return out, last


def conv_backward(dout: Tensor, dfinal_state: Optional[Tensor], x: Tensor, weight: Tensor, bias: Optional[Tensor], silu: bool,
                  initial_state: Optional[Tensor], starts: Optional[Tensor], wanted: List[bool]) -> List[Tensor]:
    """Gradients of x, weight, bias, initial_state."""
    conv = _ops.Conv(take, x, weight, bias, silu, initial_state, _positions(starts))
    names, given = ("x", "weight", "bias", "initial_state"), (x, weight, bias, initial_state)
    made = {name: torch.empty_like(a, memory_format=_dense(a)) for name, a, yes in zip(names, given, wanted) if yes and a is not None}
    conv.backward(take, dout, dfinal_state, made, threads())
    return [made.get(name, x.new_empty(0)) for name in names]


def norm_forward(x: Tensor, weight: Optional[Tensor], eps: float) -> Tensor:
    """x [rows, dim], dim contiguous."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    _ops.norm_forward(take, x, weight, eps, out, threads())
    return out


def norm_backward(dout: Tensor, x: Tensor, weight: Optional[Tensor], eps: float, wanted: List[bool]) -> List[Tensor]:
    """Gradients of x and weight."""
    dx = torch.empty_like(x, memory_format=torch.contiguous_format) if wanted[0] else None
    dweight = torch.empty_like(weight) if wanted[1] and weight is not None else None
    _ops.norm_backward(take, dout if dout.stride(-1) == 1 else dout.contiguous(), x, weight, eps, dx, dweight, threads())
    return [x.new_empty(0) if g is None else g for g in (dx, dweight)]


def _positions(starts: Optional[Tensor]) -> Any:
    return None if starts is None else starts.tolist()


def _dense(a: Tensor) -> Any:
    """An expanded tensor's gradient has memory of its own for each element."""
    return torch.contiguous_format if 0 in a.stride() else torch.preserve_format


