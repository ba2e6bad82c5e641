"""Generation: options, what comes of it, and the stream of pieces."""
import contextlib
import ctypes
import queue
import sys
import threading
from ctypes import POINTER, byref, c_void_p
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Sequence

import numpy as np

from . import _abi, errors
from ._arrays import address, real, token_ids, truth, whole
from ._callbacks import Callbacks
from ._library import call, lib
from .tokenizer import strings

if TYPE_CHECKING:
    from .model import Model, Session
    from .state import State


@dataclass(frozen=True)
class Piece:
    """What one token adds. id: the token, -1 at the end for text that was held back. text: whole characters, possibly none. logprob:
    natural logarithm of the token's probability before any sampler, if it was asked for."""

    id: int
    text: str
    logprob: float


@dataclass
class Generation:
    """What was generated; str() of it is the text.

    text: without the prompt and without a stop string. ids: tokens drawn, with the one that ended it. logprobs: of each, if asked for. finish:
    "length", "eos", "stop_id", "stop_string" or "callback". stop: the stop string that ended it."""

    text: str = ""
    ids: List[int] = field(default_factory=list)
    logprobs: Optional[List[float]] = None
    finish: str = ""
    stop: Optional[str] = None
    n_prompt: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0

    def __str__(self) -> str:
        return self.text


class Options:
    """A krait_generate_options and all that it points to."""

    NAMES = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
             "penalty_window", "seed", "logit_bias", "stop", "stop_ids", "ignore_eos", "special", "logprobs", "on_piece")

    def __init__(self, callbacks: Callbacks, generation: Generation, values: Dict[str, Any], default_tokens: int = 128) -> None:
        unknown = set(values) - set(self.NAMES)
        if unknown:
            raise TypeError(f"unexpected {', '.join(sorted(unknown))}: expected some of {', '.join(self.NAMES)}")
        self.generation = generation
        self.c = o = _abi.krait_generate_options()
        s = o.sampling
        s.temperature = real(values.get("temperature", 0.8), "temperature")
        for name in ("top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"):
            setattr(s, name, real(values.get(name, 0), name))
        s.top_k = whole(values.get("top_k", 0), "top_k", 0, 2**31 - 1)
        s.penalty_window = whole(values.get("penalty_window", 0), "penalty_window", 0)
        s.seed = whole(values.get("seed", 0), "seed", 0, 2**64 - 1)
        biases = dict(values.get("logit_bias") or {})
        self._biases = (_abi.krait_logit_bias * len(biases))(
            *[_abi.krait_logit_bias(whole(i, "logit_bias", 0, 2**31 - 1), real(b, f"logit_bias[{i}]")) for i, b in biases.items()])
        s.logit_bias, s.n_logit_bias = ctypes.cast(self._biases, POINTER(_abi.krait_logit_bias)), len(biases)
        limit = values.get("max_tokens", default_tokens)
        o.max_tokens = 0 if limit is None else whole(limit, "max_tokens", 1)
        stop = values.get("stop")
        self.stop: List[Any] = [stop] if isinstance(stop, (str, bytes)) else list(stop or [])
        self._stop = strings(self.stop, "stop")
        o.stop, o.n_stop = ctypes.cast(self._stop, c_void_p), len(self.stop)
        self._stop_ids = token_ids(values["stop_ids"] if values.get("stop_ids") is not None else [], "stop_ids")
        o.stop_ids, o.n_stop_ids = (address(self._stop_ids), self._stop_ids.size) if self._stop_ids.size else (None, 0)
        o.ignore_eos, o.keep_special, o.logprobs = (truth(values.get(name, False), name) for name in ("ignore_eos", "special", "logprobs"))
        on_piece: Optional[Callable[[Piece], Any]] = values.get("on_piece")
        if on_piece is not None and not callable(on_piece):
            raise TypeError(f"on_piece: expected a function, found {type(on_piece).__name__}")
        if o.logprobs:
            generation.logprobs = []
        self._texts: List[bytes] = []
        o.on_piece = callbacks.wrap(_abi.krait_generate_options_on_piece, self._hearing(on_piece))

    def _hearing(self, on_piece: Optional[Callable[[Piece], Any]]) -> Callable[[Any, Any], bool]:
        """The library's on_piece. It costs what every token costs in Python, so it does little."""
        ids, logprobs, texts, string_at = self.generation.ids, self.generation.logprobs, self._texts, ctypes.string_at

        def hear(_user: Any, pointer: Any) -> bool:
            piece = pointer.contents
            id, length = piece.id, piece.text_length
            if id >= 0:
                ids.append(id)
                if logprobs is not None:
                    logprobs.append(piece.logprob)
            text = string_at(piece.text, length) if length else b""
            texts.append(text)
            return on_piece is None or on_piece(Piece(id, text.decode("utf-8"), piece.logprob)) is not False

        return hear

    def end(self, result: _abi.krait_generate_result) -> Generation:
        g = self.generation
        g.text = b"".join(self._texts).decode("utf-8")
        g.finish = (lib.krait_finish_name(result.finish) or b"").decode()
        if result.finish == _abi.KRAIT_FINISH_STOP_STRING:
            g.stop = self.stop[result.stop_index]
        g.n_prompt = int(result.n_prompt)
        g.prefill_seconds, g.decode_seconds = float(result.prefill_seconds), float(result.decode_seconds)
        return g


