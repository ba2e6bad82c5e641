"""Text and ids: what Hugging Face's tokenizers gives."""
import json
from pathlib import Path
from typing import Any

import krait
import numpy as np
import pytest
from conftest import DATA, TEXT_SMALL

CASES = [json.loads(line) for line in (DATA / "tokenizer" / "cases.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("name", sorted({c["tokenizer"] for c in CASES}))
def test_ids_are_those_of_the_reference(name: str) -> None:
    file = TEXT_SMALL / "tokenizer.json" if name == "text-small" else DATA / "tokenizer" / f"{name}.json"
    with krait.Tokenizer.load(file) as tokenizer:
        for case in (c for c in CASES if c["tokenizer"] == name):
            ids = tokenizer.encode(case["text"])
            assert ids.dtype == np.int32 and ids.tolist() == case["ids"], case
            if "no_special" in case:
                assert tokenizer.encode(case["text"], special=False).tolist() == case["no_special"], case


def test_round_trips(text_model: Any) -> None:
    tokenizer = text_model.tokenizer
    for text in ("", "It was", "Žluťoučký kůň — 鱼\U0001f41f\n\tend", "a" * 5000):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text and tokenizer.decode_bytes(list(ids)) == text.encode()
        assert tokenizer.encode(text.encode()).tolist() == ids.tolist()
        assert b"".join(tokenizer.token(int(i)) for i in ids) == text.encode()
        decoder = tokenizer.decoder()
        assert "".join([decoder.push(int(i)) for i in ids] + [decoder.flush()]) == text
    broken = b"ok \xff\xfe ok"
    assert tokenizer.decode_bytes(tokenizer.encode(broken)) == broken
    assert tokenizer.decode(tokenizer.encode(broken)) == "ok \ufffd\ufffd ok"
    surrogate = broken.decode("utf-8", "surrogateescape")
    assert tokenizer.encode(surrogate).tolist() == tokenizer.encode(broken).tolist()


def test_half_characters_wait(text_model: Any) -> None:
    tokenizer = text_model.tokenizer
    ids = [int(i) for i in tokenizer.encode("鱼")]
    assert len(ids) > 1
    decoder = tokenizer.decoder()
    assert [decoder.push(i) for i in ids] == [""] * (len(ids) - 1) + ["鱼"]
    assert decoder.push(ids[0]) == "" and decoder.flush() == "\ufffd" and decoder.flush() == ""


def test_special_tokens(text_model: Any) -> None:
    tokenizer = text_model.tokenizer
    end = tokenizer.id("<|endoftext|>")
    assert end is not None and tokenizer.is_special(end) and tokenizer.token(end) == b"<|endoftext|>"
    assert tokenizer.encode("a<|endoftext|>b").tolist().count(end) == 1
    assert end not in tokenizer.encode("a<|endoftext|>b", special=False)
    ids = tokenizer.encode("a<|endoftext|>b")
    assert tokenizer.decode(ids) == "ab" and tokenizer.decode(ids, special=True) == "a<|endoftext|>b"
    assert tokenizer.id("no such token anywhere") is None and not tokenizer.is_special(5)
    assert len(tokenizer) == tokenizer.vocab_size and f"{len(tokenizer)} tokens" in repr(tokenizer)


def test_one_for_several_models(text_model: Any) -> None:
    with krait.Tokenizer.load(TEXT_SMALL) as a, krait.Tokenizer.load(TEXT_SMALL / "tokenizer.json") as b:
        assert a.fingerprint == b.fingerprint == text_model.tokenizer.fingerprint
        assert krait.Tokenizer.load(DATA / "gguf" / "tokenizer.gguf").encode("the captain").tolist() == a.encode("the captain").tolist()
        with krait.Model.random({"vocab_size": 2048, "d_model": 32, "n_layer": 1}) as model:
            with pytest.raises(krait.ArgumentError, match="no tokenizer"):
                model.generate("It was")
            model.tokenizer = a
            assert model.generate("It was", max_tokens=3).text is not None
            model.tokenizer = None
            with pytest.raises(TypeError, match="tokenizer: expected a Tokenizer, found str"):
                model.tokenizer = "x"  # type: ignore[assignment]


def test_closing_one_that_a_decoder_uses() -> None:
    tokenizer = krait.Tokenizer.load(TEXT_SMALL)
    decoder = tokenizer.decoder()
    ids = tokenizer.encode("the captain")
    tokenizer.close()
    assert "".join(decoder.push(int(i)) for i in ids) + decoder.flush() == "the captain"
    with pytest.raises(krait.ArgumentError, match="closed"):
        tokenizer.encode("x")
    decoder.close()
    with pytest.raises(krait.ArgumentError, match="Decoder: expected an open one"):
        decoder.push(1)


def test_learning_one(tmp_path: Path) -> None:
    corpus = DATA / "tokenizer_train" / "corpus.txt"
    seen = []
    bpe = krait.train_tokenizer(tmp_path / "bpe.json", [corpus], vocab_size=400, progress=lambda what, done, total: seen.append(what))
    text = corpus.read_text("utf-8")[:2000]
    assert bpe.vocab_size == 400 and bpe.decode(bpe.encode(text)) == text and seen
    assert len(bpe.encode(text)) < 0.7 * len(text.encode())
    letters = krait.train_tokenizer(tmp_path / "dna.json", kind="characters", alphabet="ACGT")
    ids = letters.encode("GATTACA")
    assert letters.decode(ids) == "GATTACA" and len(ids) == 7 and len(set(ids.tolist())) == 4
    plain = krait.train_tokenizer(tmp_path / "bytes.json", kind="bytes")
    assert plain.encode("Az").tolist() == [65, 122]
    with pytest.raises(krait.ArgumentError, match="kind: expected one of bpe, bytes, characters, found 'words'"):
        krait.train_tokenizer(tmp_path / "x.json", [corpus], kind="words")
    with pytest.raises(krait.ArgumentError, match="texts: expected some"):
        krait.train_tokenizer(tmp_path / "x.json")
    with pytest.raises(krait.FileError):
        krait.train_tokenizer(tmp_path / "x.json", [tmp_path / "none.txt"])
    assert not (tmp_path / "x.json").exists()


def test_what_is_refused(text_model: Any, tmp_path: Path) -> None:
    tokenizer = text_model.tokenizer
    with pytest.raises(TypeError, match="text: expected str or bytes, found int"):
        tokenizer.encode(5)
    with pytest.raises(krait.ArgumentError, match=r"id: expected one of a token, 0 \.\. \d+, found 999999"):
        tokenizer.token(999999)
    with pytest.raises(krait.ArgumentError):
        tokenizer.decode([1, 10**9])
    with pytest.raises(TypeError, match="ids: expected whole numbers, found float64"):
        tokenizer.decode([1.5])
    with pytest.raises(krait.FileError):
        krait.Tokenizer.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"model": ')
    with pytest.raises(krait.FormatError, match="bad.json"):
        krait.Tokenizer.load(tmp_path / "bad.json")
