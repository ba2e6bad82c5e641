"""Training step by step, and whole runs."""
import json
import math
import threading
from pathlib import Path
from typing import Any, List

import krait
import numpy as np
import pytest
from conftest import DATA, assert_close, read_safetensors

SHAPE = {"vocab_size": 60, "d_model": 32, "n_layer": 2, "d_state": 8}


def small(**options: Any) -> Any:
    return krait.Trainer(SHAPE, seed=1, threads=2, **options)


def rows(n: int = 4, length: int = 20, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, SHAPE["vocab_size"], (n, length))


def test_gradients_and_ten_steps(reference: Any) -> None:
    folder, expected = reference
    ids = expected["input_ids"]
    with krait.Trainer(model=folder, learning_rate=1e-3, threads=2) as trainer:
        trainer.accumulate(ids)
        shapes = trainer.shapes()
        checked = 0
        for name, values in expected.items():
            if name.startswith("grad."):
                own = name[5:].replace("backbone.embedding.weight", "backbone.embeddings.weight")
                assert shapes[own] == values.shape
                assert_close(trainer.gradient(own), values, 1e-4, name)
                checked += 1
        assert checked >= 10
        trainer.discard()
        assert not trainer.gradient("backbone.norm_f.weight").any()
        assert math.isclose(trainer.evaluate(ids), float(expected["loss"][0]), rel_tol=1e-4)
        if "train.losses" in expected:
            for i in range(10):
                step = trainer.step(ids)
                assert step.step == trainer.steps == i + 1 and step.finite and step.n_targets == ids.size - len(ids)
                assert math.isclose(step.loss, float(expected["train.losses"][i]), rel_tol=1e-4)
                assert math.isclose(step.grad_norm, float(expected["train.grad_norms"][i]), rel_tol=1e-3)
            for name, values in expected.items():
                if name.startswith("train.after."):
                    assert_close(trainer.parameter(name[12:]), values, 1e-3, name)


def test_batches_of_every_kind_are_the_same() -> None:
    ids = rows()
    kinds: List[Any] = [ids, ids.tolist(), [list(r) for r in ids], list(ids), ids.astype(np.uint8), ids.T.copy().T, tuple(ids)]
    losses = [small().step(k).loss for k in kinds]
    assert len(set(losses)) == 1
    assert small().step(ids[:, :-1], ids[:, 1:]).loss == losses[0]

    class Tensor:  # what torch and others have
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return ids

    assert small().step(Tensor()).loss == losses[0]
    assert small().step(ids[0]).n_targets == ids.shape[1] - 1  # one row


def test_masks_and_ragged_rows_and_accumulation() -> None:
    ids = rows()
    masked = ids[:, 1:].copy()
    masked[:, :10] = -100
    a = small()
    a.accumulate(ids[:, :-1], masked)
    step = a.update()
    assert step.n_targets == 4 * 9
    ragged = [ids[0], ids[1][:7], ids[2][:2]]
    b, c = small(), small()
    b.accumulate(ragged)
    for row in ragged:
        c.accumulate([row])
    assert_close(b.gradient("backbone.layers.0.mixer.in_proj.weight"), c.gradient("backbone.layers.0.mixer.in_proj.weight"), 1e-5)
    assert b.update().n_targets == c.update().n_targets == 19 + 6 + 1


def test_documents_and_carried_states() -> None:
    ids = rows()
    packed, apart = small(), small()
    row = np.concatenate([ids[0], ids[1][:9]])
    targets = np.concatenate([ids[0][1:], [-1], ids[1][1:9], [-1]])
    packed.accumulate([row], [targets], starts=[[20]])
    apart.accumulate([ids[0], ids[1][:9]])
    name = "backbone.layers.1.mixer.A_log"
    assert_close(packed.gradient(name), apart.gradient(name), 1e-5)
    trainer = small()
    states = [trainer.model.state() for _ in ids]
    whole = trainer.evaluate(ids)
    halves = [trainer.evaluate(ids[:, :10], ids[:, 1:11], states=states), trainer.evaluate(ids[:, 10:-1], ids[:, 11:], states=states)]
    assert math.isclose((10 * halves[0] + 9 * halves[1]) / 19, whole, rel_tol=1e-5)
    assert [s.tokens for s in states] == [19] * 4
    trainer.step(ids[:, :10], ids[:, 1:11], states=states)
    assert [s.tokens for s in states] == [29] * 4