@contextlib.contextmanager
def _tokenizer(model: "Model") -> Iterator[Optional[int]]:
    """The pointer of its tokenizer, if it has one, which stays as long as it is used."""
    tokenizer = model.tokenizer
    if tokenizer is None:
        yield None
    else:
        with tokenizer._in_use() as pointer:
            yield pointer


def generate(model: "Model", session: "Session", state: Optional["State"], prompt: Any, values: Dict[str, Any]) -> Generation:
    result = _abi.krait_generate_result()
    options = Options(session.callbacks, Generation(), values)
    changed = model.state()._in_use() if state is None else state._changing()
    with _tokenizer(model) as tokenizer, changed as pointer:
        session.callbacks.run(lib.krait_generate, session._pointer, pointer, tokenizer, address(prompt) if prompt.size else None,
                              prompt.size, byref(options.c), byref(result))
    return options.end(result)


def stream(model: "Model", state: Optional["State"], prompt: Any, values: Dict[str, Any]) -> Iterator[Piece]:
    """Piece by piece: the library works in a thread of its own, and never further than the piece that was asked for."""
    if values.get("on_piece") is not None:
        raise errors.ArgumentError("on_piece: expected none with stream, whose pieces come one by one")
    Options(Callbacks(), Generation(), values)  # what is wrong is said now, not at the first piece
    return _pieces(model, state, prompt, values)


def _pieces(model: "Model", state: Optional["State"], prompt: Any, values: Dict[str, Any]) -> Iterator[Piece]:
    pieces: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
    callbacks = Callbacks()
    wanted = threading.Semaphore(0)
    stopping = threading.Event()

    def hear(piece: Piece) -> bool:
        pieces.put(piece)
        wanted.acquire()
        return not stopping.is_set()

    def work() -> None:
        try:
            with model._session(callbacks) as session:
                generate(model, session, state, prompt, {**values, "on_piece": hear})
            pieces.put(None)
        except BaseException as e:  # noqa: BLE001 - raised again where the pieces are taken
            pieces.put(e)

    thread, begun = threading.Thread(target=work, daemon=True), False
    thread.start()
    try:
        while True:
            item = pieces.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            begun = True
            yield item
            wanted.release()
    finally:
        stopping.set()
        wanted.release()
        if not begun:
            callbacks.stop()
        if not sys.is_finalizing():  # when Python ends, the thread is stopped where it is, and would never come
            thread.join()


def generate_batch(model: "Model", session: "Session", prompts: Sequence[Any], rows: int, values: Dict[str, Any],
                   done: Optional[Callable[[int, Generation], Any]]) -> List[Generation]:
    """Many side by side; a row that has ended takes the next prompt."""
    results: List[Generation] = [Generation() for _ in prompts]
    with _tokenizer(model) as tokenizer, _batch(session, rows) as batch:
        work = _Work(session.callbacks, tokenizer, results, values, done)
        following = 0
        while not work.stopped:
            while following < len(prompts) and lib.krait_batch_free_rows(batch):
                call(lib.krait_batch_add, batch, byref(work.request(following, prompts[following])))
                following += 1
            if following == len(prompts) and lib.krait_batch_free_rows(batch) == rows:
                break
            session.callbacks.run(lib.krait_batch_step, batch)
    if work.failure is not None:
        raise work.failure
    return results


@contextlib.contextmanager
def _batch(session: "Session", rows: int) -> Iterator[c_void_p]:
    handle = c_void_p()
    call(lib.krait_batch_create, byref(handle), session._pointer, rows)
    try:
        yield handle
    finally:
        lib.krait_batch_free(handle)


class _Work:
    """What the rows of a batch are at."""

    def __init__(self, callbacks: Callbacks, tokenizer: Optional[int], results: List[Generation], values: Dict[str, Any],
                 done: Optional[Callable[[int, Generation], Any]]) -> None:
        self._callbacks, self._tokenizer, self._results, self._values, self._done = callbacks, tokenizer, results, values, done
        self._kept: List[Any] = []
        self.stopped = False
        self.failure: Optional[errors.Error] = None  # of the first row that failed

    def request(self, index: int, prompt: Any) -> _abi.krait_batch_request:
        options = Options(self._callbacks, self._results[index], self._values)

        def end(_user: Any, result: Any, error: Any) -> None:
            if error:
                failed = errors.of_status(error.contents.status, error.contents.message.decode(errors="replace"))
                self.failure = self.failure or failed
                return
            options.end(result.contents)
            if self._done is not None and self._done(index, self._results[index]) is False:
                self.stopped = True

        request = _abi.krait_batch_request(
            tokenizer=self._tokenizer, prompt=address(prompt), n_prompt=prompt.size, options=ctypes.pointer(options.c),
            on_end=self._callbacks.wrap(_abi.krait_batch_request_on_end, end, None))
        self._kept.append((options, request))
        return request


def as_prompt(model: "Model", prompt: Any, bos: bool, name: str = "prompt") -> "np.ndarray[Any, np.dtype[np.int32]]":
    """Text or ids as ids."""
    if isinstance(prompt, (str, bytes, bytearray)):
        ids = model._need_tokenizer().encode(prompt) if prompt else np.zeros(0, np.int32)
    else:
        ids = token_ids(prompt, name, model.config.vocab_size)
    if truth(bos, "bos"):
        first = model.bos_id
        if first is None:
            raise errors.ArgumentError("bos: the model has no token that begins a text")
        ids = np.concatenate([np.array([first], np.int32), ids])
    return ids
