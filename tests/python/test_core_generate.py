"""Generation: options, streams, batches, threads."""
import math
import threading
from typing import Any, List

import krait
import numpy as np
import pytest

PROMPT = "It was a dark and stormy night, and the"


def test_seeds_and_temperatures(text_model: Any) -> None:
    a, b, c = (text_model.generate(PROMPT, max_tokens=30, seed=s) for s in (1, 1, 2))
    assert a.ids == b.ids and a.text == b.text and a.ids != c.ids
    greedy = text_model.generate(PROMPT, max_tokens=12, temperature=0)
    state, ids = text_model.state(), text_model.tokenizer.encode(PROMPT)
    drawn: List[int] = []
    for _ in range(12):
        drawn.append(int(np.argmax(text_model.logits(ids if not drawn else drawn[-1:], state, last=True)[: text_model.tokenizer.vocab_size])))
    assert greedy.ids == drawn
    assert text_model.generate(PROMPT, max_tokens=12, top_k=1, seed=9).ids == drawn
    assert text_model.generate(PROMPT, max_tokens=12, min_p=1, seed=9).ids == drawn


def test_logprobs_are_those_of_the_logits(text_model: Any) -> None:
    g = text_model.generate(PROMPT, max_tokens=6, seed=3, logprobs=True)
    ids = np.concatenate([text_model.tokenizer.encode(PROMPT), g.ids])
    rows = text_model.logits(ids).astype(np.float64)[-len(g.ids) - 1 : -1]
    expected = [row[i] - np.log(np.exp(row - row.max()).sum()) - row.max() for row, i in zip(rows, g.ids)]
    assert g.logprobs is not None
    np.testing.assert_allclose(g.logprobs, expected, atol=1e-3)
    assert text_model.generate(PROMPT, max_tokens=2).logprobs is None


def test_what_ends_a_text(text_model: Any) -> None:
    whole = text_model.generate(PROMPT, max_tokens=40, temperature=0)
    word = whole.text.split()[4]
    g = text_model.generate(PROMPT, max_tokens=40, temperature=0, stop=["never met", word])
    assert g.finish == "stop_string" and g.stop == word and g.text == whole.text[: whole.text.index(word)]
    assert text_model.generate(PROMPT, max_tokens=40, temperature=0, stop=word).text == g.text
    g = text_model.generate(PROMPT, max_tokens=40, temperature=0, stop_ids=[whole.ids[3]])
    assert g.finish == "stop_id" and g.ids == whole.ids[: whole.ids.index(whole.ids[3]) + 1]
    assert text_model.generate(PROMPT, max_tokens=7).finish == "length"
    forbidden = text_model.generate(PROMPT, max_tokens=1, temperature=0, logit_bias={whole.ids[0]: -math.inf})
    assert forbidden.ids[0] != whole.ids[0]
    forced = text_model.generate(PROMPT, max_tokens=3, logit_bias={whole.ids[0]: 1000})
    assert forced.ids == [whole.ids[0]] * 3


def test_states_go_on(text_model: Any) -> None:
    whole = text_model.generate(PROMPT, max_tokens=20, temperature=0)
    state = text_model.state()
    first = text_model.generate(PROMPT, state=state, max_tokens=8, temperature=0)
    fork = state.fork()
    second = text_model.generate("", state=state, max_tokens=12, temperature=0)
    assert first.ids + second.ids == whole.ids and second.n_prompt == 0
    assert text_model.generate("", state=fork, max_tokens=12, temperature=0).ids == second.ids
    assert state.tokens == fork.tokens == whole.n_prompt + 20


def test_streams_are_the_same_text(text_model: Any) -> None:
    whole = text_model.generate(PROMPT, max_tokens=25, seed=4, stop="zzz")
    pieces = list(text_model.stream(PROMPT, max_tokens=25, seed=4, stop="zzz"))
    assert "".join(p.text for p in pieces) == whole.text and [p.id for p in pieces if p.id >= 0] == whole.ids
    heard: List[Any] = []
    text_model.generate(PROMPT, max_tokens=25, seed=4, stop="zzz", on_piece=heard.append)
    assert heard == pieces


