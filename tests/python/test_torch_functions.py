"""krait.torch against the definitions in float64 torch, with autograd, torch.compile and torch.export. Needs torch."""
import os
import subprocess
import sys
from typing import Any, Dict

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

import krait  # noqa: E402
from krait import torch as kt  # noqa: E402

CASES = [{}, {"groups": 2}, {"fixed": True}, {"is_complex": True}, {"length": 1}, {"dim": 40, "length": 300, "n": 16}]


def inputs(batch: int = 2, dim: int = 8, length: int = 33, n: int = 4, groups: int = 0, fixed: bool = False, is_complex: bool = False) -> Dict[str, Any]:
    torch.manual_seed(1)

    def draw(*shape: int) -> Any:
        return torch.randn(*shape, dtype=torch.float64)

    varying = (dim, n) if fixed else (batch, groups, n, length) if groups else (batch, n, length)
    x = {"u": draw(batch, dim, length), "delta": draw(batch, dim, length) * 0.5, "A": -torch.exp(draw(dim, n)), "B": draw(*varying), "C": draw(*varying),
         "D": draw(dim), "z": draw(batch, dim, length), "delta_bias": draw(dim), "initial_state": draw(batch, dim, n)}
    if is_complex:
        for k in ("A", "B", "C", "initial_state"):
            x[k] = torch.complex(x[k], draw(*x[k].shape))
    return x


def single(a: Any) -> Any:
    return a.to(torch.complex64 if a.is_complex() else torch.float32)


def relative(found: Any, expected: Any) -> float:
    return float(((found - expected).abs().max() / expected.abs().max()).detach())


@pytest.mark.parametrize("case", CASES)
def test_scan_and_gradients(case: Dict[str, Any]) -> None:
    x = inputs(**case)
    a = {k: v.clone().requires_grad_() for k, v in x.items()}
    b = {k: single(v).clone().requires_grad_() for k, v in x.items()}
    expected, state = kt.selective_scan_ref(**a, delta_softplus=True, return_last_state=True)
    found, last = kt.selective_scan_fn(**b, delta_softplus=True, return_last_state=True)
    assert relative(found, expected) < 1e-5 and relative(last, state) < 1e-5
    weights, states = torch.randn_like(expected), torch.randn_like(state)
    ((expected * weights).sum() + (state * states.conj()).real.sum()).backward()
    ((found * single(weights)).sum() + (last * single(states).conj()).real.sum()).backward()
    for k in x:
        assert relative(b[k].grad, a[k].grad) < 1e-4, k


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_that_of_its_inputs(dtype: Any) -> None:
    x = {k: v.to(dtype) if k in ("u", "delta", "z", "B", "C") else v.float() for k, v in inputs().items()}
    expected = kt.selective_scan_fn(**{k: v.float() for k, v in x.items()}, delta_softplus=True)
    x["u"].requires_grad_()
    found = kt.selective_scan_fn(**x, delta_softplus=True)
    assert found.dtype is dtype and relative(found.float(), expected) < 1e-2
    found.float().sum().backward()
    assert x["u"].grad.dtype is dtype and bool(x["u"].grad.isfinite().all())


def test_complex_parts_side_by_side() -> None:
    """mamba_ssm passes complex B and C that vary as pairs of real numbers."""
    x = inputs(is_complex=True)
    pairs = dict(x)
    for k in ("B", "C"):
        pairs[k] = torch.view_as_real(x[k]).flatten(-2)
    a = kt.selective_scan_fn(**{k: single(v) for k, v in x.items()}, delta_softplus=True)
    b = kt.selective_scan_fn(**{k: single(v) for k, v in pairs.items()}, delta_softplus=True)
    assert torch.equal(a, b)


def test_variable_lengths() -> None:
    x = {k: single(v) for k, v in inputs(batch=1, length=30).items() if k != "initial_state"}
    starts = torch.tensor([0, 4, 30])
    states = torch.randn(2, 8, 4, requires_grad=True)
    u = x.pop("u").requires_grad_()
    out, last = kt.selective_scan_fn(u, **x, delta_softplus=True, return_last_state=True, initial_state=states, cu_seqlens=starts)
    (out.sum() + last.sum()).backward()
    got = u.grad.clone(), states.grad.clone()
    u.grad = states.grad = None
    total = 0
    for i, (a, b) in enumerate(((0, 4), (4, 30))):
        part = {k: v[..., a:b] if v.dim() == 3 else v for k, v in x.items()}
        one, end = kt.selective_scan_fn(u[..., a:b], **part, delta_softplus=True, return_last_state=True, initial_state=states[i : i + 1])
        assert torch.allclose(one, out[..., a:b], atol=1e-6) and torch.allclose(end, last[i : i + 1], atol=1e-6)
        total = total + one.sum() + end.sum()
    total.backward()
    assert torch.allclose(u.grad, got[0], atol=1e-5) and torch.allclose(states.grad, got[1], atol=1e-5)


