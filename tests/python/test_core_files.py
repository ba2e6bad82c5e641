"""Writing models in other types and formats."""
from pathlib import Path
from typing import Any, List

import krait
import numpy as np
import pytest
from conftest import DATA, MODELS, TEXT_SMALL, assert_close, read_safetensors


def test_quantised_models_are_smaller_and_alike(text_model: Any, tmp_path: Path) -> None:
    ids = read_safetensors(DATA / "text-small" / "expected.safetensors")["input_ids"][0]
    sizes = [float(text_model.nbytes)]
    for dtype, bound in (("bf16", 1e-3), ("q8", 1e-3), ("q4", 0.05)):
        for out in (tmp_path / dtype, tmp_path / f"{dtype}.gguf"):
            steps = []
            saved = krait.quantize(TEXT_SMALL, out, dtype, progress=lambda what, done, total: steps.append((done, total)))
            assert steps and all(done <= total for done, total in steps)
            named = {t.source_name: t for t in saved}
            assert any(t.name.endswith("ssm_in.weight" if out.suffix else "in_proj.weight") for t in saved)
            in_proj = next(t for name, t in named.items() if "layers.3.mixer.in_proj" in name)
            assert in_proj.source_type in ("F32", "BF16") and in_proj.elements == 1024 * 256 and in_proj.bytes < 2.1 * in_proj.elements
            assert 0 <= in_proj.error < 0.12
            a_log = next(t for name, t in named.items() if "layers.3.mixer.A_log" in name)
            assert a_log.type == "F32"
            with krait.Model.load(out, threads=2) as model:
                assert text_model.compare(model, ids).kl_divergence < bound
                assert model.tokenizer is not None and model.tokenizer.fingerprint == text_model.tokenizer.fingerprint
        sizes.append(sum(f.stat().st_size for f in (tmp_path / dtype).iterdir()))
    assert sizes[1] > sizes[2] > sizes[3]


def test_choices_of_one_s_own(tmp_path: Path) -> None:
    saved = krait.quantize(TEXT_SMALL, tmp_path / "q", "q4", keep={"*layers.0.*out_proj*": "bf16", "*embeddings*": "q8"})
    types = {t.name: (t.type, t.reason) for t in saved}
    assert types["backbone.layers.0.mixer.out_proj.weight"][0] == "BF16" and types["backbone.embeddings.weight"][0] == "q8"
    assert types["backbone.layers.1.mixer.out_proj.weight"][0] == "q4"
    assert any(reason for _, reason in types.values())
    with pytest.raises(krait.ArgumentError, match="nothing"):
        krait.quantize(TEXT_SMALL, tmp_path / "q2", "q4", keep={"*nothing*": "q8"})
    with pytest.raises(krait.ArgumentError, match=r"keep\['x'\]: expected one of auto, f32"):
        krait.quantize(TEXT_SMALL, tmp_path / "q2", "q4", keep={"x": "q5"})
    with pytest.raises(krait.ArgumentError, match="is q4 already"):
        krait.quantize(tmp_path / "q", tmp_path / "q3", "q8")
    krait.quantize(tmp_path / "q", tmp_path / "q3", "q8", requantize=True)
    with pytest.raises(krait.Error):  # not empty
        krait.quantize(TEXT_SMALL, tmp_path / "q3", "q4")


