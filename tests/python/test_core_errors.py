"""What is wrong is said by name: the argument, what was expected, what was found."""
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import krait
import numpy as np
import pytest
from conftest import DATA, ROOT, TEXT_SMALL

NAN = math.nan


@pytest.mark.parametrize("options, message", [
    (dict(temperature=NAN), "temperature: expected .*found nan"), (dict(temperature=-1), "temperature"), (dict(temperature=math.inf), "temperature"),
    (dict(temperature="hot"), "temperature: expected a number, found str"), (dict(top_p=NAN), "top_p"), (dict(top_p=1.5), "top_p: expected a number from 0 to 1, found 1.5"),
    (dict(min_p=-0.1), "min_p"), (dict(top_k=-1), "top_k: expected 0 .. 2147483647, found -1"), (dict(top_k=2.5), "top_k: expected a whole number, found float"),
    (dict(repetition_penalty=-1), "repetition_penalty"), (dict(presence_penalty=NAN), "presence_penalty"), (dict(frequency_penalty=math.inf), "frequency_penalty"),
    (dict(penalty_window=-1), "penalty_window: expected 0"), (dict(seed=-1), "seed: expected 0"), (dict(seed=2**64), "seed: expected 0 .. 18446744073709551615"),
    (dict(logit_bias={99999: 1.0}), "99999"), (dict(logit_bias={1: NAN}), "bias"), (dict(logit_bias={1: "x"}), r"logit_bias\[1\]: expected a number, found str"),
    (dict(stop=[""]), "stop"), (dict(stop="a\0b"), r"stop\[0\]: expected text without a NUL"), (dict(stop=[5]), r"stop\[0\]: expected str or bytes, found int"),
    (dict(stop=b"\xff"), "stop"), (dict(stop_ids=[-1]), r"stop_ids\[0\]: expected an id in 0 .. 2147483647, found -1"),
    (dict(stop_ids=[1.5]), "stop_ids: expected whole numbers, found float64"), (dict(max_tokens=0), "max_tokens: expected 1"),
    (dict(max_tokens=True), "max_tokens: expected a whole number, found bool"), (dict(logprobs=1), "logprobs: expected True or False, found int"),
    (dict(on_piece=5), "on_piece: expected a function, found int"), (dict(temprature=1), "unexpected temprature: expected some of .*temperature"),
    (dict(state=5), "state: expected a State, found int"), (dict(bos="yes"), "bos: expected True or False, found str"),
])
def test_generation(text_model: Any, options: Any, message: str) -> None:
    for call in (text_model.generate, text_model.stream, text_model.generate_batch):
        if (call, *options) in ((text_model.generate_batch, "state"), (text_model.stream, "on_piece")):
            continue  # there are none
        with pytest.raises((krait.ArgumentError, TypeError), match=message):
            result = call(["It was"] if call == text_model.generate_batch else "It was", **options)
            if call == text_model.stream:
                next(result)


def test_prompts(text_model: Any, tiny: Any) -> None:
    n = text_model.config.vocab_size
    for prompt, message in (([], "at least one token|has seen"), ("", "at least one token|has seen"), ([1, n], rf"prompt\[1\]: expected an id in 0 .. {n - 1}, found {n}"),
                            ([-3], r"prompt\[0\]: expected an id"), (np.zeros((2, 2), int), r"prompt: expected one dimension, found shape \[2, 2\]"),
                            ([0.5], "prompt: expected whole numbers, found float64"), (None, "prompt: expected"), (5, r"prompt: expected one dimension, found shape \[\]"),
                            ("\ud800", "text: expected text that UTF-8 has bytes for"), ([[1], [1, 2]], "prompt: expected token ids, found list")):
        with pytest.raises((krait.ArgumentError, TypeError), match=message):
            text_model.generate(prompt)
    with pytest.raises(krait.ArgumentError, match=r"prompts\[1\]: expected at least one token, found none"):
        text_model.generate_batch(["a", ""])
    with pytest.raises(TypeError, match="prompts: expected a list of texts, found one text"):
        text_model.generate_batch("a")
    with pytest.raises(krait.ArgumentError, match="rows: expected 1 .. 128, found 0"):
        text_model.generate_batch(["a"], rows=0)
    with pytest.raises(krait.ArgumentError, match="on_piece: expected none with stream"):
        text_model.stream("a", on_piece=print)
    with pytest.raises(krait.ArgumentError, match="the model has no tokenizer: expected token ids"):
        tiny.generate("a")
    with pytest.raises(krait.ArgumentError, match="bos: the model has no token that begins a text"):
        krait.Model.random({"vocab_size": 9, "d_model": 8, "n_layer": 1}).generate([1], bos=True)
    with pytest.raises(krait.ArgumentError, match="stop"):
        tiny.generate([1], stop="x")


