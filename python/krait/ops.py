"""The operations of a Mamba on numpy arrays: float32 (complex64 where it says complex), used where they lie, whatever their strides.

Shapes are those of mamba_ssm and causal_conv1d: [batch, dim, length]. Arrays whose channels are contiguous in memory,
np.zeros((batch, length, dim)).transpose(0, 2, 1), need no copies inside. `starts` [n + 1], from 0 to length, makes n sequences of one row (batch 1),
each from a state of its own. Errors name the argument, what it has and what is expected. threads 0: as many as the process may use.
"""
import ctypes
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from . import _ops, errors

Float = npt.NDArray[np.float32]
Array = npt.NDArray[Any]

_F4, _C8 = np.dtype(np.float32), np.dtype(np.complex64)
_ndarray = np.ndarray
_addressof, _from_buffer = ctypes.addressof, ctypes.c_char.from_buffer


def _take(a: Any, name: str, shape: Tuple[int, ...], is_complex: bool) -> _ops.Taken:
    if not isinstance(a, _ndarray):
        raise TypeError(f"{name}: expected a numpy array, found {type(a).__name__}")
    dtype = a.dtype
    if dtype is not (_C8 if is_complex else _F4) and dtype != (_C8 if is_complex else _F4):
        raise errors.ArgumentError(f"{name}: expected {'complex64' if is_complex else 'float32'}, found {dtype}")
    if a.shape != shape:
        raise errors.ArgumentError(f"{name}: expected shape {list(shape)}, found {list(a.shape)}")
    flags = a.flags
    if flags.c_contiguous and flags.writeable and a.size:  # a quarter of the time of the other way
        memory: Any = a
        address = _addressof(_from_buffer(memory))
    else:
        address = a.__array_interface__["data"][0]
    strides = a.strides
    n = len(strides)
    if n == 3:
        s0, s1, s2 = strides
        if not (address | s0 | s1 | s2) & 3:
            return address, s0 >> 2, s1 >> 2, s2 >> 2, 0
    elif n == 2:
        s0, s1 = strides
        if not (address | s0 | s1) & 3:
            return address, s0 >> 2, s1 >> 2, 0, 0
    elif n == 1:
        s0 = strides[0]
        if not (address | s0) & 3:
            return address, s0 >> 2, 0, 0, 0
    else:
        s0, s1, s2, s3 = strides
        if not (address | s0 | s1 | s2 | s3) & 3:
            return address, s0 >> 2, s1 >> 2, s2 >> 2, s3 >> 2
    raise errors.ArgumentError(f"{name}: expected strides that are whole elements, found {strides} bytes")



def _output(out: Optional[Array], like: Any, inputs: Sequence[Any]) -> Array:
    """A place to write to: as the input lies, or the caller's own."""
    if out is None:
        return np.empty_like(like, subok=False)
    if not isinstance(out, _ndarray):
        raise TypeError(f"out: expected a numpy array, found {type(out).__name__}")
    if not out.flags.writeable:
        raise errors.ArgumentError("out: expected an array that can be written to, found a read-only one")
    if any(s == 0 for s, n in zip(out.strides, out.shape) if n > 1):
        raise errors.ArgumentError("out: expected an array each element of which is in memory once, found a broadcast one")
    for other in inputs:
        if isinstance(other, _ndarray) and np.may_share_memory(out, other):
            raise errors.ArgumentError("out: expected memory of its own, found that of an input")
    return out


def _is_complex(A: Any) -> bool:
    return isinstance(A, _ndarray) and A.dtype.kind == "c"