def test_it_learns_and_samples(tmp_path: Path) -> None:
    pattern = np.tile(np.arange(6), 8)[None]
    trainer = small(learning_rate=1e-2)
    first = trainer.evaluate(pattern)
    for _ in range(60):
        trainer.step(pattern)
    assert trainer.evaluate(pattern) < 0.2 < 2 < first
    model = trainer.model
    assert model.generate([0, 1, 2, 3], max_tokens=8, temperature=0).ids == [4, 5, 0, 1, 2, 3, 4, 5]
    trainer.save_model(tmp_path / "m")
    with krait.Model.load(tmp_path / "m", threads=2) as saved:
        np.testing.assert_array_equal(saved.logits([0, 1, 2]), model.logits([0, 1, 2]))
    trainer.close()
    for use in (lambda: model.logits([0]), model.state, lambda: trainer.steps, lambda: trainer.step(pattern), lambda: trainer.model):
        with pytest.raises(krait.ArgumentError, match="Trainer: expected an open one"):
            use()


def test_going_on_is_exact(tmp_path: Path) -> None:
    straight, first = small(schedule="cosine", total_steps=6), small(schedule="cosine", total_steps=6)
    for i in range(6):
        straight.step(rows(seed=i))
    for i in range(3):
        first.step(rows(seed=i))
    first.save_model(tmp_path / "m")
    first.save_state(tmp_path / "s")
    second = krait.Trainer(model=tmp_path / "m", threads=2, schedule="cosine", total_steps=6)
    second.load_state(tmp_path / "s")
    assert second.steps == 3
    for i in range(3, 6):
        second.step(rows(seed=i))
    for name in straight.shapes():
        np.testing.assert_array_equal(straight.parameter(name), second.parameter(name), name)
    with pytest.raises(krait.FormatError):
        second.load_state(DATA / "models" / "tiny" / "model.safetensors")
    assert second.steps == 6


def test_options() -> None:
    frozen = small(freeze=["*embeddings*", "*A_log"])
    before = {name: frozen.parameter(name) for name in frozen.shapes()}
    frozen.step(rows())
    for name, values in before.items():
        assert np.array_equal(values, frozen.parameter(name)) == ("embeddings" in name or "A_log" in name), name
    rates = []
    trainer = small(schedule="wsd", learning_rate=0.01, min_learning_rate=0.001, warmup_steps=2, total_steps=6, decay_steps=2)
    for _ in range(6):
        rates.append(trainer.step(rows()).learning_rate)
    assert_close(rates, [0.005, 0.01, 0.01, 0.01, 0.0055, 0.001], 1e-6)
    losses = [small(**o).step(rows()).loss for o in ({}, {"recompute": True}, {"compute": "bf16"})]
    assert math.isclose(losses[0], losses[1], rel_tol=1e-6) and math.isclose(losses[0], losses[2], rel_tol=1e-2)
    assert small().step(rows()).loss != krait.Trainer(SHAPE, seed=2).step(rows()).loss


def test_divergence_is_told() -> None:
    trainer = small(learning_rate=1e30, clip_norm=0)
    trainer.step(rows())
    step = trainer.step(rows())
    assert not step.finite and step.nonfinite and step.step == 1 and trainer.steps == 1


def test_one_thread_at_a_time() -> None:
    trainer, ids = small(), rows(64, 400)
    failures: List[BaseException] = []
    steps: List[int] = []

    def work() -> None:
        for _ in range(10):
            try:
                trainer.accumulate(ids)
                steps.append(1)
            except krait.ArgumentError as e:
                assert "Trainer: expected one that is free, found one in use" in str(e)
                failures.append(e)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert steps and len(steps) + len(failures) == 20
    assert trainer.update().finite


