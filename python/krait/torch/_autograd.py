"""Autograd around the operations: custom operators with fake kernels where torch has torch.library.custom_op (2.4), so that torch.compile
and torch.export see through them; plain autograd functions elsewhere, or when KRAIT_TORCH_PLAIN is set."""
import os
from typing import Any, List, Optional, Tuple

import torch
from torch import Tensor

from . import _core

HAS_CUSTOM_OPS = hasattr(torch.library, "custom_op") and hasattr(torch.library, "register_autograd") and not os.environ.get("KRAIT_TORCH_PLAIN")

N_SCAN, N_CONV = 9, 4  # inputs that may have gradients


def _none_if_empty(gradients: List[Tensor], wanted: List[bool], given: Tuple[Optional[Tensor], ...]) -> List[Optional[Tensor]]:
    return [g if yes and a is not None else None for g, yes, a in zip(gradients, wanted, given)]


def _scan_backward(ctx: Any, dout: Optional[Tensor], dlast: Optional[Tensor], run: Any) -> Tuple[Any, ...]:
    saved, starts, *given = ctx.saved_tensors
    u = given[0]
    if dout is None:
        dout = torch.zeros_like(u)
    wanted = [bool(ctx.needs_input_grad[i]) for i in (0, 1, 2, 3, 4, 5, 6, 7, 9)]
    gradients = run(dout, dlast, saved, *given[:8], ctx.softplus, given[8], starts, wanted)
    found = _none_if_empty(gradients, wanted, tuple(given))
    return (*found[:8], None, found[8], None, None)


def _conv_backward(ctx: Any, dout: Optional[Tensor], dlast: Optional[Tensor], run: Any) -> Tuple[Any, ...]:
    starts, x, weight, bias, initial = ctx.saved_tensors
    if dout is None:
        dout = torch.zeros_like(x)
    wanted = [bool(ctx.needs_input_grad[i]) for i in (0, 1, 2, 4)]
    gradients = run(dout, dlast, x, weight, bias, ctx.silu, initial, starts, wanted)
    found = _none_if_empty(gradients, wanted, (x, weight, bias, initial))
    return (*found[:3], None, found[3], None)


def _norm_backward(ctx: Any, dout: Tensor, run: Any) -> Tuple[Any, ...]:
    x, weight = ctx.saved_tensors
    wanted = [bool(ctx.needs_input_grad[i]) for i in (0, 1)]
    return (*_none_if_empty(run(dout, x, weight, ctx.eps, wanted), wanted, (x, weight)), None)


def _remember_scan(ctx: Any, inputs: Tuple[Any, ...], saved: Tensor) -> None:
    u, delta, A, B, C, D, z, delta_bias, softplus, initial_state, starts, _keep = inputs
    ctx.softplus = softplus
    ctx.save_for_backward(saved, starts, u, delta, A, B, C, D, z, delta_bias, initial_state)


def _remember_conv(ctx: Any, inputs: Tuple[Any, ...]) -> None:
    x, weight, bias, silu, initial_state, starts = inputs
    ctx.silu = silu
    ctx.save_for_backward(starts, x, weight, bias, initial_state)