def test_gradcheck() -> None:
    """Torch's own numerical check, as far as float32 goes."""
    x = {k: single(v).requires_grad_() for k, v in inputs(batch=1, dim=3, length=5, n=2).items()}

    def run(*values: Any) -> Any:
        return kt.selective_scan_fn(*values[:8], delta_softplus=True, return_last_state=True, initial_state=values[8])

    with pytest.warns(UserWarning):
        assert torch.autograd.gradcheck(run, tuple(x.values()), eps=1e-2, atol=1e-2, rtol=1e-2)


def test_only_what_is_wanted_gets_a_gradient() -> None:
    x = {k: single(v) for k, v in inputs().items()}
    x["A"].requires_grad_()
    kt.selective_scan_fn(**x, delta_softplus=True).sum().backward()
    assert x["A"].grad is not None and all(v.grad is None for k, v in x.items() if k != "A")
    with torch.no_grad():
        assert not kt.selective_scan_fn(**x).requires_grad


def test_state_update() -> None:
    x = {k: single(v) for k, v in inputs(length=7).items()}
    whole, last = kt.selective_scan_fn(**x, delta_softplus=True, return_last_state=True)
    for dtype in (torch.float32, torch.bfloat16):
        state = x["initial_state"].to(dtype, copy=True)
        outs = [kt.selective_state_update(state, x["u"][..., t], x["delta"][..., t], x["A"], x["B"][..., t], x["C"][..., t], x["D"], x["z"][..., t],
                                          x["delta_bias"], True) for t in range(7)]
        bound = 1e-5 if dtype is torch.float32 else 3e-2
        assert relative(torch.stack(outs, 2), whole) < bound and relative(state.float(), last) < bound
    with pytest.raises(ValueError, match="x: expected no gradient to be wanted"):
        kt.selective_state_update(x["initial_state"], x["u"][..., 0].requires_grad_(), x["delta"][..., 0], x["A"], x["B"][..., 0], x["C"][..., 0])


def conv_reference(x: Any, weight: Any, bias: Any, initial: Any = None, activation: Any = None) -> Any:
    width = weight.shape[1]
    whole = F.pad(x, (width - 1, 0)) if initial is None else torch.cat([initial, x], 2)
    y = F.conv1d(whole, weight[:, None], bias, groups=x.shape[1])
    return F.silu(y) if activation else y


@pytest.mark.parametrize("activation", [None, "silu", "swish"])
@pytest.mark.parametrize("width", [2, 4])
def test_convolution(width: int, activation: Any) -> None:
    torch.manual_seed(2)
    values = [torch.randn(2, 6, 19), torch.randn(6, width), torch.randn(6), torch.randn(2, 6, width - 1)]
    a, b = ([v.double().requires_grad_() for v in values], [v.clone().requires_grad_() for v in values])
    expected = conv_reference(*a, activation)
    found, final = kt.causal_conv1d_fn(b[0], b[1], b[2], initial_states=b[3], return_final_states=True, activation=activation)
    assert relative(found, expected) < 1e-5
    assert torch.equal(final, torch.cat([values[3], values[0]], 2)[:, :, -(width - 1) :])
    (expected.square().sum() + torch.cat([a[3], a[0]], 2)[:, :, -(width - 1) :].sum()).backward()
    (found.square().sum() + final.sum()).backward()
    for p, q in zip(a, b):
        assert relative(q.grad, p.grad) < 1e-5


def test_convolution_with_sequence_numbers() -> None:
    x, weight = torch.randn(2, 6, 10), torch.randn(6, 4)
    numbers = torch.tensor([[0] * 4 + [1] * 6, [5] * 7 + [9] * 3], dtype=torch.int32)
    found = kt.causal_conv1d_fn(x, weight, seq_idx=numbers, activation="silu")
    for row, at in ((0, 4), (1, 7)):
        for part in (slice(0, at), slice(at, 10)):
            assert torch.allclose(found[row : row + 1, :, part], conv_reference(x[row : row + 1, :, part], weight, None, None, "silu"), atol=1e-5)