def test_running(tiny: Any) -> None:
    n = tiny.config.vocab_size
    for call, message in ((lambda: tiny.logits([]), "ids: expected at least one token, found none"), (lambda: tiny.logits([0, n]), rf"ids\[1\]: expected an id in 0 .. {n - 1}"),
                          (lambda: tiny.logits([1], last=2), "last: expected True or False, found int"), (lambda: tiny.hidden([1], layers=[4]), "layers: expected 0 .. 3, found 4"),
                          (lambda: tiny.hidden([1], layers=[]), "layers: expected at least one, found none"), (lambda: tiny.hidden([1], layers=[0.5]), "layers: expected a whole number"),
                          (lambda: tiny.logits([1], "state"), "state: expected a State, found str"), (lambda: tiny.perplexity([1]), "at least 2|expected"),
                          (lambda: tiny.perplexity([1, 2], window=1), "window"), (lambda: tiny.perplexity([1, 2], window=-1), "window: expected 0"),
                          (lambda: tiny.compare(5, [1, 2]), "other: expected a Model, found int"), (lambda: tiny.perplexity([1, 2], progress=5), "progress: expected a function"),
                          (lambda: tiny.score([1]), r"texts\[0\]: expected one dimension")):
        with pytest.raises((krait.ArgumentError, TypeError), match=message):
            call()
    with krait.Model.random({"vocab_size": 9, "d_model": 8, "n_layer": 1}) as other:
        with pytest.raises(krait.ArgumentError, match="vocab"):
            tiny.compare(other, [1, 2])


