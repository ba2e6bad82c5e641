"""Anything may be passed to anything: what comes is a result, or an exception that says what is wrong; never a crash.

KRAIT_FUZZ_SECONDS says for how long (2 by default), KRAIT_FUZZ_SEED where it begins. Under the address sanitizer:
LD_PRELOAD=$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 KRAIT_LIBRARY=build/asan-ubsan/libkrait.so.0 python -m pytest tests/python"""
import math
import os
import random
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import krait
import numpy as np
import pytest
from conftest import DATA, TEXT_SMALL

SECONDS = float(os.environ.get("KRAIT_FUZZ_SECONDS", "2"))
SEED = int(os.environ.get("KRAIT_FUZZ_SEED", "1"))
# The library's own; those that Python itself raises for a wrong number or kind of arguments; and what numpy says.
ALLOWED = (krait.Error, TypeError, ValueError, OverflowError)


class Strange:
    """Has everything, and means nothing by it."""

    def __index__(self) -> int:
        return -(2**70)

    def __float__(self) -> float:
        return math.nan

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.full((2, 3), -1.5)

    def __len__(self) -> int:
        return 3


class Fuzz:
    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.models = [krait.Model.load(DATA / "models" / name, threads=1) for name in ("tiny", "odd")]
        self.models.append(krait.Model.random({"vocab_size": 2048, "d_model": 16, "n_layer": 1}, threads=1))
        self.tokenizers = [krait.Tokenizer.load(TEXT_SMALL), krait.Tokenizer.load(DATA / "tokenizer" / "plain.json")]
        self.models[2].tokenizer = self.tokenizers[0]
        self.states = [m.state() for m in self.models]
        self.decoders = [t.decoder() for t in self.tokenizers]
        self.trainers = [krait.Trainer({"vocab_size": 30, "d_model": 16, "n_layer": 1}, threads=1)]
        self.sanity = 0.5  # how much of what is passed makes sense: in every call another share
        self.written = 0

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def sane(self) -> bool:
        return self.random.random() < self.sanity

    def number(self) -> Any:
        if self.sane():
            return self.pick(0, 1, 2, 1, 1)
        return self.pick(0, 1, -1, 2, 7, 30, 255, 256, 2**31 - 1, 2**31, -(2**31), 2**63, 2**64, 10**30, 0.5, -0.0, 1e-300, 1e300, math.nan, math.inf,
                         -math.inf, True, None, "3", np.int64(5), np.uint8(200), np.float32(0.3), Strange())

    def small(self) -> Any:  # numbers of tokens, which are not to take forever
        if self.sane():
            return self.pick(1, 2, 5, 8)
        return self.pick(0, 1, 2, 5, 3.0, -1, None if self.random.random() < 0.01 else 4, np.int8(3), math.nan, "2", Strange())

    def ids(self) -> Any:
        if self.sane():
            return [self.random.randrange(30) for _ in range(self.pick(1, 2, 5, 33, 70, 600))]
        n = self.pick(0, 1, 2, 5, 33, 70)
        top = self.pick(1, 30, 100, 256, 2048, 2**31, 2**40)
        values = np.array([self.random.randrange(top) for _ in range(n)], np.int64)
        kind = self.random.randrange(12)
        if kind < 6:
            return self.pick(values, values.tolist(), tuple(values), values[::-1], np.repeat(values, 2)[::2], values.astype(np.uint64))
        return self.pick(values - 1, values.astype(float), values[None], values.astype(object), values.astype(np.int8), np.array(5), [[1, 2], [3]],
                         [1, "a"], None, "text", Strange(), [None], {1: 2}, range(3), values.astype(complex), values.astype("S3"), b"\x00\x01",
                         np.ma.masked_array(values), [2**64], [-(2**63)], iter([1, 2]), values.astype(bool))

    def text(self) -> Any:
        if self.sane():
            return self.pick("It was", " a dark and stormy night", "f32", "q8", "backbone.norm_f.weight")
        return self.pick("", "It was", "a" * self.random.randrange(300), "\x00", "<|endoftext|>", "鱼\U0001f41f", "\ud800", b"\xff\xfe", bytearray(b"x"), 5, None,
                         ["a"], "e\u0301\r\n\t", "".join(chr(self.random.randrange(1, 0x2FFF)) for _ in range(20)), Strange(), self.ids())

    def anything(self) -> Any:
        if self.sane():
            return self.pick(True, False)
        return self.pick(self.number, self.ids, self.text, self.state, lambda: self.pick(*self.models), object, lambda: print, dict, list,
                         lambda: {"a": [1]})()

    def state(self) -> Any:
        return self.pick(*self.states, None) if self.sane() or self.random.random() < 0.5 else self.pick(5, "state", self.models[0], Strange())

    def path(self) -> Any:
        if self.sane():
            written = sorted(self.folder.iterdir())
            return self.pick(DATA / "models" / "tiny", DATA / "tokenizer" / "plain.json", *written)
        name = self.pick("a", "b.gguf", "c.safetensors", "no/such", "", "nul\x00", "x" * 300)
        return self.pick(self.folder / name if "\x00" not in name else name, str(self.folder) + "/" + name, 5, None, b"\xff", Strange(), "\udc80\ud800",
                         DATA / "models" / "tiny", DATA / "gguf" / "tiny-mixed.gguf", DATA / "tokenizer" / "plain.json", TEXT_SMALL / "config.json")

    def options(self) -> Dict[str, Any]:
        makers: Dict[str, Callable[[], Any]] = {
            "temperature": self.number, "top_k": self.number, "top_p": lambda: self.pick(0.9, self.number()), "min_p": self.number, "repetition_penalty": self.number,
            "presence_penalty": self.number, "frequency_penalty": self.number, "penalty_window": self.number, "seed": self.number,
            "logit_bias": lambda: self.pick({3: self.number()}, {self.number(): 1.0}, [], {10**6: 1}, self.anything()),
            "stop": lambda: self.pick(self.text(), [self.text(), "e"], ["", "a"], "a\x00", 5), "stop_ids": self.ids, "ignore_eos": self.anything,
            "special": self.anything, "logprobs": self.anything, "bos": lambda: self.pick(True, False, 1),
            "on_piece": lambda: self.pick(None, lambda p: None, lambda p: False, lambda p: 1 / 0, lambda: 0, 7), "nonsense": self.anything}
        chosen = self.random.sample(sorted(makers), self.pick(0, 0, 1, 2, 4))
        if "nonsense" in chosen and self.random.random() < 0.9:
            chosen.remove("nonsense")
        return {"max_tokens": self.small() or 3, **{name: makers[name]() for name in chosen}}

    def handle(self) -> Any:
        return self.pick(*self.models, *self.states, *self.tokenizers, *self.decoders, *self.trainers)

    def model_call(self) -> Callable[[], Any]:
        model, options = self.pick(*self.models), self.options()
        return self.pick(
            lambda: model.generate(self.text(), state=self.state(), **options), lambda: model.generate(self.ids(), state=self.state(), **options),
            lambda: list(zip(range(3), model.stream(self.text(), state=self.state(), **options))),
            lambda: model.generate_batch(self.pick([self.text(), self.ids()], [self.ids()] * 5, self.anything()), rows=self.pick(1, 2, 128, self.number()),
                                         on_done=self.pick(None, lambda i, g: False, 5), **options),
            lambda: model.logits(self.ids(), self.state(), last=self.anything()), lambda: model.run(self.text(), self.state()),
            lambda: model.hidden(self.ids(), self.state(), layers=self.pick(None, [0], [self.number()], [], 5), last=self.pick(True, False)),
            lambda: model.score(self.pick([self.text()], self.text(), [self.ids()], self.anything()), context=self.pick("", self.text(), self.ids())),
            lambda: model.perplexity(self.text(), window=self.number()), lambda: model.compare(self.pick(*self.models, 5), self.ids(), window=self.number()),
            lambda: krait.State.load(model, self.path()), lambda: krait.State.from_bytes(model, self.damaged()), lambda: (model.config, model.bos_id, repr(model)))

    def damaged(self) -> Any:
        data = bytearray(self.pick(*self.states).to_bytes())
        for _ in range(self.pick(0, 1, 5)):
            data[self.random.randrange(min(len(data), 2000))] = self.random.randrange(256)
        return self.pick(data, bytes(data[: self.random.randrange(len(data))]), self.anything())

    def state_call(self) -> Callable[[], Any]:
        state = self.pick(*self.states)
        return self.pick(state.reset, lambda: state.clone().close(), lambda: state.copy_from(self.state()), lambda: state.save(self.path_to_write()), state.tensors,
                         lambda: (state.tokens, state.nbytes, repr(state)), lambda: krait.State(self.anything()))

    def path_to_write(self) -> Any:
        if self.sane():
            self.written += 1
            return self.folder / f"{self.written % 20}{self.pick('', '.gguf')}"
        return self.pick(self.folder / "out", self.folder / "no" / "out", self.folder, 5, "a\x00b", None)

    def tokenizer_call(self) -> Callable[[], Any]:
        tokenizer, decoder = self.pick(*self.tokenizers), self.pick(*self.decoders)
        return self.pick(
            lambda: tokenizer.encode(self.text(), special=self.anything()), lambda: tokenizer.decode(self.ids(), special=self.anything()),
            lambda: tokenizer.token(self.number()), lambda: tokenizer.id(self.text()), lambda: tokenizer.is_special(self.number()),
            lambda: decoder.push(self.number()), decoder.flush, lambda: krait.Tokenizer.load(self.path()),
            lambda: krait.train_tokenizer(self.path_to_write(), kind=self.pick("bytes", "characters", "bpe", 5), alphabet=self.pick(None, "ACGT", "", "AA", 5, "\x00"),
                                          special=self.pick(None, [], ["<a>", "<a>"], [""], "x", [5]), vocab_size=self.number()))

    def trainer_call(self) -> Callable[[], Any]:
        trainer = self.pick(*self.trainers)
        batch = lambda: self.pick(self.ids(), [self.ids(), self.ids()], np.array([[1, 2, 3]] * 3), self.anything())  # noqa: E731
        extra = {name: make() for name, make in (("starts", lambda: self.pick([[1]], [[], [2], []], 5, [self.ids()])),
                                                 ("states", lambda: self.pick([self.state()], [self.state()] * 3, 5))) if self.random.random() < 0.2}
        return self.pick(
            lambda: trainer.accumulate(batch(), **extra), lambda: trainer.evaluate(batch(), self.pick(None, batch()), **extra), trainer.update, trainer.discard,
            lambda: trainer.step(batch()), lambda: trainer.parameter(self.pick("backbone.norm_f.weight", self.text())), lambda: trainer.gradient(self.text()),
            lambda: trainer.save_state(self.path_to_write()), lambda: trainer.load_state(self.path()), lambda: trainer.save_model(self.path_to_write(), self.text()),
            lambda: trainer.model.generate([1, 2], max_tokens=3),
            lambda: krait.Trainer(self.pick({"vocab_size": 20, "d_model": 8, "n_layer": 1}, {"vocab_size": self.small(), "d_model": 3, "n_layer": 1, "d_state": self.small()},
                                            "no", self.anything()), learning_rate=self.number(), seed=self.number(), threads=1, freeze=self.pick((), ["*"], "x", [5]),
                                  total_steps=self.number(), schedule=self.pick("constant", "wsd", 5)))

    def file_call(self) -> Callable[[], Any]:
        return self.pick(
            lambda: krait.Model.load(self.path(), dtype=self.pick("auto", "q8", "f16", 5, "x"), threads=self.pick(1, self.number()) or 1, download=False),
            lambda: krait.quantize(self.path(), self.path_to_write(), self.pick("q8", "f32", 5), keep=self.pick(None, {"*": "q4"}, {5: 5}, 5), threads=1),
            lambda: krait.train(self.pick({}, {"train": {"steps": self.number()}}, {"a": object()}, self.path(), self.run_settings()), out=self.path_to_write()),
            lambda: krait.Model.random(self.pick("x", {"vocab_size": 9, "d_model": 2, "n_layer": self.small()}), threads=1, seed=self.number()))

    def run_settings(self) -> Any:
        return {"model": {"d_model": 8, "n_layer": 1, "tokenizer": DATA / "tokenizer" / "plain.json"},
                "data": {"train": [DATA / "tokenizer_train" / "corpus.txt"], "window": self.small(), "rows": 1},
                "train": {"steps": self.pick(1, 2, 0, -1, math.nan, "x", None), "threads": 1, "learning_rate": self.number()}, "sample": {"tokens": self.small()}}

    def close_something(self) -> Callable[[], Any]:
        def close() -> None:
            pool = self.pick(self.models, self.states, self.tokenizers, self.decoders, self.trainers)
            i = self.random.randrange(len(pool))
            old = pool[i]
            old.close()
            with pytest.raises((krait.ArgumentError, TypeError)):  # used after it was closed
                self.pick(lambda: old._pointer, lambda: krait.State(old), lambda: self.models[0].generate([1], state=old))()
            if isinstance(old, krait.Model):
                pool[i] = krait.Model.load(DATA / "models" / "tiny", threads=1)
            elif isinstance(old, krait.State):
                pool[i] = self.pick(*self.models).state()
            elif isinstance(old, krait.Tokenizer):
                pool[i] = krait.Tokenizer.load(TEXT_SMALL)
                self.models[2].tokenizer = pool[i]
            elif isinstance(old, krait.Trainer):
                pool[i] = krait.Trainer({"vocab_size": 30, "d_model": 16, "n_layer": 1}, threads=1)
            else:
                pool[i] = self.tokenizers[i].decoder()
        return close

    def one(self) -> None:
        makers = [self.model_call] * 8 + [self.state_call] * 3 + [self.tokenizer_call] * 4 + [self.trainer_call] * 4 + [self.file_call, self.close_something]
        self.sanity = self.pick(0.0, 0.6, 0.9, 0.98)
        call = self.pick(*makers)()
        try:
            call()
        except ALLOWED as e:
            assert str(e), f"an exception without a message: {e!r}"
            assert "ctypes" not in type(e).__module__, f"not checked: {e!r}"
        except ZeroDivisionError:
            pass  # on_piece's own