def selective_scan(u: Float, delta: Float, A: Array, B: Array, C: Array, D: Optional[Float] = None, z: Optional[Float] = None,
                   delta_bias: Optional[Float] = None, delta_softplus: bool = False, *, initial_state: Optional[Array] = None,
                   starts: Optional[Sequence[int]] = None, return_last_state: bool = False, out: Optional[Float] = None,
                   threads: int = 0) -> Any:
    """The selective scan (Gu & Dao 2023):

        dt  = softplus(delta + delta_bias)           or without softplus
        h   = exp(dt A) h + dt B u                   from initial_state, or 0
        out = (sum_n C h + D u) silu(z)              complex A, B, C: 2 Re(sum_n C h)

    u, delta, z [batch, dim, length]; A [dim, n]; B, C [batch, n, length], [batch, groups, n, length], or [dim, n] for all tokens; D, delta_bias
    [dim]; states [batch, dim, n] (with starts, [sequences, dim, n]). Returns out, or (out, last_state)."""
    scan = _ops.Scan(_take, u, delta, A, B, C, D, z, delta_bias, bool(delta_softplus), initial_state, starts, _is_complex(A))
    out = _output(out, u, (u, delta, A, B, C, D, z, delta_bias, initial_state))
    last = np.empty((scan.n_states, scan.dim, scan.n), A.dtype) if return_last_state else None
    scan.forward(_take, out, last, 0, threads)
    return (out, last) if return_last_state else out


class ScanGradients(NamedTuple):
    """Of the inputs of those names, in their shapes; None where the input was absent. Complex ones are dL/dRe + i dL/dIm."""

    u: Float
    delta: Float
    A: Array
    B: Array
    C: Array
    D: Optional[Float]
    z: Optional[Float]
    delta_bias: Optional[Float]
    initial_state: Optional[Array]


def selective_scan_backward(dout: Float, u: Float, delta: Float, A: Array, B: Array, C: Array, D: Optional[Float] = None,
                            z: Optional[Float] = None, delta_bias: Optional[Float] = None, delta_softplus: bool = False, *,
                            initial_state: Optional[Array] = None, starts: Optional[Sequence[int]] = None,
                            dlast_state: Optional[Array] = None, threads: int = 0) -> ScanGradients:
    """The gradients of the inputs of selective_scan(), which are to be passed as they were then. dout [batch, dim, length]: of its output;
    dlast_state: of its last state."""
    scan = _ops.Scan(_take, u, delta, A, B, C, D, z, delta_bias, bool(delta_softplus), initial_state, starts, _is_complex(A))
    given = {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "z": z, "delta_bias": delta_bias, "initial_state": initial_state}
    gradients: Dict[str, Any] = {k: None if v is None else np.empty_like(v, subok=False) for k, v in given.items()}
    scan.backward(_take, dout, dlast_state, gradients, 0, threads)
    return ScanGradients(**gradients)


def selective_state_update(state: Float, x: Float, dt: Float, A: Float, B: Float, C: Float, D: Optional[Float] = None,
                           z: Optional[Float] = None, dt_bias: Optional[Float] = None, dt_softplus: bool = False, *,
                           out: Optional[Float] = None, threads: int = 0) -> Float:
    """One token of the scan for each of `batch` rows. state [batch, dim, n] is updated in place; x, dt, z, out [batch, dim]; B, C [batch, n] or
    [batch, groups, n]."""
    if not isinstance(state, _ndarray) or not state.flags.writeable:
        raise errors.ArgumentError("state: expected a numpy array that can be written to")
    out = _output(out, x, (state, x, dt, A, B, C, D, z, dt_bias))
    _ops.state_update(_take, state, x, dt, A, B, C, D, z, dt_bias, bool(dt_softplus), out, threads)
    return out


def _silu(activation: Optional[str]) -> bool:
    if activation not in (None, "silu", "swish"):
        raise errors.ArgumentError(f"activation: expected None, 'silu' or 'swish', found {activation!r}")
    return activation is not None


