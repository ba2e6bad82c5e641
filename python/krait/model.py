"""Models: loading, running, generating, measuring."""
import contextlib
import ctypes
import math
import os
import threading
from ctypes import byref, c_int64, c_void_p
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from . import _abi, errors
from . import generate as _generate
from ._arrays import Float32, address, c_string, real, truth, utf8, whole
from ._callbacks import Callbacks, Standing
from ._handle import Handle
from ._library import _HERE, call, lib, path_bytes
from .generate import Generation, Piece, as_prompt
from .state import State
from .tokenizer import Tokenizer

DTYPES = ("auto", "f32", "f16", "bf16", "q8", "q4", "q6")
_CHUNK = 512  # tokens that the library runs at a time


def dtype_of(name: Any, argument: str = "dtype") -> int:
    if name not in DTYPES:
        raise errors.ArgumentError(f"{argument}: expected one of {', '.join(DTYPES)}, found {name!r}")
    return DTYPES.index(name)


@dataclass(frozen=True)
class Config:
    """Dimensions under the names of the paper. vocab_size: rows of the embedding, padding included."""

    family: str
    vocab_size: int
    d_model: int
    n_layer: int
    d_inner: int
    d_state: int
    d_conv: int
    dt_rank: int
    proj_bias: bool
    conv_bias: bool
    tied_head: bool
    norm_eps: float
    bos_id: Optional[int]
    eos_id: Optional[int]
    parameters: int

    @classmethod
    def _of(cls, c: _abi.krait_config) -> "Config":
        same = {name: getattr(c, name) for name in ("vocab_size", "d_model", "n_layer", "d_inner", "d_state", "d_conv", "dt_rank",
                                                    "proj_bias", "conv_bias", "tied_head")}
        same["norm_eps"] = float(str(np.float32(c.norm_eps)))  # 1e-05, not 9.999999747378752e-06
        return cls(family=lib.krait_family_name(c.family).decode(), bos_id=c.bos_id if c.bos_id >= 0 else None,
                   eos_id=c.eos_id if c.eos_id >= 0 else None, parameters=int(lib.krait_config_parameters(byref(c))), **same)


@dataclass(frozen=True)
class Perplexity:
    """How well a text was foreseen. standard_error: of nats_per_token, from the spread over tokens. bits_per_byte: of a text, else None."""

    n_scored: int
    nats: float
    nats_per_token: float
    standard_error: float
    perplexity: float
    bits_per_byte: Optional[float] = None


@dataclass(frozen=True)
class Comparison:
    """How far another model's predictions are from a base's: KL(base || other) in nats per token, the share of tokens at which both
    have the same most probable one, and other's perplexity over base's, with standard errors."""

    base: Perplexity
    other: Perplexity
    kl_divergence: float
    kl_standard_error: float
    kl_p99: float
    kl_max: float
    top1_agreement: float
    top1_standard_error: float
    nats_difference: float
    nats_difference_standard_error: float
    perplexity_ratio: float
    perplexity_ratio_standard_error: float


@dataclass(frozen=True)
class Score:
    """Log-likelihood of a text, in nats, and the number of tokens that were scored. logprobs: of each of them, in order."""

    logprob: float
    n_tokens: int
    logprobs: Tuple[float, ...] = ()

    @property
    def per_token(self) -> float:
        return self.logprob / self.n_tokens if self.n_tokens else 0.0


def bundled_model() -> Path:
    """The folder of the model that comes with krait."""
    candidates = [_HERE / "models" / "default", _HERE.parent.parent / "models" / "default"]
    for path in candidates:
        if (path / "config.json").exists():
            return path
    raise errors.FileError(f"the bundled model: expected it in {candidates[0]}, found nothing")


def locate(name: Any, download: bool = True, progress: Any = None) -> str:
    """The path of a model: a folder or file as it is, or OWNER/NAME[@REVISION] from the Hugging Face cache, downloaded if need be."""
    if name is None:
        return str(bundled_model())
    path = os.fsdecode(path_bytes(name))
    if os.path.exists(path) or not lib.krait_hub_is_name(path_bytes(path)):
        return path
    return pull(path, download=download, progress=progress)