@pytest.mark.parametrize("arguments, message", [
    (lambda: dict(tokens=[[1]]), r"tokens\[0\]: expected at least 2 tokens, found 1"),
    (lambda: dict(tokens=[]), "tokens: expected at least one row"),
    (lambda: dict(tokens=np.zeros((0, 5), int)), "tokens: expected at least one row"),
    (lambda: dict(tokens=rows() + 1000), r"tokens\[0\]\[\d+\]: expected an id in 0 .. 59"),
    (lambda: dict(tokens=[[1, -1]]), r"tokens\[0\]\[1\]: expected an id in 0 .. 59, found -1"),
    (lambda: dict(tokens=np.zeros((2, 2, 2), int)), r"tokens: expected shape \[rows, n\], found \[2, 2, 2\]"),
    (lambda: dict(tokens=rows(), targets=rows()[:2]), "targets: expected 4 rows as of tokens, found 2"),
    (lambda: dict(tokens=rows(), targets=rows()[:, :3]), r"targets\[0\]: expected 20 as of tokens\[0\] \(at least 1\), found 3"),
    (lambda: dict(tokens=rows(), targets=rows() + 60), r"targets\[0\]: expected ids below 60"),
    (lambda: dict(tokens=rows(), targets=rows() * 1.0), r"targets\[0\]: expected whole numbers"),
    (lambda: dict(tokens=rows(), starts=[[0], [], [], []]), r"starts\[0\]: expected ascending positions in 1 .. 18, found \[0\]"),
    (lambda: dict(tokens=rows(), starts=[[5, 5], [], [], []]), r"starts\[0\]: expected ascending positions"),
    (lambda: dict(tokens=rows(), starts=[[99], [], [], []]), r"starts\[0\]: expected ascending positions"),
    (lambda: dict(tokens=rows(), starts=[[1]]), "starts: expected 4 rows as of tokens, found 1"),
    (lambda: dict(tokens=rows(), starts=7), "starts: expected a list with one for each row, found int"),
    (lambda: dict(tokens=rows(), states=[None] * 4), r"states\[0\]: expected a State, found NoneType"),
    (lambda: dict(tokens=rows() * 1.5), r"tokens\[0\]: expected whole numbers, found float64"),
    (lambda: dict(tokens="text"), "tokens"),
])
def test_wrong_batches(arguments: Any, message: str) -> None:
    trainer = small()
    for function in (trainer.accumulate, trainer.evaluate):
        with pytest.raises((krait.ArgumentError, TypeError), match=message):
            function(**arguments())
    with pytest.raises(krait.ArgumentError, match="no target has been gathered"):
        trainer.update()
    state = trainer.model.state()
    with pytest.raises(krait.ArgumentError, match="in use"):
        trainer.accumulate(rows(2), states=[state, state])
    with krait.Model.load(DATA / "models" / "odd") as odd:
        with pytest.raises(krait.ArgumentError, match="a state of another model"):
            trainer.accumulate(rows(1), states=[odd.state()])
    trainer.step(rows(1), states=[state])
    assert state.tokens == 19


@pytest.mark.parametrize("options, message", [
    (dict(learning_rate=math.nan), "learning_rate"), (dict(betas=(0.9, 1.5)), "beta2"), (dict(clip_norm=-1), "clip_norm"),
    (dict(weight_decay=math.inf), "weight_decay"), (dict(schedule="linear"), "schedule: expected one of cosine, wsd, constant, found 'linear'"),
    (dict(schedule="cosine"), "total_steps"), (dict(compute="q8"), "compute: expected f32 or bf16, found 'q8'"),
    (dict(threads=-1), "threads: expected 0 .. 1024, found -1"), (dict(freeze=["nothing"]), "nothing"),
    (dict(freeze="x"), "freeze"), (dict(betas=0.9), "betas"), (dict(learning_rate="high"), "learning_rate: expected a number, found str"),
    (dict(dt_min=0.1, dt_max=0.01), "dt_m"), (dict(seed=-1), "seed: expected 0"), (dict(warmup_steps=1.5), "warmup_steps: expected a whole number"),
])
def test_wrong_options(options: Any, message: str) -> None:
    with pytest.raises((krait.ArgumentError, TypeError), match=message):
        krait.Trainer(SHAPE, **options)


