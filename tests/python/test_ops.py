"""krait.ops: against the definitions in float64, by finite differences, and what is refused."""
import itertools
import time
from typing import Any, Dict, Tuple

import numpy as np
import pytest

from conftest import DATA, assert_close, read_safetensors  # noqa: F401
from krait import ops

RANDOM = np.random.default_rng(7)


def floats(*shape: int) -> Any:
    return RANDOM.standard_normal(shape).astype(np.float32)


def inputs(batch: int = 2, dim: int = 6, length: int = 9, n: int = 5, groups: int = 0, fixed: bool = False, is_complex: bool = False) -> Dict[str, Any]:
    varying = (dim, n) if fixed else (batch, groups, n, length) if groups else (batch, n, length)
    A = -np.exp(floats(dim, n))
    x = {"u": floats(batch, dim, length), "delta": 0.5 * floats(batch, dim, length), "A": A, "B": floats(*varying), "C": floats(*varying),
         "D": floats(dim), "z": floats(batch, dim, length), "delta_bias": floats(dim), "initial_state": floats(batch, dim, n)}
    if is_complex:
        for k in ("A", "B", "C", "initial_state"):
            x[k] = (x[k] + 1j * floats(*x[k].shape)).astype(np.complex64)
    return x


def definition(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any = None, z: Any = None, delta_bias: Any = None,
               initial_state: Any = None) -> Tuple[Any, Any]:
    """In the precision of its inputs."""
    batch, dim, length = u.shape
    dt = delta if delta_bias is None else delta + delta_bias[:, None]
    dt = np.log1p(np.exp(dt))
    h = np.zeros((batch, dim, A.shape[1]), A.dtype) if initial_state is None else initial_state

    def at(a: Any, t: int) -> Any:
        return a[None] if a.ndim == 2 else a[:, None, :, t] if a.ndim == 3 else np.repeat(a[..., t], dim // a.shape[1], axis=1)

    outs = []
    for t in range(length):
        h = np.exp(dt[:, :, t, None] * A) * h + (dt * u)[:, :, t, None] * at(B, t)
        y = (h * at(C, t)).sum(-1)
        outs.append(2 * y.real if np.iscomplexobj(A) else y)
    out = np.stack(outs, -1)
    if D is not None:
        out = out + D[:, None] * u
    return (out if z is None else out * z / (1 + np.exp(-z))), h


def wide(x: Dict[str, Any]) -> Dict[str, Any]:
    return {k: v.astype(np.complex128 if np.iscomplexobj(v) else np.float64) for k, v in x.items()}


CASES = [{}, {"groups": 2}, {"fixed": True}, {"is_complex": True}, {"groups": 3, "length": 1}, {"n": 16, "dim": 33, "length": 300}]


@pytest.mark.parametrize("case", CASES)
def test_scan_is_its_definition(case: Dict[str, Any]) -> None:
    x = inputs(**case)
    out, last = ops.selective_scan(**x, delta_softplus=True, return_last_state=True)
    expected, state = definition(**wide(x))
    assert_close(out, expected, 1e-5, "out")
    assert np.abs(last - state).max() <= 1e-5 * np.abs(state).max()


@pytest.mark.parametrize("case", CASES[:5])
def test_scan_gradients_are_finite_differences(case: Dict[str, Any]) -> None:
    x = inputs(**case)
    weights, states = floats(*x["u"].shape), floats(*x["initial_state"].shape)
    if case.get("is_complex"):
        states = (states + 1j * floats(*states.shape)).astype(np.complex64)
    found = ops.selective_scan_backward(weights, **x, delta_softplus=True, dlast_state=states)

    def loss(v: Dict[str, Any]) -> float:
        out, last = definition(**v)
        return float((out * weights).sum() + (last.real * states.real + last.imag * states.imag).sum())

    base = wide(x)
    for name in x:
        gradient = getattr(found, name)
        for index in [tuple(RANDOM.integers(0, s) for s in x[name].shape) for _ in range(4)]:
            for unit in (1.0, 1j) if np.iscomplexobj(x[name]) else (1.0,):
                step, v = 1e-6, {k: a.copy() for k, a in base.items()}
                v[name][index] += step * unit
                up = loss(v)
                v[name][index] -= 2 * step * unit
                expected = (up - loss(v)) / (2 * step)
                got = gradient[index].imag if unit == 1j else gradient[index].real
                assert abs(got - expected) <= 2e-4 * (1 + abs(expected)), (name, index, got, expected)


def test_any_strides_give_the_same() -> None:
    x = inputs(dim=32, length=40)
    expected = ops.selective_scan(**x, delta_softplus=True)
    turned = {k: np.ascontiguousarray(v.transpose(0, 2, 1)).transpose(0, 2, 1) if v.ndim == 3 and k != "initial_state" else v for k, v in x.items()}
    assert_close(ops.selective_scan(**turned, delta_softplus=True), expected, 1e-6)
    pairs = {k: np.repeat(v, 2, axis=-1)[..., ::2] for k, v in x.items()}
    assert_close(ops.selective_scan(**pairs, delta_softplus=True), expected, 1e-6)
    backwards = {k: v[..., ::-1].copy()[..., ::-1] for k, v in x.items()}
    assert_close(ops.selective_scan(**backwards, delta_softplus=True), expected, 1e-6)
    frozen = {k: v.copy() for k, v in x.items()}
    for v in frozen.values():
        v.flags.writeable = False
    assert_close(ops.selective_scan(**frozen, delta_softplus=True), expected, 1e-6)


def test_sequences_in_a_row_are_sequences_apart() -> None:
    x = inputs(batch=1, length=20)
    starts = [0, 7, 7, 20]
    states = floats(3, 6, 5)
    args = {k: v for k, v in x.items() if k != "initial_state"}
    out, last = ops.selective_scan(**args, delta_softplus=True, initial_state=states, starts=starts, return_last_state=True)
    for i, (a, b) in enumerate(zip(starts, starts[1:])):
        if a == b:
            assert (last[i] == states[i]).all()
            continue
        part = {k: v[..., a:b] if v.ndim == 3 else v for k, v in args.items()}
        one, end = ops.selective_scan(**part, delta_softplus=True, initial_state=states[i : i + 1], return_last_state=True)
        assert_close(out[..., a:b], one, 1e-6)
        assert_close(last[i : i + 1], end, 1e-6)
    y, final = ops.causal_conv1d(x["u"], floats(6, 4), starts=starts, return_final_state=True)
    assert final.shape == (3, 6, 3) and y.shape == x["u"].shape


def test_state_update_is_the_scan_token_by_token() -> None:
    x = inputs(batch=3, length=6)
    whole, last = ops.selective_scan(**x, delta_softplus=True, return_last_state=True)
    state = x["initial_state"].copy()
    for t in range(6):
        y = ops.selective_state_update(state, x["u"][..., t], x["delta"][..., t], x["A"], x["B"][..., t], x["C"][..., t], x["D"], x["z"][..., t],
                                       x["delta_bias"], True)
        assert_close(y, whole[..., t], 1e-5)
    assert_close(state, last, 1e-5)


@pytest.mark.parametrize("width,activation", list(itertools.product([1, 2, 4, 7], [None, "silu"])))
def test_convolution_and_its_gradients(width: int, activation: Any) -> None:
    x, weight, bias, initial = floats(2, 5, 11), floats(5, width), floats(5), floats(2, 5, width - 1)

    def by_definition(x: Any, weight: Any, bias: Any, initial: Any) -> Tuple[Any, Any]:
        whole = np.concatenate([initial, x], axis=2)
        y = bias[:, None] + sum(weight[:, w, None] * whole[:, :, w : w + 11] for w in range(width))
        return (y / (1 + np.exp(-y)) if activation else y), whole[:, :, whole.shape[2] - (width - 1) :]

    out, final = ops.causal_conv1d(x, weight, bias, activation, initial_state=initial, return_final_state=True)
    given = [a.astype(np.float64) for a in (x, weight, bias, initial)]
    expected, state = by_definition(*given)
    assert_close(out, expected, 1e-5)
    assert np.array_equal(final, state.astype(np.float32))
    dout, dfinal = floats(*out.shape), floats(*final.shape)
    found = ops.causal_conv1d_backward(dout, x, weight, bias, activation, initial_state=initial, dfinal_state=dfinal)

    def loss(values: Any) -> float:
        y, s = by_definition(*values)
        return float((y * dout).sum() + (s * dfinal).sum())

    for k, name in enumerate(("x", "weight", "bias", "initial_state")):
        if not given[k].size:
            continue
        for _ in range(4):
            index = tuple(RANDOM.integers(0, s) for s in given[k].shape)
            values = [a.copy() for a in given]
            values[k][index] += 1e-6
            up = loss(values)
            values[k][index] -= 2e-6
            expected_gradient = (up - loss(values)) / 2e-6
            assert abs(getattr(found, name)[index] - expected_gradient) <= 2e-4 * (1 + abs(expected_gradient)), (name, index)


@pytest.mark.parametrize("shape", [(4, 8), (2, 3, 7), (5,)])
def test_norm_and_its_gradients(shape: Tuple[int, ...]) -> None:
    x, weight, dout = floats(*shape), floats(shape[-1]), floats(*shape)

    def by_definition(x: Any, w: Any) -> Any:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w

    assert_close(ops.rms_norm(x, weight), by_definition(x.astype(np.float64), weight.astype(np.float64)), 1e-5)
    found = ops.rms_norm_backward(dout, x, weight)
    given = [x.astype(np.float64), weight.astype(np.float64)]
    for k, gradient in enumerate((found.x, found.weight)):
        index = tuple(RANDOM.integers(0, s) for s in given[k].shape)
        values = [a.copy() for a in given]
        values[k][index] += 1e-6
        up = (by_definition(*values) * dout).sum()
        values[k][index] -= 2e-6
        expected = (up - (by_definition(*values) * dout).sum()) / 2e-6
        assert abs(gradient[index] - expected) <= 2e-4 * (1 + abs(expected))


def test_what_is_wrong_is_said() -> None:
    x = inputs()
    for change, message in [
        ({"u": x["u"].astype(np.float64)}, "u: expected float32, found float64"),
        ({"u": x["u"][0]}, r"u: expected 3 dimensions, found shape \[6, 9\]"),
        ({"delta": x["delta"][:1]}, r"delta: expected shape \[2, 6, 9\], found \[1, 6, 9\]"),
        ({"A": x["A"][:5]}, r"A: expected shape \[6, 5\], found \[5, 5\]"),
        ({"B": x["B"][:, :4]}, r"B: expected shape \[2, 5, 9\], found \[2, 4, 9\]"),
        ({"C": floats(2, 4, 5, 9)}, "C: expected groups that divide dim 6, found 4"),
        ({"D": floats(5)}, r"D: expected shape \[6\], found \[5\]"),
        ({"z": np.asfortranarray(x["z"])[:, :, :3]}, r"z: expected shape \[2, 6, 9\], found \[2, 6, 3\]"),
        ({"initial_state": x["initial_state"].astype(np.complex64)}, "initial_state: expected float32, found complex64"),
        ({"starts": [0, 9]}, "starts: expected a batch of 1"),
        ({"out": np.broadcast_to(np.float32(0), (2, 6, 9))}, "out: expected an array that can be written to"),
        ({"out": x["u"]}, "out: expected memory of its own, found that of an input"),
    ]:
        with pytest.raises(ValueError, match=message):
            ops.selective_scan(**{**x, **change})
    with pytest.raises(TypeError, match="u: expected an array, found list"):
        ops.selective_scan(**{**x, "u": [1.0]})
    with pytest.raises(TypeError, match="x: expected a numpy array, found list"):
        ops.rms_norm([1.0, 2.0])
    with pytest.raises(ValueError, match="activation: expected None, 'silu' or 'swish', found 'relu'"):
        ops.causal_conv1d(x["u"], floats(6, 4), activation="relu")
    with pytest.raises(ValueError, match="weight: expected a width of 1 .. 16, found 17"):
        ops.causal_conv1d(x["u"], floats(6, 17))
    one = {k: v[:1] if v.ndim == 3 else v for k, v in x.items()}
    for starts in ([0, 5], [1, 9], [0, 6, 3, 9], [0]):
        with pytest.raises(ValueError, match="starts: expected ascending positions from 0 to 9"):
            ops.selective_scan(**{**one, "initial_state": None}, starts=starts)


def test_random_misuse_never_crashes() -> None:
    """Wrong shapes, types, strides and nonsense, for a second: exceptions or results, never anything else."""
    random = np.random.default_rng(11)
    values = [None, 3, "x", [1.0], np.float32(1), floats(0), floats(2, 6, 9), floats(6, 5), floats(2, 5, 9), floats(6), floats(2, 0, 9), floats(2, 6, 0),
              floats(2, 6, 5), np.zeros((2, 6, 9)), np.zeros((2, 6, 9), np.float16), floats(9, 6, 2).T, np.broadcast_to(floats(1, 6, 1), (2, 6, 9)),
              floats(2, 6, 9)[:, ::-1], np.zeros((2, 6, 9), np.complex64), np.zeros((2, 6, 9), ">f4"), np.frombuffer(bytes(4 * 108 + 1), np.uint8)[1:].view(np.float32).reshape(2, 6, 9)]
    calls = [(ops.selective_scan, 8), (ops.selective_scan_backward, 9), (ops.selective_state_update, 9), (ops.causal_conv1d, 3),
             (ops.causal_conv1d_backward, 4), (ops.rms_norm, 2), (ops.rms_norm_backward, 3)]
    end, n = time.monotonic() + 1, 0
    while time.monotonic() < end:
        function, arity = calls[n % len(calls)]
        good = inputs()
        usual = [good[k] for k in ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")]
        arguments = ([good["u"]] + usual)[: arity] if "backward" in function.__name__ else usual[:arity]
        for _ in range(int(random.integers(1, 4))):
            arguments[int(random.integers(0, len(arguments)))] = values[int(random.integers(0, len(values)))]
        try:
            function(*arguments)
        except (ValueError, TypeError, AttributeError):
            pass
        n += 1
    assert n > 100