def test_convolution_update() -> None:
    torch.manual_seed(3)
    x, weight, bias = torch.randn(3, 6, 12), torch.randn(6, 4), torch.randn(6)
    whole = conv_reference(x, weight, bias, None, "silu")
    for length in (3, 4, 6):
        state = torch.zeros(3, 6, length)
        ring, at = torch.zeros(3, 6, length), torch.zeros(3, dtype=torch.int32)
        pool, rows = torch.zeros(5, 6, length), torch.tensor([4, 0, 2])
        for t in range(12):
            for y in (kt.causal_conv1d_update(x[:, :, t], state, weight, bias, "silu"),
                      kt.causal_conv1d_update(x[:, :, t], ring, weight, bias, "silu", cache_seqlens=at),
                      kt.causal_conv1d_update(x[:, :, t], pool, weight, bias, "silu", conv_state_indices=rows)):
                assert torch.allclose(y, whole[:, :, t], atol=1e-5)
            at += 1
        assert torch.equal(state, x[:, :, -length:]) and torch.equal(pool[rows], state)
    state = torch.zeros(3, 6, 3)
    assert torch.allclose(kt.causal_conv1d_update(x, state, weight, bias, "silu"), whole, atol=1e-5)


@pytest.mark.parametrize("rms", [True, False])
def test_norms(rms: bool) -> None:
    torch.manual_seed(4)
    x, residual, weight, bias = torch.randn(2, 3, 16), torch.randn(2, 3, 16), torch.rand(16) + 0.5, torch.randn(16)
    a = [v.double().requires_grad_() for v in (x, residual, weight, bias)]
    b = [v.clone().requires_grad_() for v in (x, residual, weight, bias)]
    total = a[0] + a[1]
    expected = total * torch.rsqrt(total.square().mean(-1, keepdim=True) + 1e-5) * a[2] + a[3] if rms else F.layer_norm(total, (16,), a[2], a[3], 1e-5)
    function = kt.rms_norm_fn if rms else kt.layer_norm_fn
    found, kept = function(b[0], b[2], b[3], residual=b[1], eps=1e-5, prenorm=True, residual_in_fp32=True)
    assert relative(found, expected) < 1e-5 and torch.allclose(kept, (x + residual))
    expected.square().sum().backward()
    found.square().sum().backward()
    for p, q in zip(a, b):
        assert relative(q.grad, p.grad) < 1e-5
    half = function(x.bfloat16(), weight, None, eps=1e-5)
    assert half.dtype is torch.bfloat16
    with pytest.raises(NotImplementedError, match="dropout_p: expected 0"):
        function(x, weight, dropout_p=0.1)


def test_inner_function() -> None:
    torch.manual_seed(5)
    d_model, dim, n, rank = 8, 16, 4, 3
    xz = torch.randn(2, 2 * dim, 11, requires_grad=True)
    p = [torch.randn(*s) * 0.3 for s in ((dim, 1, 4), (dim,), (rank + 2 * n, dim), (dim, rank), (d_model, dim), (d_model,), (dim,), (dim,))]
    for v in p:
        v.requires_grad_()
    A = -torch.exp(torch.randn(dim, n))
    found = kt.mamba_inner_fn(xz, p[0], p[1], p[2], p[3], p[4], p[5], A, D=p[6], delta_bias=p[7])
    x, z = xz.chunk(2, 1)
    x = conv_reference(x, p[0].squeeze(1), p[1], None, "silu")
    parts = F.linear(x.transpose(1, 2), p[2])
    y = kt.selective_scan_ref(x, (parts[..., :rank] @ p[3].T).transpose(1, 2), A, parts[..., rank : rank + n].transpose(1, 2),
                              parts[..., rank + n :].transpose(1, 2), p[6], z, p[7], True)
    expected = F.linear(y.transpose(1, 2), p[4], p[5])
    assert relative(found, expected) < 1e-5
    a = torch.autograd.grad(expected.square().sum(), [xz, *p])
    b = torch.autograd.grad(found.square().sum(), [xz, *p])
    for one, other in zip(a, b):
        assert relative(other, one) < 1e-4


# ---- compilation ---------------------------------------------------------------------------------------------------------

modern = pytest.mark.skipif(not hasattr(torch.library, "custom_op"), reason="torch before 2.4 has no custom operators")


