"""Modules, install(), and transformers on top. Needs torch; transformers for its part."""
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest
from conftest import TEXT_SMALL

torch = pytest.importorskip("torch")

import krait  # noqa: E402
from krait import torch as kt  # noqa: E402


def test_module_goes_on_from_states() -> None:
    torch.manual_seed(0)
    model = kt.MambaLMHeadModel(kt.MambaConfig(d_model=64, n_layer=2, vocab_size=100)).eval()
    ids = torch.randint(0, 100, (2, 10))
    whole = model.generate(ids, 20)
    with torch.no_grad():
        expected = model(whole).logits
        assert torch.equal(whole[:, 10:], expected[:, 9:-1].argmax(-1))
        params = kt.InferenceParams(20, 2)
        parts: List[Any] = []
        for a, b in ((0, 7), (7, 15), (15, 16), (16, 17), (17, 20)):
            parts.append(model(whole[:, a:b], inference_params=params).logits)
            params.seqlen_offset = b
    assert torch.allclose(torch.cat(parts, 1), expected, atol=1e-5)
    drawn = model.generate(ids, 15, top_k=5, top_p=0.9, generator=torch.Generator().manual_seed(1))
    assert drawn.shape == (2, 15) and torch.equal(drawn[:, :10], ids)


def test_state_dict_has_mamba_ssms_names() -> None:
    names = set(kt.MambaLMHeadModel(kt.MambaConfig(d_model=16, n_layer=1, vocab_size=10)).state_dict())
    mixer = {f"backbone.layers.0.mixer.{n}" for n in ("A_log", "D", "in_proj.weight", "conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight",
                                                      "dt_proj.bias", "out_proj.weight")}
    assert names == mixer | {"backbone.embedding.weight", "backbone.layers.0.norm.weight", "backbone.norm_f.weight", "lm_head.weight"}


def test_it_learns() -> None:
    torch.manual_seed(0)
    model = kt.MambaLMHeadModel(kt.MambaConfig(d_model=64, n_layer=2, vocab_size=100))
    ids, optimizer = torch.randint(0, 100, (2, 10)), torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_both_read_each_others_models(tmp_path: Path) -> None:
    model = kt.MambaLMHeadModel.from_pretrained(TEXT_SMALL) if importlib.util.find_spec("safetensors") else None
    if model is not None:
        ids = torch.tensor([[5, 200, 7, 9]])
        with torch.no_grad():
            assert torch.allclose(model(ids).logits[0], torch.from_numpy(krait.Model.load(TEXT_SMALL).logits(ids[0])), atol=1e-3)
    small = kt.MambaLMHeadModel(kt.MambaConfig(d_model=32, n_layer=2, vocab_size=64))
    small.save_pretrained(tmp_path / "small")
    with torch.no_grad():
        expected = small(torch.arange(20)[None]).logits[0]
    assert torch.allclose(torch.from_numpy(krait.Model.load(tmp_path / "small").logits(range(20))), expected, atol=1e-5)
    again = kt.MambaLMHeadModel.from_pretrained(tmp_path / "small")
    with torch.no_grad():
        assert torch.equal(again(torch.arange(20)[None]).logits[0], expected)


def test_install_makes_the_names_resolve() -> None:
    code = """
import krait.torch
assert krait.torch.install()
import causal_conv1d, mamba_ssm
from causal_conv1d import causal_conv1d_fn, causal_conv1d_update
from mamba_ssm import Mamba
from mamba_ssm.ops.selective_scan_interface import selective_scan_fn, mamba_inner_fn
from mamba_ssm.ops.triton.selective_state_update import selective_state_update
from mamba_ssm.ops.triton.layer_norm import RMSNorm, layer_norm_fn, rms_norm_fn
from mamba_ssm.modules.mamba_simple import Mamba as Again
from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel
assert Mamba is Again is krait.torch.Mamba and selective_scan_fn is krait.torch.selective_scan_fn
import importlib.util
assert importlib.util.find_spec("mamba_ssm") is not None
krait.torch.uninstall()
try:
    import mamba_ssm
except ImportError:
    print("gone")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path(krait.__file__).parent.parent)})
    assert result.returncode == 0 and result.stdout == "gone\n", result.stderr


FAMILIES = [("MambaConfig", "MambaForCausalLM"), ("FalconMambaConfig", "FalconMambaForCausalLM")]


@pytest.mark.parametrize("config,name", FAMILIES)
def test_transformers_give_the_same(config: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    scans = 0

    def counted(*arguments: Any) -> Any:
        nonlocal scans
        scans += 1
        return scan_forward(*arguments)

    scan_forward = kt._core.scan_forward
    monkeypatch.setattr(kt._core, "scan_forward", counted)
    torch.manual_seed(0)
    model = getattr(transformers, name)(getattr(transformers, config)(vocab_size=100, hidden_size=64, num_hidden_layers=3, state_size=8,
                                                                      intermediate_size=128, pad_token_id=99, eos_token_id=98))
    ids = torch.randint(0, 98, (2, 20))
    mask = torch.ones_like(ids)
    mask[1, :5] = 0

    def run() -> Any:
        model.eval()
        with torch.no_grad():
            logits = model(ids).logits
            text = model.generate(ids, attention_mask=mask, max_new_tokens=8, do_sample=False)
        model.train()
        model.zero_grad()
        model(ids, labels=ids).loss.backward()
        return logits, text, [p.grad.clone() for p in model.parameters()]

    before = run()
    assert scans == 0 and kt.install()
    try:
        found = run()
    finally:
        kt.uninstall()
    assert scans >= 3 * 3  # layers, and times that the whole text is read
    scans = 0
    after = run()
    assert scans == 0
    assert torch.allclose(found[0], before[0], atol=1e-5) and torch.equal(found[1], before[1])
    for a, b in zip(found[2], before[2]):
        assert (a - b).abs().max() <= 1e-4 * b.abs().max()
    assert torch.equal(after[0], before[0])


def test_transformers_imported_later_are_found() -> None:
    pytest.importorskip("transformers")
    code = """
import krait.torch
krait.torch.install()
from transformers.models.mamba import modeling_mamba as m
from transformers.models.falcon_mamba import modeling_falcon_mamba as f
assert m.mamba_inner_fn.__module__.startswith("krait") and f.causal_conv1d_fn.__module__.startswith("krait"), m.mamba_inner_fn
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(krait.__file__).parent.parent), os.environ.get("PYTHONPATH")]))}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert result.returncode == 0, result.stderr