def test_loading(tmp_path: Path) -> None:
    for call, kind, message in (
            (lambda: krait.Model.load(tmp_path / "none"), krait.FileError, "none"), (lambda: krait.Model.load(tmp_path), krait.Error, str(tmp_path)),
            (lambda: krait.Model.load(5), TypeError, "path: expected str, bytes or os.PathLike, found int"),
            (lambda: krait.Model.load(TEXT_SMALL, dtype="int8"), krait.ArgumentError, "dtype: expected one of auto, f32, f16, bf16, q8, q4, q6, found 'int8'"),
            (lambda: krait.Model.load(TEXT_SMALL, threads=-2), krait.ArgumentError, "threads: expected 0 .. 1024, found -2"),
            (lambda: krait.Model.load("a\0b"), krait.ArgumentError, "path: expected one without a NUL"),
            (lambda: krait.Model.load(DATA / "tokenizer.jsonl"), krait.Error, "tokenizer.jsonl")):
        with pytest.raises(kind, match=message.replace("[", r"\[")):
            call()
    folder = tmp_path / "cut"
    folder.mkdir()
    for file in ("config.json", "model.safetensors"):
        data = (DATA / "models" / "tiny" / file).read_bytes()
        (folder / file).write_bytes(data if file == "config.json" else data[: len(data) // 2])
    with pytest.raises(krait.FormatError, match="model.safetensors") as caught:
        krait.Model.load(folder)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, krait.Error)


def test_a_closed_model() -> None:
    model = krait.Model.load(TEXT_SMALL)
    tokenizer, state = model.tokenizer, model.state()
    model.generate("It was", max_tokens=2)
    stream = model.stream("It was", max_tokens=8)
    first = next(stream)
    model.close()
    model.close()
    assert [first.id] + [p.id for p in stream if p.id >= 0] != [first.id]  # what has begun comes to its end
    assert state.tokens == 0 and tokenizer is not None and tokenizer.encode("a").size
    for use in (lambda: model.generate("a"), lambda: next(model.stream("a")), lambda: model.logits([1]), lambda: model.config, model.state, lambda: model.nbytes,
                lambda: model.generate_batch(["a"]), lambda: krait.State.from_bytes(model, b"")):
        with pytest.raises(krait.ArgumentError, match="Model: expected an open one, found one that was closed"):
            use()


def test_every_status_has_its_exception() -> None:
    from krait import errors

    kinds = [type(errors.of_status(i, "x")) for i in range(1, 7)]
    assert kinds == [krait.ArgumentError, krait.FileError, krait.FormatError, krait.UnsupportedError, krait.OutOfMemoryError, krait.InterruptedError]
    assert type(errors.of_status(99, "x")) is krait.Error
    assert issubclass(krait.FileError, OSError) and issubclass(krait.OutOfMemoryError, MemoryError) and issubclass(krait.ArgumentError, ValueError)


def run_python(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **environment}
    return subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=60)


def test_importing_imports_little() -> None:
    code = "import sys, os; before = dict(os.environ); import krait; assert 'numpy' not in sys.modules and 'torch' not in sys.modules; assert dict(os.environ) == before"
    assert run_python(code).returncode == 0, run_python(code).stderr
    everything = "import krait; [getattr(krait, name) for name in krait.__all__]; assert set(krait.__all__) <= set(dir(krait)); import sys; assert 'torch' not in sys.modules"
    assert run_python(everything).returncode == 0, run_python(everything).stderr
    with pytest.raises(AttributeError, match="no attribute 'Modle'"):
        krait.Modle


def test_a_library_that_is_not_there(tmp_path: Path) -> None:
    found = run_python("import krait", KRAIT_LIBRARY=str(tmp_path / "none.so"))
    assert found.returncode == 1 and f"ImportError: krait: the library was not found: {tmp_path}/none.so: no such file" in found.stderr
    (tmp_path / "bad.so").write_bytes(b"no library")
    found = run_python("import krait", KRAIT_LIBRARY=str(tmp_path / "bad.so"))
    assert found.returncode == 1 and "ImportError: krait: the library was not found" in found.stderr and "bad.so" in found.stderr


def test_the_end_of_python_waits_for_nobody() -> None:
    code = f"""
import krait
model = krait.Model.load({str(TEXT_SMALL)!r}, threads=2)
stream = model.stream("It was", max_tokens=100)
next(stream)
class Ring: pass
ring = Ring()
ring.ring, ring.stream, ring.others = ring, stream, [model.state(), model.tokenizer.decoder()]
"""
    found = run_python(code)
    assert found.returncode == 0 and not found.stderr, found.stderr


def test_a_forked_process_with_one_thread(text_model: Any) -> None:
    expected = text_model.generate("It was a dark", max_tokens=5, seed=1).ids  # with two
    child = os.fork()
    if child == 0:
        text_model.threads = 1
        os._exit(0 if text_model.generate("It was a dark", max_tokens=5, seed=1).ids == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_versions() -> None:
    header = (ROOT / "include" / "krait" / "krait.h").read_text()
    numbers = [line.split()[2] for part in ("MAJOR", "MINOR", "PATCH") for line in header.splitlines() if line.startswith(f"#define KRAIT_VERSION_{part}")]
    assert krait.__version__ == ".".join(numbers) and "gemm" in krait.build_info()