def test_wrong_shapes_and_names() -> None:
    for shape, message in (({}, "shape: expected vocab_size, d_model, n_layer"), ({**SHAPE, "heads": 2}, "shape: unknown heads"),
                           ({**SHAPE, "d_model": 0}, "d_model: expected 1"), ("7b", "7b"), ({**SHAPE, "family": "rwkv"}, "family"),
                           ({**SHAPE, "d_conv": 99}, "d_conv"), (5, "shape"), ({**SHAPE, "vocab_size": 2**60}, "vocab_size|larger than memory")):
        with pytest.raises((krait.ArgumentError, krait.UnsupportedError, TypeError), match=message):
            krait.Trainer(shape)  # type: ignore[arg-type]
    with pytest.raises(krait.ArgumentError, match="expected shape, of a new model, or model, to go on from; found neither"):
        krait.Trainer()
    trainer = small()
    with pytest.raises(krait.ArgumentError, match="name: expected that of a parameter"):
        trainer.parameter("backbone.nothing")
    with pytest.raises(TypeError, match="name: expected str"):
        trainer.gradient(3)  # type: ignore[arg-type]


# ---- whole runs ----------------------------------------------------------------------------------------------------------


def settings(folder: Path) -> Any:
    tokenizer = folder / "bytes.json"
    if not tokenizer.exists():
        krait.train_tokenizer(tokenizer, kind="bytes")
        text = (DATA / "tokenizer_train" / "corpus.txt").read_text("utf-8")
        (folder / "text.txt").write_text(text[:20000])
        (folder / "held-out.txt").write_text(text[20000:24000])
    return {
        "model": {"tokenizer": tokenizer, "d_model": 32, "n_layer": 1, "d_state": 8},
        "data": {"train": [folder / "text.txt"], "held_out": folder / "held-out.txt", "window": 64, "rows": 4},
        "train": {"steps": 12, "learning_rate": 5e-3, "threads": 1}, "checkpoint": {"every": 6}, "log": {"every": 2},
        "sample": {"prompt": "The", "tokens": 5}, "evaluate": {"tokens": 1000}, "seed": 3,
    }


def test_a_run_from_a_dict(tmp_path: Path) -> None:
    events: List[krait.Event] = []
    run = krait.train(settings(tmp_path), out=tmp_path / "run", on_event=events.append)
    assert run.finished and run.step == 12 and run.folder == tmp_path / "run"
    kinds = [e.type for e in events]
    assert kinds.count("step") == 12 and kinds.count("checkpoint") >= 2 and "evaluation" in kinds and "sample" in kinds
    steps = [e for e in events if e.type == "step"]
    assert [e.step for e in steps] == list(range(1, 13)) and steps[-1].loss < steps[0].loss and steps[0].n_steps == 12
    assert any(e.text and e.type == "sample" for e in events)
    lines = run.metrics()
    assert any("loss" in line for line in lines)
    assert run.best is not None and run.event is not None and run.event.held_out_bits_per_byte > 0
    with krait.Model.load(run.last) as model, krait.Model.load(run.best) as best:
        assert model.generate("The", max_tokens=4).text and best.config.d_model == 32
    again = krait.train(settings(tmp_path), out=tmp_path / "run")
    assert again.finished and again.step == 12


def test_a_run_that_was_stopped_goes_on_exactly(tmp_path: Path) -> None:
    whole = krait.train(settings(tmp_path), out=tmp_path / "whole")
    stopped = krait.train(settings(tmp_path), out=tmp_path / "run", on_event=lambda e: e.step < 5)
    assert not stopped.finished and 5 <= stopped.step < 12

    def fail(event: krait.Event) -> None:
        if event.step == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        krait.train(settings(tmp_path), out=tmp_path / "run", on_event=fail)
    run = krait.train({**settings(tmp_path), "out": tmp_path / "run"}, resume=True)
    assert run.finished
    for name in ("model.safetensors", "config.json"):
        assert (run.last / name).read_bytes() == (whole.last / name).read_bytes()


def test_a_run_from_files(tmp_path: Path) -> None:
    config = json.loads(json.dumps(settings(tmp_path), default=str))
    (tmp_path / "c.json").write_text(json.dumps(config))
    first = krait.train(tmp_path / "c.json", out=tmp_path / "json")
    yaml = pytest.importorskip("yaml")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    second = krait.train(str(tmp_path / "c.yaml"), out=tmp_path / "yaml")
    # What the run wrote, with comments, gives the same run.
    third = krait.train(tmp_path / "yaml" / "config.yaml", out=tmp_path / "again")
    assert (first.last / "model.safetensors").read_bytes() == (second.last / "model.safetensors").read_bytes()
    assert (third.last / "model.safetensors").read_bytes() == (second.last / "model.safetensors").read_bytes()


