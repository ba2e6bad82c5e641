"""The functions of mamba_ssm and causal_conv1d on the CPU, under their names, with their arguments, and with what their users asked for
beside: an initial state, the gradient of the last state, variable lengths. float32, bfloat16 and float16; computed in float32."""
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import errors
from . import _autograd

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def _check(a: Any, name: str, is_complex: bool = False) -> None:
    if not isinstance(a, Tensor):
        raise TypeError(f"{name}: expected a tensor, found {type(a).__name__}")
    if a.device.type not in ("cpu", "meta") or a.layout is not torch.strided:  # meta: torch.compile and torch.export
        raise errors.ArgumentError(f"{name}: expected a dense tensor on the CPU, found one on {a.device}, {a.layout}")
    if a.dtype not in _FLOATS and not (is_complex and a.dtype is torch.complex64):
        raise errors.ArgumentError(f"{name}: expected float32, bfloat16 or float16{' or complex64' if is_complex else ''}, found {a.dtype}")


def _float(a: Any, name: str) -> Any:
    if a is None:
        return None
    _check(a, name)
    wide: Tensor = a.float()
    return wide


def _positions(starts: Any, name: str) -> Optional[Tensor]:
    if starts is None:
        return None
    if not isinstance(starts, Tensor):
        starts = torch.as_tensor(starts)
    if starts.dim() != 1 or starts.is_floating_point() or starts.is_complex():
        raise errors.ArgumentError(f"{name}: expected whole numbers [sequences + 1], found {starts.dtype} {list(starts.shape)}")
    result: Tensor = starts.to("cpu", torch.int64)
    return result


def _pairs(a: Tensor, n: int) -> Tensor:
    """A last dimension of n pairs (re, im) as n complex numbers."""
    return torch.view_as_complex(a.reshape(*a.shape[:-1], n, 2).contiguous())


def _varying(a: Any, name: str, A: Tensor, length: int) -> Tensor:
    """B or C as the library takes it. Of complex ones that vary, mamba_ssm has pairs (re, im) side by side: [..., n, 2 length]."""
    _check(a, name, A.is_complex())
    if not A.is_complex() or a.is_complex():
        same: Tensor = a if a.is_complex() else a.float()
        return same
    if a.dim() == 2 or a.shape[-1] != 2 * length:
        raise errors.ArgumentError(f"{name}: expected complex64, or [..., {2 * length}] with pairs of its parts, found {a.dtype} {list(a.shape)}")
    return _pairs(a.float(), length)


def selective_scan_fn(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Optional[Tensor] = None, z: Optional[Tensor] = None,
                      delta_bias: Optional[Tensor] = None, delta_softplus: bool = False, return_last_state: bool = False, *,
                      initial_state: Optional[Tensor] = None, cu_seqlens: Any = None) -> Any:
    """The selective scan of mamba_ssm:

        dt = softplus(delta + delta_bias);  h = exp(dt A) h + dt B u;  out = (sum_n C h + D u) silu(z)

    u, delta, z [batch, dim, length]; A [dim, n], real or complex64; B, C [batch, n, length], [batch, groups, n, length] or [dim, n]; D, delta_bias
    [dim]. Returns out in u's type, or (out, last_state [batch, dim, n]).

    Beyond mamba_ssm: initial_state [batch, dim, n]; gradients through last_state; cu_seqlens [sequences + 1], from 0 to length, makes several
    sequences of one row (batch 1), whose states are [sequences, dim, n]."""
    _check(u, "u")
    _check(A, "A", True)
    A32 = A if A.is_complex() else A.float()
    if u.dim() != 3:
        raise errors.ArgumentError(f"u: expected [batch, dim, length], found {list(u.shape)}")
    length = u.shape[2]
    state = initial_state
    if state is not None:
        _check(state, "initial_state", True)
        state = state.to(A32.dtype)
    inputs = (u.float(), _float(delta, "delta"), A32, _varying(B, "B", A32, length), _varying(C, "C", A32, length), _float(D, "D"),
              _float(z, "z"), _float(delta_bias, "delta_bias"))
    keep = torch.is_grad_enabled() and any(a is not None and a.requires_grad for a in (*inputs, state))
    out, last, _saved = _autograd.scan(*inputs, bool(delta_softplus), state, _positions(cu_seqlens, "cu_seqlens"), keep)
    out = out.to(u.dtype)
    return (out, last) if return_last_state else out


