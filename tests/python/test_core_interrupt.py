"""Ctrl-C: a real SIGINT, while the library works, is raised within a fraction of a second, and what it hit is usable afterwards."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import DATA, TEXT_SMALL

# A process that is interrupted: `work` takes minutes, and says when it has begun; `after` shows that all is well.
PROGRAM = """
import os, signal, sys, threading, time
import numpy as np
import krait
def begun():
    print("begun", flush=True)
def soon():  # what has no callback of its own says so from outside
    threading.Timer(0.3, begun).start()
{setup}
try:
    {work}
except KeyboardInterrupt:
    print("interrupted", flush=True)
else:
    print("not interrupted", flush=True)
{after}
print("well", flush=True)
"""

BIG = 'shape = {"vocab_size": 512, "d_model": 512, "n_layer": 8}; model = krait.Model.random(shape, threads=1); ids = np.arange(200000) % 512'
SAME = "state = model.state(); model.run(ids[:50], state); before = state.to_bytes()"
KEPT = "assert state.tokens == 50 and state.to_bytes() == before; assert np.isfinite(model.logits([1, 2], state)).all()"

CASES = {
    "prefill": (f"{BIG}; {SAME}", "soon(); model.run(ids, state)", KEPT),
    "logits": (f"{BIG}; {SAME}", "soon(); model.logits(ids[:20000], state, last=True)", KEPT),
    "the prompt of generate": (f"{BIG}; {SAME}", "soon(); model.generate(ids, state=state)", KEPT),
    "the prompt of stream": (f"{BIG}; {SAME}", "soon(); list(model.stream(ids, state=state))", KEPT),
    "generate": (f"{BIG}; {SAME}", "soon(); model.generate([1], state=state, max_tokens=None)", KEPT),
    "on_piece": (f"{BIG}; {SAME}", "model.generate([1], state=state, max_tokens=None, on_piece=lambda p: (begun(), time.sleep(60)))", KEPT),
    "stream": (f"{BIG}; {SAME}", "soon()\n    for piece in model.stream([1], state=state, max_tokens=None): pass",
               "assert state.tokens > 50; assert np.isfinite(model.logits([1, 2], state)).all()"),
    "generate_batch": (BIG, "soon(); model.generate_batch([ids[:5000], [1]] * 5, max_tokens=None)",
                       "assert len(model.generate_batch([[1], [2]], max_tokens=3)[1].ids) == 3"),
    "perplexity": (BIG, "soon(); model.perplexity(ids)", "assert model.perplexity(ids[:9]).n_scored == 8"),
    "compare": (BIG, "soon(); model.compare(model, ids)", "assert model.compare(model, ids[:9]).kl_divergence == 0"),
    "score": (BIG, "soon(); model.score([ids])", "assert model.score([ids[:9]])[0].n_tokens == 8"),
    "accumulate": (
        'trainer = krait.Trainer({"vocab_size": 512, "d_model": 512, "n_layer": 8}, threads=1); ids = np.arange(1000000) % 512\n'
        "state = trainer.model.state(); trainer.step(ids[:4000].reshape(-1, 1000))\n"
        "trainer.step(ids[None, :100], states=[state]); before = state.to_bytes()",
        "soon(); trainer.accumulate(list(ids.reshape(-1, 1000)), states=[state] + [trainer.model.state() for _ in range(999)])",
        "assert state.to_bytes() == before\n"
        "try: trainer.update()\n"
        "except krait.ArgumentError: pass\n"
        "else: raise AssertionError('something was gathered')\n"
        "assert trainer.step(ids[None, :100]).step == 3"),
    "evaluate": ('trainer = krait.Trainer({"vocab_size": 512, "d_model": 512, "n_layer": 8}, threads=1); ids = np.arange(1000000) % 512\n'
                 "trainer.evaluate(ids[:4000].reshape(-1, 1000))",
                 "soon(); trainer.evaluate(ids.reshape(-1, 1000))", "assert trainer.evaluate(ids[None, :9]) > 0"),
    "quantize": (f'{BIG}; trainer = krait.Trainer(shape, threads=1); trainer.save_model("model")',
                 "soon()\n    while True: krait.quantize('model', 'q.gguf', 'q4', threads=1)",
                 'krait.quantize("model", "whole.gguf", "q8"); assert krait.Model.load("whole.gguf").config.n_layer == 8'),
    "calibration": (f'{BIG}; trainer = krait.Trainer(shape, threads=1); trainer.save_model("model")',
                    "soon(); krait.quantize('model', 'q', 'q4', threads=1, calibrate=ids[:20000])",
                    'assert not os.path.exists("q/model.safetensors")'),
    "train_tokenizer": ("", "soon()\n    while True: krait.train_tokenizer('t.json', [TEXT], vocab_size=4000)", ""),
    "train": ('krait.train_tokenizer("bytes.json", kind="bytes"); heard = []\n'
              'config = {"model": {"tokenizer": "bytes.json", "d_model": 64, "n_layer": 2}, "data": {"train": TEXT, "window": 128, "rows": 4},\n'
              '          "train": {"steps": 1000000, "threads": 1}, "checkpoint": {"every": 900000}}',
              "soon(); krait.train(config, out='run', on_event=heard.append)",
              "last = max(e.step for e in heard); assert last > 0 and os.path.exists('run/last/model.safetensors')\n"
              "run = krait.train(config, out='run', on_event=lambda e: e.step < last + 2); assert run.step == last + 2, (run.step, last)"),
    "a handler of one's own": (f"{BIG}; {SAME}\nsignal.signal(signal.SIGINT, lambda n, f: (_ for _ in ()).throw(KeyboardInterrupt()))",
                               "soon(); model.run(ids, state)", KEPT),
    "SIGALRM": (f"{BIG}; {SAME}\nsignal.signal(signal.SIGALRM, signal.default_int_handler)\nsignal.alarm(1)",
                "model.run(ids, state)", KEPT),
}


@pytest.mark.parametrize("case", CASES)
def test_interrupted(case: str, tmp_path: Path) -> None:
    setup, work, after = CASES[case]
    setup = f"TEXT = {str(next((DATA / 'tokenizer_train').glob('*.txt')))!r}\n" + setup
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen([sys.executable, "-u", "-c", PROGRAM.format(setup=setup, work=work, after=after)], cwd=tmp_path, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            if case != "SIGALRM":
                assert process.stdout.readline() == "begun\n", process.stderr.read()
                time.sleep(0.05)
                process.send_signal(signal.SIGINT)
            began = time.monotonic()
            said = process.stdout.readline()
            seconds = time.monotonic() - began
            rest, errors = process.stdout.read(), process.stderr.read()
            assert said == "interrupted\n", errors
            assert "well" in rest and not errors, errors
            assert seconds < (5 if case == "SIGALRM" else 2), f"{seconds:.2f} s"
            print(f"{case}: {1000 * seconds:.0f} ms")
        finally:
            process.kill()


def test_a_handler_that_does_not_raise_stops_nothing(text_model: Any) -> None:
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        expected = text_model.generate("It was", max_tokens=30, seed=1)
        found = text_model.generate("It was", max_tokens=30, seed=1, on_piece=lambda p: os.kill(os.getpid(), signal.SIGINT))
        assert found.ids == expected.ids and found.finish == "length" and len(heard) >= 30
        assert signal.getsignal(signal.SIGINT) is not None
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_a_callback_raises_comes_out(text_model: Any, tmp_path: Path) -> None:
    import krait

    class Own(Exception):
        pass

    def fail(*_: Any) -> None:
        raise Own("mine")

    state = text_model.state()
    text_model.run("Once upon", state)
    seen = state.tokens
    calls = [lambda: text_model.generate(" a time", state=state, on_piece=fail), lambda: krait.Model.load(TEXT_SMALL, dtype="q8", progress=fail),
             lambda: text_model.generate_batch(["a", "b"], on_piece=fail), lambda: text_model.generate_batch(["a", "b"], max_tokens=2, on_done=fail),
             lambda: text_model.perplexity("It was a dark night.", progress=fail),
             lambda: text_model.compare(text_model, "It was a dark night.", progress=fail),
             lambda: krait.quantize(TEXT_SMALL, tmp_path / "q.gguf", "q8", progress=fail)]
    for call in calls:
        with pytest.raises(Own, match="mine"):
            call()
    assert state.tokens == seen and not list(tmp_path.iterdir())
    text_model.generate(" a time", state=state, max_tokens=2)


def test_saying_false_stops(text_model: Any, tmp_path: Path) -> None:
    import krait

    with pytest.raises(krait.InterruptedError):
        krait.Model.load(TEXT_SMALL, dtype="q8", progress=lambda *_: False)
    with pytest.raises(krait.InterruptedError):
        krait.quantize(TEXT_SMALL, tmp_path / "q", "q8", progress=lambda *_: False)
    pieces = []
    g = text_model.generate("It was", max_tokens=50, on_piece=lambda p: pieces.append(p) or len(pieces) < 5)
    assert len(g.ids) == 5 and g.finish == "callback" and g.text == "".join(p.text for p in pieces)
    ended = []
    results = text_model.generate_batch(["a", "b", "c", "d"], rows=1, max_tokens=3, on_done=lambda i, g: ended.append(i) or i < 1)
    assert ended == [0, 1] and [bool(r.finish) for r in results] == [True, True, False, False]