def test_wrong_settings(tmp_path: Path) -> None:
    good = settings(tmp_path)
    for change, message in (({"trian": {"steps": 1}}, "trian.steps.*train.steps"), ({"train": {"steps": "many"}}, "train.steps"),
                            ({"train": {"steps": 0}}, "train.steps"), ({"train": {"learning_rate": math.nan}}, "train.learning_rate"),
                            ({"data": {**good["data"], "train": [object()]}}, "data.train: expected text, a number"), ({5: 1}, "5: expected a key that is a str"),
                            ({"train": {"schedule": "linear"}}, "cosine")):
        with pytest.raises((krait.ArgumentError, TypeError), match=message):
            krait.train({**good, **change}, out=tmp_path / "run")
    with pytest.raises(krait.ArgumentError, match="out: expected the folder of the run, found none"):
        krait.train(good)
    with pytest.raises(krait.FileError):
        krait.train({**good, "data": {**good["data"], "train": [tmp_path / "none"]}}, out=tmp_path / "other")
    (tmp_path / "c.json").write_text("[1, 2]")
    with pytest.raises(krait.FormatError, match="c.json: expected settings by their keys, found list"):
        krait.train(tmp_path / "c.json")
    for text, message in (("- 1\n", "expected settings by their keys, found a sequence"), ("a: [\n", "c.yaml"), ("train:\n  steps: x\n", "c.yaml:2"),
                          ("data:\n  train: [[1]]\n", "c.yaml:2: data.train: expected a list of words"), ("a: &x 1\nb: *x\n", "a")):
        (tmp_path / "c.yaml").write_text(text)
        pytest.importorskip("yaml")
        with pytest.raises((krait.FormatError, krait.ArgumentError), match=message):
            krait.train(tmp_path / "c.yaml")
    with pytest.raises(TypeError, match="config: expected a dict or the path of a file, found int"):
        krait.train(5)
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(krait.FormatError, match="c.json"):
        krait.train(tmp_path / "c.json")
    with pytest.raises(krait.FileError, match="none.json"):
        krait.train(tmp_path / "none.json")
    krait.train(good, out=tmp_path / "done")
    with pytest.raises(krait.ArgumentError, match="train.learning_rate"):
        krait.train({**good, "train": {**good["train"], "learning_rate": 1e-3}}, out=tmp_path / "done")
    with pytest.raises(TypeError, match="on_event"):
        krait.train(good, out=tmp_path / "run", on_event=5)  # type: ignore[arg-type]


def test_a_model_is_saved_with_its_tokenizer(tmp_path: Path) -> None:
    made = krait.train_tokenizer(tmp_path / "dna.json", kind="characters", alphabet="ACGTN")
    trainer = krait.Trainer({"vocab_size": made.vocab_size, "d_model": 16, "n_layer": 1})
    trainer.save_model(tmp_path / "m", tokenizer=tmp_path / "dna.json")
    model = krait.Model.load(tmp_path / "m")
    assert model.tokenizer is not None and model.tokenizer.encode("ACGT").tolist() == made.encode("ACGT").tolist()
    assert (tmp_path / "m" / "tokenizer.json").read_bytes() == (tmp_path / "dna.json").read_bytes()
    small = krait.Trainer({"vocab_size": 4, "d_model": 16, "n_layer": 1})
    for tokenizer, error, message in ((tmp_path / "dna.json", krait.ArgumentError, r"tokenizer: expected at most 4 tokens, as the model, found 7"),
                                      (tmp_path / "none.json", krait.FileError, "none.json"), (3, TypeError, "")):
        with pytest.raises(error, match=message):
            small.save_model(tmp_path / "not", tokenizer=tokenizer)
    with pytest.raises(krait.UnsupportedError, match="expected the path of a tokenizer.json"):
        trainer.save_model(tmp_path / "not", tokenizer=tmp_path / "m")
    assert not (tmp_path / "not").exists()