def selective_scan_ref(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Optional[Tensor] = None, z: Optional[Tensor] = None,
                       delta_bias: Optional[Tensor] = None, delta_softplus: bool = False, return_last_state: bool = False, *,
                       initial_state: Optional[Tensor] = None) -> Any:
    """The same by its definition, one token after another in torch's own operations, on any device and in float64 too: what others are
    compared with."""
    wide = torch.float64 if u.dtype is torch.float64 else torch.float32
    x, dt = u.to(wide), delta.to(wide)
    if delta_bias is not None:
        dt = dt + delta_bias.to(wide)[..., None]
    if delta_softplus:
        dt = F.softplus(dt)
    batch, dim, length = x.shape
    groups = B.shape[1] if B.dim() == 4 else C.shape[1] if C.dim() == 4 else 1

    def at(a: Tensor, t: int) -> Tensor:
        """[batch or 1, dim, n]"""
        if a.dim() == 2:
            return a[None]
        if a.dim() == 3:
            return a[:, None, :, t]
        return a[..., t].repeat_interleave(dim // groups, 1)

    if A.is_complex() and not B.is_complex() and B.dim() > 2:
        B = _pairs(B.to(wide), length)
    if A.is_complex() and not C.is_complex() and C.dim() > 2:
        C = _pairs(C.to(wide), length)
    h = x.new_zeros((batch, dim, A.shape[1]), dtype=A.dtype if A.is_complex() else wide) if initial_state is None else initial_state
    outs = []
    for t in range(length):
        h = torch.exp(dt[:, :, t, None] * A) * h + (dt[:, :, t] * x[:, :, t])[..., None] * at(B, t)
        y = (h * at(C, t)).sum(-1)
        outs.append(2 * y.real if A.is_complex() else y)
    out = torch.stack(outs, 2) if outs else x.clone()
    if D is not None:
        out = out + D.to(wide)[:, None] * x
    if z is not None:
        out = out * F.silu(z.to(wide))
    out = out.to(u.dtype)
    return (out, h) if return_last_state else out


def selective_state_update(state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Optional[Tensor] = None,
                           z: Optional[Tensor] = None, dt_bias: Optional[Tensor] = None, dt_softplus: bool = False) -> Tensor:
    """One token of the scan for each row: state [batch, dim, n] is updated in place; x, dt, z [batch, dim]; A [dim, n]; B, C [batch, n] or [batch,
    groups, n]; D, dt_bias [dim]. Returns [batch, dim]. No gradients, as in mamba_ssm."""
    if not isinstance(state, Tensor) or state.dim() != 3:
        raise errors.ArgumentError("state: expected [batch, dim, n] of Mamba-1, found " + (str(list(state.shape)) if isinstance(state, Tensor) else type(state).__name__))
    for a, name in ((state, "state"), (x, "x"), (dt, "dt"), (A, "A"), (B, "B"), (C, "C"), (D, "D"), (z, "z"), (dt_bias, "dt_bias")):
        if a is None:
            continue
        _check(a, name)
        if a.requires_grad and torch.is_grad_enabled():
            raise errors.ArgumentError(f"{name}: expected no gradient to be wanted (torch.no_grad()), found requires_grad")
    from . import _core
    from .. import _ops

    own = state if state.dtype is torch.float32 else state.float()
    out = torch.empty_like(x, dtype=torch.float32)
    _ops.state_update(_core.take, own, x.float(), dt.float(), A.float(), B.float(), C.float(), _float(D, "D"), _float(z, "z"),
                      _float(dt_bias, "dt_bias"), bool(dt_softplus), out, _core.threads())
    if own is not state:
        state.copy_(own)
    return out.to(x.dtype)


# ---- causal_conv1d -------------------------------------------------------------------------------------------------------


def _silu(activation: Any) -> bool:
    if activation not in (None, "silu", "swish"):
        raise errors.ArgumentError(f"activation: expected None, 'silu' or 'swish', found {activation!r}")
    return activation is not None


def _runs(seq_idx: Tensor, batch: int, length: int) -> Tensor:
    """Where the number changes, or a row begins, in all rows one behind the other."""
    if tuple(seq_idx.shape) != (batch, length) or seq_idx.is_floating_point():
        raise errors.ArgumentError(f"seq_idx: expected whole numbers [{batch}, {length}], found {seq_idx.dtype} {list(seq_idx.shape)}")
    begins = torch.ones((batch, length), dtype=torch.bool)
    begins[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    at = begins.reshape(-1).nonzero()[:, 0]
    return torch.cat([at, at.new_tensor([batch * length])])


def causal_conv1d_fn(x: Tensor, weight: Tensor, bias: Optional[Tensor] = None, seq_idx: Optional[Tensor] = None,
                     initial_states: Optional[Tensor] = None, return_final_states: bool = False,
                     final_states_out: Optional[Tensor] = None, activation: Optional[str] = None, *,
                     cu_seqlens: Any = None) -> Any:
    """The causal convolution of causal_conv1d: x [batch, dim, length], weight [dim, width], bias [dim]; activation None, "silu" or "swish". Returns out,
    or (out, final_states [batch, dim, width - 1]).

    seq_idx [batch, length]: where the number changes, another sequence begins, from zero. cu_seqlens, beyond causal_conv1d, as in selective_scan_fn(),
    with states [sequences, dim, width - 1]."""
    _check(x, "x")
    _check(weight, "weight")
    if x.dim() != 3 or weight.dim() != 2:
        raise errors.ArgumentError(f"x, weight: expected [batch, dim, length] and [dim, width], found {list(x.shape)} and {list(weight.shape)}")
    silu, starts = _silu(activation), _positions(cu_seqlens, "cu_seqlens")
    given = x.float()
    batch, dim, length = x.shape
    if seq_idx is not None:
        if initial_states is not None or return_final_states or starts is not None:
            raise errors.ArgumentError("seq_idx: expected no states and no cu_seqlens beside it, found some")
        starts = _runs(seq_idx, batch, length)
        given = given.transpose(0, 1).reshape(1, dim, batch * length)
    out, last = _autograd.conv(given, weight.float(), _float(bias, "bias"), silu, _float(initial_states, "initial_states"), starts)
    if seq_idx is not None:
        out = out.reshape(dim, batch, length).transpose(0, 1)
    out = out.to(x.dtype)
    if not return_final_states:
        return out
    last = last.to(x.dtype)
    if final_states_out is not None:
        final_states_out.copy_(last)
        last = final_states_out
    return out, last


def causal_conv1d_update(x: Tensor, conv_state: Tensor, weight: Tensor, bias: Optional[Tensor] = None, activation: Optional[str] = None,
                         cache_seqlens: Optional[Tensor] = None, conv_state_indices: Optional[Tensor] = None) -> Tensor:
    """x [batch, dim] or [batch, dim, length] behind what conv_state [batch, dim, state_len], state_len >= width - 1, has seen; it is updated in place.

    cache_seqlens [batch]: conv_state is a ring whose next place that is. conv_state_indices [batch]: which row of conv_state is whose. No gradients, as
    in causal_conv1d."""
    for a, name in ((x, "x"), (conv_state, "conv_state"), (weight, "weight")):
        _check(a, name)
    silu = _silu(activation)
    if x.dim() not in (2, 3) or conv_state.dim() != 3 or weight.dim() != 2:
        raise errors.ArgumentError(f"x, conv_state, weight: expected [batch, dim] or [batch, dim, length], [batch, dim, state_len] and [dim, width], "
                                   f"found {list(x.shape)}, {list(conv_state.shape)} and {list(weight.shape)}")
    with torch.no_grad():
        tokens = (x[:, :, None] if x.dim() == 2 else x).float()
        batch, dim, length = tokens.shape
        width, state_len = weight.shape[1], conv_state.shape[2]
        if state_len < width - 1 or conv_state.shape[1] != dim:
            raise errors.ArgumentError(f"conv_state: expected [batch, {dim}, at least {width - 1}], found {list(conv_state.shape)}")
        state = conv_state if conv_state_indices is None else conv_state[conv_state_indices]
        if state.shape[0] != batch:
            raise errors.ArgumentError(f"conv_state: expected {batch} rows as of x, found {state.shape[0]}")
        if cache_seqlens is None:
            seen = state[:, :, state_len - (width - 1) :].float()
            after = torch.cat([state, tokens.to(state.dtype)], 2)[:, :, -state_len:] if state_len else state
        else:
            place = cache_seqlens.to(torch.int64)[:, None]
            before = (place + torch.arange(-(width - 1), 0)) % state_len
            seen = state.gather(2, before[:, None].expand(batch, dim, width - 1)).float()
            kept = min(length, state_len)
            written = (place + torch.arange(length - kept, length)) % state_len
            after = state.scatter(2, written[:, None].expand(batch, dim, kept), tokens[:, :, length - kept :].to(state.dtype))
        out, _last = _autograd.conv(tokens, weight.float(), _float(bias, "bias"), silu, seen, None)
        if conv_state_indices is None:
            conv_state.copy_(after)
        else:
            conv_state[conv_state_indices] = after
        result: Tensor = out.to(x.dtype)
        return result[:, :, 0] if x.dim() == 2 else result


# ---- norms ---------------------------------------------------------------------------------------------------------------


def _rms_rows(x: Tensor, weight: Optional[Tensor], eps: float) -> Tensor:
    rows = x.float().reshape(-1, x.shape[-1])
    if rows.stride(-1) != 1:
        rows = rows.contiguous()
    out: Tensor = _autograd.norm(rows, None if weight is None else weight.float(), float(eps))
    return out.reshape(x.shape)


def layer_norm_fn(x: Tensor, weight: Tensor, bias: Optional[Tensor] = None, residual: Optional[Tensor] = None, x1: Any = None,
                  weight1: Any = None, bias1: Any = None, eps: float = 1e-6, dropout_p: float = 0.0, rowscale: Any = None,
                  prenorm: bool = False, residual_in_fp32: bool = False, is_rms_norm: bool = False, return_dropout_mask: bool = False) -> Any:
    """norm(x + residual) weight + bias over the last dimension, as in mamba_ssm. Returns the result in x's type; with prenorm also the sum, in
    float32 if residual_in_fp32. A second input, dropout and scaled rows, which Mamba-1 does not use, are refused."""
    for value, name in ((x1, "x1"), (weight1, "weight1"), (bias1, "bias1"), (rowscale, "rowscale")):
        if value is not None:
            raise errors.UnsupportedError(f"{name}: expected None, found {type(value).__name__}: not supported")
    if dropout_p or return_dropout_mask:
        raise errors.UnsupportedError(f"dropout_p: expected 0, found {dropout_p}: not supported")
    _check(x, "x")
    _check(weight, "weight")
    if tuple(weight.shape) != (x.shape[-1],):
        raise errors.ArgumentError(f"weight: expected [{x.shape[-1]}], found {list(weight.shape)}")
    total = x
    if residual is not None:
        _check(residual, "residual")
        if residual.shape != x.shape:
            raise errors.ArgumentError(f"residual: expected {list(x.shape)} as x, found {list(residual.shape)}")
        total = x.float() + residual.float()
    kept = total.float() if residual_in_fp32 else total.to(x.dtype if residual is None else residual.dtype)
    if is_rms_norm:
        out = _rms_rows(total, weight, eps)
        if bias is not None:
            out = out + bias.float()
    else:
        out = F.layer_norm(total.float(), (x.shape[-1],), weight.float(), _float(bias, "bias"), eps)
    out = out.to(x.dtype)
    return (out, kept) if prenorm else out


def rms_norm_fn(x: Tensor, weight: Tensor, bias: Optional[Tensor] = None, residual: Optional[Tensor] = None, x1: Any = None,
                weight1: Any = None, bias1: Any = None, eps: float = 1e-6, dropout_p: float = 0.0, rowscale: Any = None,
                prenorm: bool = False, residual_in_fp32: bool = False, return_dropout_mask: bool = False) -> Any:
    """layer_norm_fn() without subtracting the mean."""
    return layer_norm_fn(x, weight, bias, residual, x1, weight1, bias1, eps, dropout_p, rowscale, prenorm, residual_in_fp32, True,
                         return_dropout_mask)


# ---- the whole mixer -----------------------------------------------------------------------------------------------------


def _inner_norm(x: Tensor, weight: Optional[Tensor], eps: float) -> Tensor:
    """Of a weight that is longer than x, as Falcon-Mamba's for dt in transformers, the beginning counts."""
    return x if weight is None else _rms_rows(x, weight[: x.shape[-1]], eps).to(x.dtype)


def mamba_inner_fn(xz: Tensor, conv1d_weight: Tensor, conv1d_bias: Optional[Tensor], x_proj_weight: Tensor, delta_proj_weight: Tensor,
                   out_proj_weight: Tensor, out_proj_bias: Optional[Tensor], A: Tensor, B: Optional[Tensor] = None,
                   C: Optional[Tensor] = None, D: Optional[Tensor] = None, delta_bias: Optional[Tensor] = None,
                   B_proj_bias: Optional[Tensor] = None, C_proj_bias: Optional[Tensor] = None, delta_softplus: bool = True,
                   checkpoint_lvl: int = 1, b_rms_weight: Optional[Tensor] = None, c_rms_weight: Optional[Tensor] = None,
                   dt_rms_weight: Optional[Tensor] = None, b_c_dt_rms_eps: float = 1e-6) -> Tensor:
    """What is between a mixer's in_proj and its output, as in mamba_ssm: xz [batch, 2 dim, length], conv1d_weight [dim, 1, width], x_proj_weight
    [dt_rank + 2 n, dim], delta_proj_weight [dim, dt_rank], out_proj_weight [d_model, dim]. B and C are computed from x unless they are given. Returns [batch,
    length, d_model]. checkpoint_lvl is accepted, and changes nothing: what is kept is little. Weights given to the norms of dt, B and C
    (Falcon-Mamba) apply them."""
    _check(xz, "xz")
    if xz.dim() != 3 or xz.shape[1] % 2:
        raise errors.ArgumentError(f"xz: expected [batch, 2 dim, length], found {list(xz.shape)}")
    # Channels side by side from here on: that is how everything below works fastest.
    if xz.stride(1) != 1:
        xz = xz.transpose(1, 2).contiguous().transpose(1, 2)
    x, z = xz.chunk(2, dim=1)
    weight = conv1d_weight.squeeze(1) if conv1d_weight.dim() == 3 else conv1d_weight
    x = causal_conv1d_fn(x, weight, conv1d_bias, activation="silu")
    rank = delta_proj_weight.shape[1]
    n = A.shape[1] * (2 if A.is_complex() else 1)
    parts = F.linear(x.transpose(1, 2), x_proj_weight)
    wanted = rank + (n if B is None else 0) + (n if C is None else 0)
    if parts.shape[-1] != wanted:
        raise errors.ArgumentError(f"x_proj_weight: expected [{wanted}, {x.shape[1]}], found {list(x_proj_weight.shape)}")
    dt = _inner_norm(parts[..., :rank], dt_rms_weight, b_c_dt_rms_eps)
    delta = F.linear(dt, delta_proj_weight).transpose(1, 2)

    def varying(given: Optional[Tensor], at: int, bias: Optional[Tensor], norm: Optional[Tensor]) -> Tensor:
        if given is not None:
            return given
        part = parts[..., at : at + n]
        if bias is not None:
            part = part + bias.to(part.dtype)
        part = _inner_norm(part, norm, b_c_dt_rms_eps).transpose(1, 2)
        if A.is_complex():  # [batch, n, length] complex, of adjacent parts
            part = _pairs(part.float().transpose(1, 2), A.shape[1]).transpose(1, 2)
        return part

    new_B = varying(B, rank, B_proj_bias, b_rms_weight)
    new_C = varying(C, rank + (n if B is None else 0), C_proj_bias, c_rms_weight)
    y = selective_scan_fn(x, delta, A, new_B, new_C, D, z, delta_bias, delta_softplus)
    return F.linear(y.transpose(1, 2), out_proj_weight, out_proj_bias)
