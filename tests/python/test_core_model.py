"""Models: the reference's numbers through Python."""
import math
from pathlib import Path
from typing import Any

import krait
import numpy as np
import pytest
from conftest import DATA, MODELS, TEXT_SMALL, assert_close, read_safetensors


def test_logits_hidden_states_and_loss(reference: Any) -> None:
    folder, expected = reference
    with krait.Model.load(folder, threads=2) as model:
        config = model.config
        for row, ids in enumerate(expected["input_ids"]):
            state = model.state()
            logits = model.logits(ids, state)
            assert logits.dtype == np.float32
            assert_close(logits[:, : expected["logits"].shape[-1]], expected["logits"][row], 1e-4, "logits")
            assert state.tokens == len(ids)
            tensors = state.tensors()
            for layer in range(config.n_layer):
                for kind in ("conv_state", "ssm_state"):
                    assert_close(tensors[f"{kind}.{layer}"], expected[f"{kind}.{layer}"][row], 1e-4, f"{kind}.{layer}")
            hidden = model.hidden(ids)
            assert hidden.shape == (config.n_layer + 1, len(ids), config.d_model)
            for layer in range(config.n_layer + 1):
                if f"hidden.{layer}" in expected:
                    assert_close(hidden[layer], expected[f"hidden.{layer}"][row], 1e-4, f"hidden.{layer}")
            some = model.hidden(ids, layers=[config.n_layer, 0], last=True)
            assert some.shape == (2, config.d_model)
            np.testing.assert_array_equal(some[0], hidden[-1, -1])
            np.testing.assert_array_equal(some[1], hidden[0, -1])
            np.testing.assert_array_equal(some[0], tensors["last_hidden"])
        nats = -sum(score.logprob for score in model.score(list(expected["input_ids"])))
        assert_close(nats / (expected["input_ids"].size - len(expected["input_ids"])), expected["loss"][0], 1e-4, "loss")


def test_greedy_is_the_reference(reference: Any) -> None:
    folder, expected = reference
    with krait.Model.load(folder, threads=1) as model:
        for row, ids in enumerate(expected["input_ids"]):
            n = expected["greedy"].shape[1] if "greedy" in expected else 0
            if n:
                g = model.generate(ids[:8], max_tokens=n, temperature=0, ignore_eos=True)
                assert g.ids == list(expected["greedy"][row]) and g.finish == "length" and g.n_prompt == 8


def test_pieces_and_tokens_one_by_one_agree(tiny: Any) -> None:
    ids = np.arange(70) * 37 % tiny.config.vocab_size
    whole = tiny.logits(ids)
    state = tiny.state()
    parts = np.concatenate([tiny.logits(part, state) for part in (ids[:1], ids[1:40], ids[40:])])
    assert_close(parts, whole, 1e-5, "parts")
    state.reset()
    for i, id in enumerate(ids):
        one = tiny.logits([int(id)], state, last=True)
        assert one.shape == (tiny.config.vocab_size,)
        assert_close(one, whole[i], 1e-4, f"token {i}")


def test_long_input_is_cut_without_a_seam(text_model: Any) -> None:
    ids = np.tile(np.arange(1, 200), 6)  # more than two of the pieces in which it runs
    state = text_model.state()
    logits = text_model.logits(ids, state)
    again = text_model.state()
    np.testing.assert_array_equal(text_model.logits(ids, again, last=True), logits[-1])
    hidden = text_model.hidden(ids, layers=[2])
    np.testing.assert_array_equal(text_model.hidden(ids, layers=[2], last=True)[0], hidden[0, -1])
    assert state.tokens == again.tokens == ids.size
    third = text_model.state()
    text_model.run(ids, third)
    for name, values in third.tensors().items():
        np.testing.assert_array_equal(values, state.tensors()[name], name)


def test_the_text_model_is_its_reference(text_model: Any) -> None:
    expected = read_safetensors(DATA / "text-small" / "expected.safetensors")
    ids = expected["input_ids"][0]
    logits = text_model.logits(ids)
    assert_close(logits[expected["rows"]], expected["logits"][0], 1e-4, "logits")
    g = text_model.generate(expected["prompt_ids"], max_tokens=len(expected["greedy"]), temperature=0, ignore_eos=True)
    assert g.ids == list(expected["greedy"])
    assert text_model.tokenizer.decode(g.ids) == g.text == str(g)
    perplexity = text_model.perplexity(ids)
    assert_close(perplexity.nats_per_token, expected["loss"][0], 1e-4, "perplexity")
    assert perplexity.n_scored == ids.size - 1 and perplexity.bits_per_byte is None
    assert math.isclose(perplexity.perplexity, math.exp(perplexity.nats_per_token), rel_tol=1e-9)
    text = text_model.tokenizer.decode(ids)
    of_text = text_model.perplexity(text)
    assert of_text.bits_per_byte is not None and 1 < of_text.bits_per_byte < 4
    assert math.isclose(of_text.bits_per_byte, of_text.nats / math.log(2) / len(text.encode()))