if HAS_CUSTOM_OPS:
    # The annotations below are the operators' schemas.
    @torch.library.custom_op("krait::selective_scan", mutates_args=())
    def _scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Optional[Tensor], z: Optional[Tensor],
              delta_bias: Optional[Tensor], softplus: bool, initial_state: Optional[Tensor], starts: Optional[Tensor],
              keep: bool) -> Tuple[Tensor, Tensor, Tensor]:
        return _core.scan_forward(u, delta, A, B, C, D, z, delta_bias, softplus, initial_state, starts, keep)

    @_scan.register_fake
    def _(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Any, z: Any, delta_bias: Any, softplus: bool, initial_state: Any,
          starts: Any, keep: bool) -> Tuple[Tensor, Tensor, Tensor]:
        batch, dim, length = u.shape
        n = A.shape[1]
        n_starts = 0 if starts is None else starts.shape[0]
        n_states = batch if starts is None else n_starts - 1
        size = _core.saved_floats(batch, dim, length, n, n_starts, A.is_complex()) if keep else 0
        return torch.empty_like(u), A.new_empty((n_states, dim, n)), u.new_empty(size)

    @torch.library.custom_op("krait::selective_scan_backward", mutates_args=())
    def _scan_gradients(dout: Tensor, dlast_state: Optional[Tensor], saved: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor,
                        C: Tensor, D: Optional[Tensor], z: Optional[Tensor], delta_bias: Optional[Tensor], softplus: bool,
                        initial_state: Optional[Tensor], starts: Optional[Tensor], wanted: List[bool]) -> List[Tensor]:
        return _core.scan_backward(dout, dlast_state, saved, u, delta, A, B, C, D, z, delta_bias, softplus, initial_state, starts, wanted)

    @_scan_gradients.register_fake
    def _(dout: Tensor, dlast_state: Any, saved: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Any, z: Any,
          delta_bias: Any, softplus: bool, initial_state: Any, starts: Any, wanted: List[bool]) -> List[Tensor]:
        return [torch.empty_like(a, memory_format=_core._dense(a)) if yes and a is not None else u.new_empty(0)
                for a, yes in zip((u, delta, A, B, C, D, z, delta_bias, initial_state), wanted)]

    def _scan_context(ctx: Any, inputs: Tuple[Any, ...], output: Tuple[Tensor, ...]) -> None:
        _remember_scan(ctx, inputs, output[2])

    def _scan_differentiate(ctx: Any, dout: Optional[Tensor], dlast: Optional[Tensor], _dsaved: Any) -> Tuple[Any, ...]:
        return _scan_backward(ctx, dout, dlast, _scan_gradients)

    _scan.register_autograd(_scan_differentiate, setup_context=_scan_context)

    @torch.library.custom_op("krait::causal_conv1d", mutates_args=())
    def _conv(x: Tensor, weight: Tensor, bias: Optional[Tensor], silu: bool, initial_state: Optional[Tensor],
              starts: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        return _core.conv_forward(x, weight, bias, silu, initial_state, starts)

    @_conv.register_fake
    def _(x: Tensor, weight: Tensor, bias: Any, silu: bool, initial_state: Any, starts: Any) -> Tuple[Tensor, Tensor]:
        n_states = x.shape[0] if starts is None else starts.shape[0] - 1
        return torch.empty_like(x), x.new_empty((n_states, x.shape[1], weight.shape[1] - 1))

    @torch.library.custom_op("krait::causal_conv1d_backward", mutates_args=())
    def _conv_gradients(dout: Tensor, dfinal_state: Optional[Tensor], x: Tensor, weight: Tensor, bias: Optional[Tensor], silu: bool,
                        initial_state: Optional[Tensor], starts: Optional[Tensor], wanted: List[bool]) -> List[Tensor]:
        return _core.conv_backward(dout, dfinal_state, x, weight, bias, silu, initial_state, starts, wanted)

    @_conv_gradients.register_fake
    def _(dout: Tensor, dfinal_state: Any, x: Tensor, weight: Tensor, bias: Any, silu: bool, initial_state: Any, starts: Any,
          wanted: List[bool]) -> List[Tensor]:
        return [torch.empty_like(a, memory_format=_core._dense(a)) if yes and a is not None else x.new_empty(0)
                for a, yes in zip((x, weight, bias, initial_state), wanted)]

    def _conv_context(ctx: Any, inputs: Tuple[Any, ...], output: Any) -> None:
        _remember_conv(ctx, inputs)

    def _conv_differentiate(ctx: Any, dout: Optional[Tensor], dlast: Optional[Tensor]) -> Tuple[Any, ...]:
        return _conv_backward(ctx, dout, dlast, _conv_gradients)

    _conv.register_autograd(_conv_differentiate, setup_context=_conv_context)

    @torch.library.custom_op("krait::rms_norm", mutates_args=())
    def _norm(x: Tensor, weight: Optional[Tensor], eps: float) -> Tensor:
        return _core.norm_forward(x, weight, eps)

    @_norm.register_fake
    def _(x: Tensor, weight: Any, eps: float) -> Tensor:
        return torch.empty_like(x, memory_format=torch.contiguous_format)

    @torch.library.custom_op("krait::rms_norm_backward", mutates_args=())
    def _norm_gradients(dout: Tensor, x: Tensor, weight: Optional[Tensor], eps: float, wanted: List[bool]) -> List[Tensor]:
        return _core.norm_backward(dout, x, weight, eps, wanted)

    @_norm_gradients.register_fake
    def _(dout: Tensor, x: Tensor, weight: Any, eps: float, wanted: List[bool]) -> List[Tensor]:
        return [torch.empty_like(x, memory_format=torch.contiguous_format) if wanted[0] else x.new_empty(0),
                torch.empty_like(weight) if wanted[1] and weight is not None else x.new_empty(0)]

    def _norm_context(ctx: Any, inputs: Tuple[Any, ...], output: Any) -> None:
        x, weight, eps = inputs
        ctx.eps = eps
        ctx.save_for_backward(x, weight)

    def _norm_differentiate(ctx: Any, dout: Tensor) -> Tuple[Any, ...]:
        return _norm_backward(ctx, dout, _norm_gradients)

    _norm.register_autograd(_norm_differentiate, setup_context=_norm_context)

    scan, conv, norm = _scan, _conv, _norm
else:
    class _ScanFunction(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            out, last, saved = _core.scan_forward(*inputs)
            _remember_scan(ctx, inputs, saved)
            ctx.mark_non_differentiable(saved)
            return out, last, saved

        @staticmethod
        def backward(ctx: Any, dout: Any, dlast: Any, _dsaved: Any) -> Any:
            return _scan_backward(ctx, dout, dlast, _core.scan_backward)

    class _ConvFunction(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            _remember_conv(ctx, inputs)
            return _core.conv_forward(*inputs)

        @staticmethod
        def backward(ctx: Any, dout: Any, dlast: Any) -> Any:
            return _conv_backward(ctx, dout, dlast, _core.conv_backward)

    class _NormFunction(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Optional[Tensor], eps: float) -> Any:
            ctx.eps = eps
            ctx.save_for_backward(x, weight)
            return _core.norm_forward(x, weight, eps)

        @staticmethod
        def backward(ctx: Any, dout: Any) -> Any:
            return _norm_backward(ctx, dout, _core.norm_backward)

    scan, conv, norm = _ScanFunction.apply, _ConvFunction.apply, _NormFunction.apply