def pull(name: str, *, download: bool = True, progress: Optional[Callable[[str, int, int], Any]] = None) -> str:
    """The path of OWNER/NAME[@REVISION] in the Hugging Face cache; what is missing is downloaded (with download=False: an error)."""
    download, found = truth(download, "download"), c_void_p()
    call(lib.krait_hub_find, byref(found), c_string(name, "name"), None)
    if not found.value:
        if not download:
            raise errors.FileError(f"{name}: not in the cache, and download=False")
        callbacks = Callbacks()
        options = _abi.krait_hub_options(progress=callbacks.progress(progress))
        callbacks.run(lib.krait_hub_pull, byref(found), c_string(name, "name"), byref(options))
    try:
        return os.fsdecode(ctypes.string_at(found.value or 0))
    finally:
        lib.krait_free(found)


class Session(Handle):
    """Scratch memory and threads for one call at a time; `callbacks` are that call's."""

    _free = "krait_session_free"

    def __init__(self, model: int, threads: int) -> None:
        super().__init__()
        self.threads, self._standing = threads, Standing()
        self.callbacks = self._standing.begin()
        handle, options = c_void_p(), _abi.krait_session_options(threads=threads, progress=self._standing.progress)
        call(lib.krait_session_create, byref(handle), model, byref(options))
        self._adopt(handle)

    def begin(self, callbacks: Optional[Callbacks]) -> None:
        self.callbacks = self._standing.begin(callbacks)


