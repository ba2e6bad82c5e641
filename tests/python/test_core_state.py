"""States as values."""
import copy
import pickle
from pathlib import Path
from typing import Any

import krait
import numpy as np
import pytest
from conftest import DATA, read_safetensors


def same(a: Any, b: Any) -> bool:
    x, y = a.tensors(), b.tensors()
    return a.tokens == b.tokens and x.keys() == y.keys() and all(np.array_equal(x[k], y[k]) for k in x)


def test_a_new_one_is_zero(tiny: Any) -> None:
    state, c = tiny.state(), tiny.config
    assert state.tokens == 0 and state.nbytes > 0
    tensors = state.tensors()
    assert len(tensors) == 2 * c.n_layer + 1
    assert tensors["conv_state.0"].shape == (c.d_inner, c.d_conv - 1) and tensors["ssm_state.0"].shape == (c.d_inner, c.d_state)
    assert tensors["last_hidden"].shape == (c.d_model,)
    assert all(v.dtype == np.float32 and not v.any() for v in tensors.values())


def test_copies_of_every_kind(tiny: Any, tmp_path: Path) -> None:
    state = tiny.state()
    tiny.run([1, 2, 3], state)
    state.save(tmp_path / "s.safetensors")
    data = state.to_bytes()
    other = tiny.state()
    other.copy_from(state)
    copies = [state.clone(), state.fork(), copy.copy(state), copy.deepcopy(state), other, krait.State.load(tiny, tmp_path / "s.safetensors"),
              krait.State.from_bytes(tiny, data), krait.State.from_bytes(tiny, memoryview(bytearray(data)))]
    assert all(same(state, c) for c in copies)
    expected = tiny.logits([4, 5], state)
    for c in copies:
        assert c.tokens == 3 and not same(state, c)
        np.testing.assert_array_equal(tiny.logits([4, 5], c), expected)
    state.reset()
    assert same(state, tiny.state())


def test_a_file_has_what_tensors_has(tiny: Any, tmp_path: Path) -> None:
    state = tiny.state()
    tiny.run(range(20), state)
    state.save(tmp_path / "s.safetensors")
    found = read_safetensors(tmp_path / "s.safetensors")
    for name, values in state.tensors().items():
        np.testing.assert_array_equal(found[name], values)


def test_what_does_not_fit(tiny: Any, tmp_path: Path) -> None:
    state = tiny.state()
    data = state.to_bytes()
    with krait.Model.load(DATA / "models" / "odd") as odd:
        with pytest.raises(krait.FormatError):
            krait.State.from_bytes(odd, data)
        with pytest.raises(krait.ArgumentError, match="another model"):
            odd.logits([1], state)
        with pytest.raises(krait.ArgumentError):
            state.copy_from(odd.state())
        with pytest.raises(krait.ArgumentError, match="another model"):
            odd.generate([1], state=state)
    for damaged in (b"", data[:7], data[:100], data[:-1], b"\xff" * 64):
        with pytest.raises(krait.FormatError):
            krait.State.from_bytes(tiny, damaged)
    with pytest.raises(krait.FileError) as caught:
        krait.State.load(tiny, tmp_path / "none")
    assert isinstance(caught.value, OSError) and "none" in str(caught.value)
    with pytest.raises(krait.FileError):
        state.save(tmp_path / "no" / "folder")
    with pytest.raises(TypeError, match="model: expected a Model, found int"):
        krait.State(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="data: expected bytes, found str"):
        krait.State.from_bytes(tiny, "text")  # type: ignore[arg-type]
    for make in (lambda: pickle.dumps(state), lambda: pickle.dumps(tiny), lambda: copy.copy(tiny)):
        with pytest.raises(TypeError, match="cannot be pickled"):
            make()


def test_closed_ones(tiny: Any) -> None:
    state = tiny.state()
    state.close()
    state.close()
    assert "closed" in repr(state)
    for use in (lambda: state.tokens, state.clone, state.reset, state.tensors, state.to_bytes, lambda: tiny.logits([1], state)):
        with pytest.raises(krait.ArgumentError, match="State: expected an open one, found one that was closed"):
            use()