def test_a_stream_that_is_left_ends_there(text_model: Any) -> None:
    whole = text_model.generate(PROMPT, max_tokens=25, temperature=0)
    state = text_model.state()
    taken = []
    stream = text_model.stream(PROMPT, state=state, max_tokens=25, temperature=0)
    for piece in stream:
        taken.append(piece.id)
        with pytest.raises(krait.ArgumentError, match="State: expected one that is free, found one in use"):
            state.reset()
        if len(taken) == 5:
            break
    stream.close()
    assert taken == whole.ids[:5] and state.tokens == whole.n_prompt + 5
    assert text_model.generate("", state=state, max_tokens=20, temperature=0).ids == whole.ids[5:]
    unused = text_model.stream(PROMPT)
    del unused
    names = [t.name for t in threading.enumerate()]
    assert len(names) == len(set(names))


def test_many_streams_at_a_time(text_model: Any) -> None:
    seeds = range(6)
    expected = [text_model.generate(PROMPT, max_tokens=10, seed=s).ids for s in seeds]
    streams = [text_model.stream(PROMPT, max_tokens=10, seed=s) for s in seeds]
    found: List[List[int]] = [[] for _ in seeds]
    for _ in range(10):
        for ids, stream in zip(found, streams):
            ids.append(next(stream).id)
    for stream in streams:
        stream.close()
    assert found == expected


def test_batches_are_their_rows(text_model: Any) -> None:
    prompts = [PROMPT, "She", "The old man and the boy went down to the harbour, where " * 30, "A", "When he had", "I"]
    expected = [text_model.generate(p, max_tokens=15, seed=5) for p in prompts]
    for rows in (1, 2, 4, 128):
        done = []
        found = text_model.generate_batch(prompts, rows=rows, max_tokens=15, seed=5, on_done=lambda i, g: done.append((i, g.text)))
        for f, e in zip(found, expected):
            assert (f.ids, f.text, f.finish, f.n_prompt) == (e.ids, e.text, e.finish, e.n_prompt)
        assert sorted(done) == [(i, e.text) for i, e in enumerate(expected)]
    assert text_model.generate_batch([]) == []


def test_threads_share_a_model(text_model: Any) -> None:
    prompts = [PROMPT, "She said", "The", "In the morning", "Upon my word", "London"]
    expected = [text_model.generate(p, max_tokens=20, seed=i) for i, p in enumerate(prompts)]
    logits = [text_model.logits(p) for p in prompts]
    failures: List[str] = []

    def work(first: int) -> None:
        try:
            for i in list(range(first, len(prompts))) + list(range(first)):
                if text_model.generate(prompts[i], max_tokens=20, seed=i).ids != expected[i].ids:
                    failures.append(f"text {i}")
                if not np.array_equal(text_model.logits(prompts[i]), logits[i]):
                    failures.append(f"logits {i}")
                if "".join(p.text for p in text_model.stream(prompts[i], max_tokens=20, seed=i)) != expected[i].text:
                    failures.append(f"stream {i}")
        except BaseException as e:  # noqa: BLE001
            failures.append(repr(e))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_nested_calls(text_model: Any) -> None:
    inner = []
    expected = text_model.generate("She", max_tokens=3, seed=1).ids
    outer = text_model.generate(PROMPT, max_tokens=4, seed=1, on_piece=lambda p: inner.append(text_model.generate("She", max_tokens=3, seed=1).ids))
    assert inner == [expected] * len(inner) and len(inner) >= 4 and outer.ids == text_model.generate(PROMPT, max_tokens=4, seed=1).ids


def test_the_token_that_begins_a_text(text_model: Any) -> None:
    bos = text_model.bos_id
    assert bos is not None
    assert text_model.generate("", bos=True, max_tokens=5, temperature=0).ids == text_model.generate([bos], max_tokens=5, temperature=0).ids
    assert text_model.generate("A", bos=True, max_tokens=1).n_prompt == text_model.generate("A", max_tokens=1).n_prompt + 1