class Model(Handle):
    """Config and weights. Immutable after load: any number of threads may use one at a time, each call with a session of its own.

    Processes: GNU's OpenMP does not survive fork(). A child whose parent has computed with several threads waits forever unless it computes
    with threads=1; multiprocessing's "spawn" and "forkserver" have no such limit."""

    _free = "krait_model_free"

    def __init__(self) -> None:
        super().__init__()
        self.threads = 0
        self._sessions: List[Session] = []  # not in use
        self._config: Optional[Config] = None
        self._lock = threading.Lock()
        self._tokenizer: Optional[Tokenizer] = None
        self._looked = False

    # ---- making one ------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: Any = None, *, dtype: str = "auto", threads: int = 0, download: bool = True,
             progress: Optional[Callable[[str, int, int], Any]] = None) -> "Model":
        """Loads a folder, a weights file, or OWNER/NAME of the Hugging Face hub; None: the model that comes with krait.

        dtype: what matrices are held and multiplied in: "auto" (as stored where that is quantised, else float32), "f32", "f16", "bf16", "q8",
        "q4", "q6". threads: of later calls; 0: as many as the process may use. download: whether the hub may be asked. progress(what, done,
        total): returning False stops. FileError, FormatError, UnsupportedError."""
        self, handle = cls(), c_void_p()
        self.threads = whole(threads, "threads", 0, 1024)
        callbacks = Callbacks()
        options = _abi.krait_load_options(threads=self.threads, type=dtype_of(dtype), progress=callbacks.progress(progress))
        try:
            callbacks.run(lib.krait_model_load, byref(handle), path_bytes(locate(path, download, progress)), byref(options))
        finally:
            self._adopt(handle)
        return self

    @classmethod
    def random(cls, shape: Union[str, Dict[str, Any]], *, seed: int = 0, dtype: str = "f32", threads: int = 0) -> "Model":
        """Random weights of a published shape ("130m", "370m", "790m", "1.4b", "2.8b") or of dimensions, for measuring."""
        self, handle = cls(), c_void_p()
        self.threads = whole(threads, "threads", 0, 1024)
        config = config_of(shape)
        options = _abi.krait_load_options(threads=self.threads, type=dtype_of(dtype))
        call(lib.krait_model_random, byref(handle), byref(config), whole(seed, "seed", 0, 2**64 - 1), byref(options))
        self._adopt(handle)
        return self

    def close(self) -> None:
        """Frees it; twice is fine. Calls that are using it in other threads come to their end first."""
        sessions, self._sessions = getattr(self, "_sessions", []), []
        for session in sessions:
            session.close()
        super().close()

    # ---- what it is ------------------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        if self._config is None:
            with self._in_use() as pointer:
                self._config = Config._of(lib.krait_model_config(pointer).contents)
        return self._config

    @property
    def tokenizer(self) -> Optional[Tokenizer]:
        """The checkpoint's own; None if it has none. May be set."""
        if not self._looked:
            with self._lock:
                if not self._looked:
                    with self._in_use() as pointer:
                        checkpoint = lib.krait_model_checkpoint(pointer)
                        if checkpoint and lib.krait_checkpoint_has_tokenizer(checkpoint):
                            self._tokenizer = Tokenizer._of_checkpoint(checkpoint)
                    self._looked = True
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, value: Optional[Tokenizer]) -> None:
        if value is not None and not isinstance(value, Tokenizer):
            raise TypeError(f"tokenizer: expected a Tokenizer, found {type(value).__name__}")
        self._tokenizer, self._looked = value, True

    def _need_tokenizer(self) -> Tokenizer:
        tokenizer = self.tokenizer
        if tokenizer is None:
            raise errors.ArgumentError("the model has no tokenizer: expected token ids, or model.tokenizer to be set")
        return tokenizer

    @property
    def bos_id(self) -> Optional[int]:
        """The token that begins a text: the config's, else <|endoftext|> of the tokenizer."""
        own = self.config.bos_id
        if own is not None or self.tokenizer is None:
            return own
        return self.tokenizer.id("<|endoftext|>")

    @property
    def nbytes(self) -> int:
        """Bytes of weights."""
        with self._in_use() as pointer:
            return int(lib.krait_model_bytes(pointer))

    def state(self) -> State:
        """A new one, before the first token."""
        return State(self)

    @contextlib.contextmanager
    def _session(self, callbacks: Optional[Callbacks] = None) -> Iterator[Session]:
        """A session that nobody else has. callbacks: of the call that it is for, if there are any already."""
        threads = self.threads
        with self._in_use() as pointer:
            with self._lock:
                found = next((s for s in self._sessions if s.threads == threads), None)
                if found is not None:
                    self._sessions.remove(found)
            session = Session(pointer, threads) if found is None else found
            session.begin(callbacks)
            try:
                yield session
            finally:
                with self._lock:
                    if self._handle:
                        self._sessions.append(session)

    # ---- generation ------------------------------------------------------------------------------------------------

    def generate(self, prompt: Any = "", *, state: Optional[State] = None, bos: bool = False, **options: Any) -> Generation:
        """Continues a text, or token ids [n].

        state: what it goes on from; afterwards it has seen the prompt and every token drawn, so that a next call goes on there; after an
        exception, Ctrl-C too, it is as it was. bos: puts the
        token in front that begins a text. options, as in C's krait_sampling and krait_generate_options: max_tokens=128 (None: no
        limit), temperature=0.8 (0: greedy), top_k, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty, penalty_window, seed=0,
        logit_bias={id: bias}, stop="..." or a list, stop_ids, ignore_eos, special (show special tokens), logprobs, and on_piece(piece), which
        is told of each token and stops by returning False. ArgumentError names what is wrong."""
        ids = as_prompt(self, prompt, bos)
        with self._session() as session:
            return _generate.generate(self, session, None if state is None else self._own(state), ids, options)

    def stream(self, prompt: Any = "", *, state: Optional[State] = None, bos: bool = False, **options: Any) -> Iterator[Piece]:
        """The same piece by piece: for piece in model.stream("It was"): print(piece.text, end=""). Nothing is computed ahead of what is
        taken; leaving the loop ends the text there."""
        return _generate.stream(self, None if state is None else self._own(state), as_prompt(self, prompt, bos), options)

    def generate_batch(self, prompts: Sequence[Any], *, rows: int = 16, bos: bool = False,
                       on_done: Optional[Callable[[int, Generation], Any]] = None, **options: Any) -> List[Generation]:
        """Many texts at a time, at most `rows`, each as generate() would give it, in the order of the prompts. A row that has ended takes
        the next prompt. on_done(index, generation) hears of each at its end; returning False stops: what has not ended then has no text."""
        if isinstance(prompts, (str, bytes)):
            raise TypeError("prompts: expected a list of texts, found one text")
        ids = [as_prompt(self, p, bos, f"prompts[{i}]") for i, p in enumerate(prompts)]
        for i, one in enumerate(ids):
            if not one.size:
                raise errors.ArgumentError(f"prompts[{i}]: expected at least one token, found none")
        if not ids:
            return []
        rows = min(whole(rows, "rows", 1, 128), len(ids))
        with self._session() as session:
            return _generate.generate_batch(self, session, ids, rows, options, on_done)

    # ---- running ---------------------------------------------------------------------------------------------------

    def _own(self, state: Any) -> State:
        if not isinstance(state, State):
            raise TypeError(f"state: expected a State, found {type(state).__name__}")
        return state

    def _run(self, ids: Any, state: Optional[State], logits: Optional[Float32], hidden: Optional[Float32],
             layers: Sequence[int], last: bool) -> None:
        n, width = ids.size, self.config.d_model
        changed = self.state()._in_use() if state is None else self._own(state)._changing()
        with self._session() as session, changed as state_pointer:
            for at in range(0, n, _CHUNK):
                count = min(n - at, _CHUNK)
                want = _abi.KRAIT_WANT_ALL if not last else _abi.KRAIT_WANT_LAST if at + count == n else _abi.KRAIT_WANT_NONE
                sequence = _abi.krait_sequence(state=state_pointer, tokens=address(ids[at:]), count=count, want=want)
                part: Optional[Float32] = None
                outputs = _abi.krait_outputs()
                if logits is not None:
                    outputs.logits = address(logits if last else logits[at:])
                if hidden is not None:
                    listed = (c_int64 * len(layers))(*layers)
                    part = np.empty((len(layers), 1 if last else count, width), np.float32)
                    outputs.hidden, outputs.layers, outputs.n_layers = address(part), ctypes.addressof(listed), len(layers)
                session.callbacks.run(lib.krait_run, session._pointer, byref(sequence), 1, byref(outputs))
                if hidden is not None and part is not None and want != _abi.KRAIT_WANT_NONE:
                    hidden[:, (0 if last else at) : (1 if last else at + count)] = part

    def run(self, ids: Any, state: State) -> None:
        """Lets `state` see token ids [n] or a text, and computes nothing else."""
        self._run(as_prompt(self, ids, False, "ids"), self._own(state), None, None, (), True)

    def logits(self, ids: Any, state: Optional[State] = None, *, last: bool = False) -> Float32:
        """Logits [n, vocab_size], float32, behind each of the token ids [n] (or of a text); last: behind the last alone [vocab_size].
        state: what they go on from, and what has seen them afterwards."""
        ids = as_prompt(self, ids, False, "ids")
        if not ids.size:
            raise errors.ArgumentError("ids: expected at least one token, found none")
        last = truth(last, "last")
        out = np.empty((1 if last else ids.size, self.config.vocab_size), np.float32)
        self._run(ids, state, out, None, (), last)
        return out[0] if last else out

    def hidden(self, ids: Any, state: Optional[State] = None, *, layers: Optional[Sequence[int]] = None,
               last: bool = False) -> Float32:
        """The residual stream [len(layers), n, d_model], float32, at `layers` (0 is the embedding, i the output of layer i; None: all),
        behind each of the ids [n] or, with last, the last one [len(layers), d_model]."""
        ids = as_prompt(self, ids, False, "ids")
        if not ids.size:
            raise errors.ArgumentError("ids: expected at least one token, found none")
        n_layer, last = self.config.n_layer, truth(last, "last")
        chosen = [whole(i, "layers", 0, n_layer) for i in (range(n_layer + 1) if layers is None else layers)]
        if not chosen:
            raise errors.ArgumentError("layers: expected at least one, found none")
        out = np.empty((len(chosen), 1 if last else ids.size, self.config.d_model), np.float32)
        self._run(ids, state, None, out, chosen, last)
        return out[:, 0] if last else out

    def score(self, texts: Any, *, context: Any = "", bos: bool = False) -> Any:
        """Log-likelihood of texts (or of lists of ids) behind `context`: a Score each, or one for one text. Without a context and without
        bos, the first token of a text cannot be foreseen and is not scored."""
        if isinstance(texts, (str, bytes)):
            return self.score([texts], context=context, bos=bos)[0]
        before = as_prompt(self, context, bos, "context")
        base = self.state()
        first = self.logits(before, base, last=True) if before.size else None
        results = []
        for i, text in enumerate(texts):
            ids = as_prompt(self, text, False, f"texts[{i}]")
            state, total = base.clone(), 0.0
            logprobs: List[float] = []
            previous = first
            for at in range(0, ids.size, 128):
                part = ids[at : at + 128]
                rows = self.logits(part, state)
                above = rows[:-1] if previous is None else np.concatenate([previous[None], rows[:-1]])
                targets = part[1:] if previous is None else part
                previous = rows[-1]
                if not targets.size:
                    continue
                wide = above.astype(np.float64)
                top = wide.max(axis=1)
                found = wide[np.arange(targets.size), targets] - top - np.log(np.exp(wide - top[:, None]).sum(axis=1))
                total += float(found.sum())
                logprobs += found.tolist()
            results.append(Score(total, len(logprobs), tuple(logprobs)))
        return results

    def perplexity(self, text: Any, *, window: int = 0, bos: bool = False,
                   progress: Optional[Callable[[str, int, int], Any]] = None) -> Perplexity:
        """How well it foresees a text or token ids, at least 2. window: 0 reads one stream; else windows of so many tokens, each from a new
        state."""
        ids, callbacks, result = as_prompt(self, text, bos, "text"), Callbacks(), _abi.krait_perplexity_result()
        options = _abi.krait_perplexity_options(window=whole(window, "window", 0), progress=callbacks.progress(progress))
        with self._session(callbacks) as session:
            callbacks.run(lib.krait_perplexity, session._pointer, address(ids) if ids.size else None, ids.size, byref(options), byref(result))
        return _perplexity(result, text)

    def compare(self, other: "Model", text: Any, *, window: int = 0, bos: bool = False,
                progress: Optional[Callable[[str, int, int], Any]] = None) -> Comparison:
        """How far the predictions of `other`, of the same vocabulary, are from this model's on a text or token ids."""
        if not isinstance(other, Model):
            raise TypeError(f"other: expected a Model, found {type(other).__name__}")
        ids, callbacks, result = as_prompt(self, text, bos, "text"), Callbacks(), _abi.krait_comparison()
        options = _abi.krait_perplexity_options(window=whole(window, "window", 0), progress=callbacks.progress(progress))
        with self._session(callbacks) as base, other._session(callbacks) as second:
            callbacks.run(lib.krait_compare, base._pointer, second._pointer, address(ids) if ids.size else None, ids.size, byref(options), byref(result))
        numbers = {f.name: getattr(result, f.name) for f in fields(Comparison) if f.name not in ("base", "other")}
        return Comparison(base=_perplexity(result.base, text), other=_perplexity(result.other, text), **numbers)

    def __repr__(self) -> str:
        if not self._handle:
            return "<krait.Model, closed>"
        c = self.config
        return f"<krait.Model {c.family}, {c.n_layer} layers of {c.d_model}, {c.parameters:,} parameters, {self.nbytes / 1e6:.1f} MB>"