def test_scores_add_up(text_model: Any) -> None:
    text = "The door was opened by an old man, who held a lamp."
    whole = text_model.score(text)
    assert whole.n_tokens == len(text_model.tokenizer.encode(text)) - 1
    assert math.isclose(-whole.logprob, text_model.perplexity(text).nats, rel_tol=1e-5)
    likely, unlikely = text_model.score([" door.", " zebra quadratic."], context="She knocked and opened the")
    assert likely.per_token > unlikely.per_token
    both = text_model.score(" knocked", context="She").logprob + text_model.score(" twice", context="She knocked").logprob
    assert math.isclose(text_model.score(" knocked twice", context="She").logprob, both, rel_tol=1e-4)
    assert text_model.score([]) == [] and text_model.score("").n_tokens == 0
    logits = text_model.logits(text).astype(np.float64)  # each token by itself, and over the borders of the parts in which it is computed
    expected = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))[np.arange(whole.n_tokens), text_model.tokenizer.encode(text)[1:]]
    assert len(whole.logprobs) == whole.n_tokens and np.allclose(whole.logprobs, expected, atol=1e-4)
    assert math.isclose(sum(whole.logprobs), whole.logprob, rel_tol=1e-9)
    long = text_model.score(text * 20)
    assert len(long.logprobs) > 256 and np.allclose(long.logprobs[: whole.n_tokens], whole.logprobs, atol=1e-4)


def test_a_config_has_the_numbers_that_were_written(tiny: Any) -> None:
    assert tiny.config.norm_eps == 1e-5


def test_weight_types_and_comparison(text_model: Any) -> None:
    ids = read_safetensors(DATA / "text-small" / "expected.safetensors")["input_ids"][0]
    bounds = {"bf16": 1e-3, "q8": 1e-3, "q6": 5e-3, "q4": 5e-2}
    for dtype, bound in bounds.items():
        with krait.Model.load(TEXT_SMALL, dtype=dtype, threads=2) as other:
            assert other.nbytes < text_model.nbytes
            result = text_model.compare(other, ids)
            assert 0 < result.kl_divergence < bound, dtype
            assert result.base.n_scored == ids.size - 1 and 0.8 < result.top1_agreement <= 1
            assert math.isclose(result.perplexity_ratio, math.exp(result.nats_difference), rel_tol=1e-9)
    itself = text_model.compare(text_model, ids[:64])
    assert itself.kl_divergence == 0 and itself.top1_agreement == 1


def test_random_models_are_of_their_seed() -> None:
    shape = {"vocab_size": 40, "d_model": 32, "n_layer": 2, "d_state": 8}
    a, b, c = (krait.Model.random(shape, seed=s, threads=1) for s in (3, 3, 4))
    ids = [1, 2, 3, 39]
    np.testing.assert_array_equal(a.logits(ids), b.logits(ids))
    assert np.abs(a.logits(ids) - c.logits(ids)).max() > 0
    assert (a.config.d_inner, a.config.d_state, a.config.dt_rank, a.config.family) == (64, 8, 2, "mamba")
    assert a.tokenizer is None and a.bos_id is None


def test_the_bundled_model_is_found() -> None:
    with krait.Model.load(threads=1) as model:
        assert model.tokenizer is not None and model.config.n_layer > 0
        assert model.generate("It was", max_tokens=3).text


def test_ids_of_every_kind(tiny: Any) -> None:
    ids = [1, 2, 3, 250]
    expected = tiny.logits(ids)
    wide = np.array([1, 9, 2, 9, 3, 9, 250, 9], np.int64)
    for given in (tuple(ids), np.array(ids, np.uint8), wide[::2], np.array(ids, np.uint64), np.array(ids[::-1], np.int16)[::-1],
                  np.array(ids, ">i4"), range(1, 4)):
        found = tiny.logits(given)
        np.testing.assert_array_equal(found, expected[: len(found)])


@pytest.mark.parametrize("name", MODELS)
def test_models_say_what_they_are(name: str) -> None:
    with krait.Model.load(DATA / "models" / name) as model:
        assert model.config.family == ("falcon_mamba" if name == "falcon" else "mamba")
        assert name != "odd" or (model.config.d_state, model.config.d_conv, model.config.dt_rank) == (7, 3, 5)
        assert f"{model.config.n_layer} layers" in repr(model)
    assert "closed" in repr(model)


def test_a_file_and_bytes_as_a_path(tmp_path: Path) -> None:
    folder = DATA / "models" / "tiny"
    for path in (str(folder), bytes(folder), folder, folder / "model.safetensors", DATA / "gguf" / "tiny-mixed.gguf"):
        with krait.Model.load(path) as model:
            assert model.config.n_layer == 3