def test_calibrated_is_better(text_model: Any, tmp_path: Path) -> None:
    text = (DATA / "tokenizer_train" / "corpus.txt").read_text("utf-8")
    ids = text_model.tokenizer.encode(text)
    half = len(ids) // 2
    krait.quantize(TEXT_SMALL, tmp_path / "plain", "q4")
    krait.quantize(TEXT_SMALL, tmp_path / "calibrated", "q4", calibrate=ids[:half])
    with krait.Model.load(tmp_path / "plain") as plain, krait.Model.load(tmp_path / "calibrated") as calibrated:
        held_out = ids[half : half + 2000]
        assert text_model.compare(calibrated, held_out).kl_divergence < text_model.compare(plain, held_out).kl_divergence
    seen: List[str] = []
    krait.quantize(TEXT_SMALL, tmp_path / "tuned", "q4", calibrate=ids[:half], tune=2, progress=lambda what, done, total: seen.append(what))
    assert "tuning" in seen
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("calibrated", "tuned")]
    assert len(weights[0]) == len(weights[1]) and weights[0] != weights[1]
    with pytest.raises(krait.ArgumentError, match="tune_steps: expected ids"):
        krait.quantize(TEXT_SMALL, tmp_path / "x", "q4", tune=2)
    with pytest.raises(krait.ArgumentError, match="tune: expected"):
        krait.quantize(TEXT_SMALL, tmp_path / "x", "q4", calibrate=ids[:half], tune=-1)
    with pytest.raises(krait.ArgumentError, match="calibration: expected at least"):
        krait.quantize(TEXT_SMALL, tmp_path / "x", "q4", calibrate="too short")
    with pytest.raises(krait.ArgumentError, match="calibrate: expected some text, found none"):
        krait.quantize(TEXT_SMALL, tmp_path / "x", "q4", calibrate="")
    with pytest.raises(krait.ArgumentError, match="calibrate: expected token ids"):
        krait.quantize(DATA / "models" / "tiny", tmp_path / "x", "q4", calibrate="text")
    assert not (tmp_path / "x").exists() or not list((tmp_path / "x").glob("*.safetensors"))


@pytest.mark.parametrize("name", [m for m in MODELS if m != "odd"])
def test_to_gguf_and_back(name: str, tmp_path: Path) -> None:
    folder = DATA / "models" / name
    expected = read_safetensors(folder / "expected.safetensors")
    if name in ("falcon", "wide", "tiny"):
        krait.convert(folder, tmp_path / "m.gguf")
        krait.convert(tmp_path / "m.gguf", tmp_path / "back")
    else:
        krait.convert(folder, tmp_path / "back")
    with krait.Model.load(tmp_path / "back") as model:
        for row, ids in enumerate(expected["input_ids"]):
            assert_close(model.logits(ids)[:, : expected["logits"].shape[-1]], expected["logits"][row], 1e-4, name)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(krait.ArgumentError, match="dtype: expected one of .*q4.*, found 'int8'"):
        krait.quantize(TEXT_SMALL, tmp_path / "x", "int8")
    with pytest.raises(krait.FileError, match="none"):
        krait.quantize(tmp_path / "none", tmp_path / "x", "q8")
    with pytest.raises(TypeError, match="path: expected str, bytes or os.PathLike, found int"):
        krait.quantize(TEXT_SMALL, 5, "q8")
    with pytest.raises(krait.ArgumentError, match="threads: expected 0 .. 1024, found -1"):
        krait.quantize(TEXT_SMALL, tmp_path / "x", "q8", threads=-1)
    with pytest.raises(krait.ArgumentError, match=r"calibrate\[1\]: expected an id"):
        krait.quantize(TEXT_SMALL, tmp_path / "x", "q8", calibrate=np.array([1, -5]))
    assert not list(tmp_path.iterdir())


def test_models_by_name(tmp_path: Path, monkeypatch: Any) -> None:
    """From a cache as Hugging Face's library lays it out; nothing is asked over the network."""
    snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    for file in (DATA / "models" / "tiny").iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    refs = tmp_path / "hub" / "models--someone--tiny" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for key in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(key, raising=False)
    assert Path(krait.pull("someone/tiny", download=False)) == snapshot
    with krait.Model.load("someone/tiny") as model:
        assert model.config.n_layer == 3
    with pytest.raises(krait.FileError, match="someone/other: not in the cache"):
        krait.Model.load("someone/other", download=False)
    with pytest.raises(krait.Error):
        krait.pull("someone/other")
    with pytest.raises(krait.FileError, match="no/such/folder"):
        krait.Model.load("no/such/folder")