def causal_conv1d(x: Float, weight: Float, bias: Optional[Float] = None, activation: Optional[str] = None, *,
                  initial_state: Optional[Float] = None, starts: Optional[Sequence[int]] = None, return_final_state: bool = False,
                  out: Optional[Float] = None, threads: int = 0) -> Any:
    """out[t] = act(bias + sum_w weight[w] x[t - (width - 1) + w]), act: None or "silu".

    x, out [batch, dim, length]; weight [dim, width], width 1 .. 16; states [batch, dim, width - 1], the inputs before the first token, oldest
    first. Returns out, or (out, final_state)."""
    conv = _ops.Conv(_take, x, weight, bias, _silu(activation), initial_state, starts)
    out = _output(out, x, (x, weight, bias, initial_state))
    last = np.empty((conv.n_states, conv.dim, conv.width - 1), np.float32) if return_final_state else None
    conv.forward(_take, out, last, threads)
    return (out, last) if return_final_state else out


class ConvGradients(NamedTuple):
    """Of the inputs of those names."""

    x: Float
    weight: Float
    bias: Optional[Float]
    initial_state: Optional[Float]


def causal_conv1d_backward(dout: Float, x: Float, weight: Float, bias: Optional[Float] = None, activation: Optional[str] = None, *,
                           initial_state: Optional[Float] = None, starts: Optional[Sequence[int]] = None,
                           dfinal_state: Optional[Float] = None, threads: int = 0) -> ConvGradients:
    """The gradients of the inputs of causal_conv1d(), which are to be passed as they were then."""
    conv = _ops.Conv(_take, x, weight, bias, _silu(activation), initial_state, starts)
    given = {"x": x, "weight": weight, "bias": bias, "initial_state": initial_state}
    gradients: Dict[str, Any] = {k: None if v is None else np.empty_like(v, subok=False) for k, v in given.items()}
    conv.backward(_take, dout, dfinal_state, gradients, threads)
    return ConvGradients(**gradients)


def rms_norm(x: Float, weight: Optional[Float] = None, eps: float = 1e-5, *, out: Optional[Float] = None, threads: int = 0) -> Float:
    """out = x / sqrt(mean(x^2) + eps) * weight over the last dimension of x [..., dim], which is contiguous; weight [dim]."""
    out = _output(out, x, (x, weight))
    rows, outs = _as_rows(x, "x"), _as_rows(out, "out")
    _ops.norm_forward(_take, rows, weight, float(eps), outs, threads)
    return out


class NormGradients(NamedTuple):
    """Of the inputs of those names."""

    x: Float
    weight: Optional[Float]


def rms_norm_backward(dout: Float, x: Float, weight: Optional[Float] = None, eps: float = 1e-5, *, threads: int = 0) -> NormGradients:
    """The gradients of the inputs of rms_norm()."""
    dx = np.empty_like(x, order="C", subok=False)
    dweight = None if weight is None else np.empty_like(weight, subok=False)
    _ops.norm_backward(_take, _as_rows(dout, "dout"), _as_rows(x, "x"), weight, float(eps), _as_rows(dx, "dx"), dweight, threads)
    return NormGradients(dx, dweight)


def _as_rows(x: Any, name: str) -> Any:
    """[..., dim] as [rows, dim], without a copy."""
    if not isinstance(x, _ndarray):
        raise TypeError(f"{name}: expected a numpy array, found {type(x).__name__}")
    if x.ndim == 2:
        return x
    if x.ndim == 0:
        raise errors.ArgumentError(f"{name}: expected shape [..., dim], found []")
    view = x.view()
    try:
        view.shape = (x.size // max(x.shape[-1], 1), x.shape[-1])
    except AttributeError:
        raise errors.ArgumentError(f"{name}: expected rows at an even distance, found shape {list(x.shape)} with strides {x.strides}") from None
    return view


__all__ = ["ConvGradients", "NormGradients", "ScanGradients", "causal_conv1d", "causal_conv1d_backward", "rms_norm", "rms_norm_backward",
           "selective_scan", "selective_scan_backward", "selective_state_update"]