def run(seed: int, folder: Path, end: float) -> int:
    calls, fuzz = 0, Fuzz(seed, folder)
    while time.monotonic() < end:
        state = fuzz.random.getstate()
        try:
            fuzz.one()
        except BaseException as e:
            raise AssertionError(f"KRAIT_FUZZ_SEED={seed}, call {calls} (state {hash(state)}): {e!r}") from e
        calls += 1
    return calls


@pytest.mark.filterwarnings("ignore")
def test_anything_goes(tmp_path: Path, capsys: Any) -> None:
    calls = 0
    for i in range(3):
        folder = tmp_path / str(i)
        folder.mkdir()
        calls += run(SEED + i, folder, time.monotonic() + SECONDS / 3)
    print(f"{calls} calls")
    assert calls > 30


@pytest.mark.filterwarnings("ignore")
def test_anything_goes_in_threads(tmp_path: Path) -> None:
    """Four threads on the same objects, which others close meanwhile."""
    shared = Fuzz(SEED, tmp_path)
    failures: List[BaseException] = []
    end = time.monotonic() + SECONDS

    def work(seed: int) -> None:
        own = Fuzz.__new__(Fuzz)
        own.__dict__.update(shared.__dict__)
        own.random, own.folder = random.Random(seed), tmp_path / str(seed)
        own.folder.mkdir()
        try:
            while time.monotonic() < end:
                own.one()
        except BaseException as e:  # noqa: BLE001
            failures.append(e)

    threads = [threading.Thread(target=work, args=(SEED + i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]