def _perplexity(c: _abi.krait_perplexity_result, text: Any) -> Perplexity:
    n_bytes = len(utf8(text, "text")) if isinstance(text, (str, bytes, bytearray)) else 0
    bits = c.nats / math.log(2) / n_bytes if n_bytes else None
    return Perplexity(int(c.n_scored), c.nats, c.nats_per_token, c.standard_error, c.perplexity, bits)


def config_of(shape: Union[str, Dict[str, Any]]) -> _abi.krait_config:
    """A krait_config of a published shape, or of dimensions: vocab_size, d_model and n_layer at least."""
    config = _abi.krait_config()
    if isinstance(shape, str):
        call(lib.krait_config_named, byref(config), c_string(shape, "shape"))
        return config
    if not isinstance(shape, dict):
        raise TypeError(f"shape: expected a name or a dict of dimensions, found {type(shape).__name__}")
    given = dict(shape)
    missing = [name for name in ("vocab_size", "d_model", "n_layer") if name not in given]
    if missing:
        raise errors.ArgumentError(f"shape: expected {', '.join(missing)}, found {', '.join(given) or 'nothing'}")
    d_model = whole(given["d_model"], "d_model", 1)
    values: Dict[str, Any] = {"d_inner": 2 * d_model, "d_state": 16, "d_conv": 4, "dt_rank": (d_model + 15) // 16, "conv_bias": True,
                              "proj_bias": False, "tied_head": True, "norm_eps": 1e-5, "mixer_norm_eps": 1e-6, "bos_id": -1,
                              "eos_id": -1, "family": "mamba"}
    unknown = set(given) - set(values) - {"vocab_size", "d_model", "n_layer"}
    if unknown:
        raise errors.ArgumentError(f"shape: unknown {', '.join(sorted(unknown))}")
    values.update(given)
    families = {"mamba": _abi.KRAIT_FAMILY_MAMBA, "falcon_mamba": _abi.KRAIT_FAMILY_FALCON_MAMBA}
    if values["family"] not in families:
        raise errors.ArgumentError(f"family: expected one of {', '.join(families)}, found {values['family']!r}")
    for name, value in values.items():
        if name == "family":
            config.family = families[value]
        elif name in ("conv_bias", "proj_bias", "tied_head"):
            setattr(config, name, truth(value, name))
        elif name in ("norm_eps", "mixer_norm_eps"):
            setattr(config, name, real(value, name))
        else:
            setattr(config, name, whole(value, name, -1 if name.endswith("_id") else 1))
    return config


__all__ = ["Comparison", "Config", "Generation", "Model", "Perplexity", "Piece", "Score", "bundled_model", "pull"]