@modern
def test_compile_sees_no_break_and_gives_the_same() -> None:
    x = {k: single(v).requires_grad_() for k, v in inputs().items()}

    def run(values: Dict[str, Any]) -> Any:
        y = kt.selective_scan_fn(**values, delta_softplus=True) * 2
        return kt.causal_conv1d_fn(y, torch.ones(8, 4), activation="silu").sum() + kt.rms_norm_fn(y, torch.ones(33)).sum()

    expected = torch.autograd.grad(run(x), list(x.values()))
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(x), list(x.values()))
    for a, b in zip(expected, found):
        assert torch.allclose(a, b, atol=1e-4, rtol=1e-4)


@modern
def test_export() -> None:
    model = kt.Mamba(16).eval()
    x = torch.randn(2, 9, 16)
    program = torch.export.export(model, (x,))
    assert any("krait" in str(node.target) for node in program.graph.nodes)
    assert torch.allclose(program.module()(x), model(x), atol=1e-6)


@modern
def test_operators_keep_their_promises() -> None:
    x = {k: single(v).requires_grad_() for k, v in inputs(length=9).items()}
    order = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
    torch.library.opcheck(torch.ops.krait.selective_scan.default, (*[x[k] for k in order], True, x["initial_state"], None, True))
    torch.library.opcheck(torch.ops.krait.causal_conv1d.default, (x["u"], torch.randn(8, 4), None, True, None, None))
    torch.library.opcheck(torch.ops.krait.rms_norm.default, (torch.randn(3, 8, requires_grad=True), torch.ones(8), 1e-5))


@modern
def test_tensors_of_another_device_are_named() -> None:
    fake_tensor = pytest.importorskip("torch._subclasses.fake_tensor")
    with fake_tensor.FakeTensorMode():  # a GPU that is not there
        u, A, B, w = (torch.empty(*shape, device="cuda") for shape in ((1, 8, 4), (8, 4), (1, 4, 4), (4,)))
        for call in (lambda: kt.selective_scan_fn(u, u, A, B, B), lambda: kt.causal_conv1d_fn(u, A), lambda: kt.rms_norm_fn(u, w, None)):
            with pytest.raises(krait.ArgumentError, match=r"^(u|x): expected a dense tensor on the CPU, found one on cuda:0"):
                call()


@pytest.mark.skipif(os.environ.get("KRAIT_TORCH_PLAIN") == "1", reason="is running so")
def test_everything_without_custom_operators() -> None:
    """This file again in a process where torch is as if it were old."""
    result = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__, "-k", "not compile and not export and not operators"],
                            env={**os.environ, "KRAIT_TORCH_PLAIN": "1"}, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:]
    assert " passed" in result.stdout


# ---- what is wrong -------------------------------------------------------------------------------------------------------


def test_what_is_wrong_is_said() -> None:
    x = {k: single(v) for k, v in inputs().items()}
    for change, error, message in [
        ({"u": x["u"].to_sparse()}, ValueError, "u: expected a dense tensor on the CPU, found one on cpu, torch.sparse_coo"),
        ({"u": x["u"].double()}, ValueError, "u: expected float32, bfloat16 or float16, found torch.float64"),
        ({"u": x["u"][0]}, ValueError, r"u: expected \[batch, dim, length\], found \[8, 33\]"),
        ({"delta": x["delta"][:1]}, ValueError, r"delta: expected shape \[2, 8, 33\], found \[1, 8, 33\]"),
        ({"A": x["A"][:3]}, ValueError, r"A: expected shape \[8, 4\], found \[3, 4\]"),
        ({"B": x["B"].long()}, ValueError, "B: expected float32, bfloat16 or float16, found torch.int64"),
        ({"D": [1.0]}, TypeError, "D: expected a tensor, found list"),
        ({"cu_seqlens": torch.tensor([0, 33])}, ValueError, "starts: expected a batch of 1"),
        ({"cu_seqlens": torch.tensor([0.5])}, ValueError, "cu_seqlens: expected whole numbers"),
    ]:
        with pytest.raises(error, match=message):
            kt.selective_scan_fn(**{**x, **change})
    with pytest.raises(ValueError, match="activation: expected None, 'silu' or 'swish', found 'gelu'"):
        kt.causal_conv1d_fn(x["u"], torch.randn(8, 4), activation="gelu")
    with pytest.raises(ValueError, match="conv_state: expected"):
        kt.causal_conv1d_update(x["u"][..., 0], torch.zeros(2, 8, 2), torch.randn(8, 4))
