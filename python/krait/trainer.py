"""Training: step by step from one's own batches, or whole runs from settings."""
import contextlib
import ctypes
import json
import os
from ctypes import byref, c_double, c_uint64, c_void_p
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from . import _abi, errors
from ._arrays import Float32, Int32, address, c_string, real, token_ids, truth, whole
from ._callbacks import Callbacks, Standing
from ._handle import Handle
from ._library import call, lib, path_bytes
from .model import Model, config_of, dtype_of, locate
from .state import State
from .tokenizer import Tokenizer, strings

SCHEDULES = {"cosine": _abi.KRAIT_SCHEDULE_COSINE, "wsd": _abi.KRAIT_SCHEDULE_WSD, "constant": _abi.KRAIT_SCHEDULE_CONSTANT}


@dataclass(frozen=True)
class Step:
    """An update. step: how many there were, with this one. loss: mean nats per target, before it. grad_norm: before clipping. finite: False:
    loss or gradient were not, and nothing was changed; nonfinite is then the first tensor that is not."""

    step: int
    loss: float
    n_targets: int
    grad_norm: float
    learning_rate: float
    finite: bool
    nonfinite: Optional[str]


class _TrainersModel(Model):
    """The model that a trainer holds: not freed, and it keeps the trainer alive."""

    def __init__(self, trainer: "Trainer") -> None:
        super().__init__()
        self._trainer = trainer
        with trainer._in_use() as pointer:
            self._handle = lib.krait_trainer_model(pointer)
            self.threads = int(lib.krait_trainer_threads(pointer))

    @contextlib.contextmanager
    def _in_use(self, alone: bool = False) -> Iterator[int]:
        with self._trainer._in_use(), super()._in_use(alone) as pointer:
            yield pointer

    def close(self) -> None:
        self._handle = None
        super().close()


def _rows(tokens: Any, name: str) -> List[Any]:
    """A batch as a list of rows: an array [rows, n], a torch tensor on the CPU, or rows of different lengths."""
    if not isinstance(tokens, (list, tuple)):
        array = np.asarray(tokens)
        if array.ndim == 1:
            return [array]
        if array.ndim != 2:
            raise errors.ArgumentError(f"{name}: expected shape [rows, n], found {list(array.shape)}")
        return list(array)
    return [tokens] if tokens and np.ndim(tokens[0]) == 0 else list(tokens)


class Trainer(Handle):
    """A model that is being changed: float32 parameters, gradients, AdamW's moments, the place in a schedule. For one call at a time."""

    _free = "krait_trainer_free"

    def __init__(self, shape: Union[str, Dict[str, Any], None] = None, *, model: Any = None, seed: int = 0, learning_rate: float = 1e-3,
                 min_learning_rate: float = 1e-5, betas: Tuple[float, float] = (0.9, 0.95), epsilon: float = 1e-8,
                 weight_decay: float = 0.1, clip_norm: float = 1.0, schedule: str = "constant", warmup_steps: int = 0,
                 total_steps: int = 0, decay_steps: int = 0, compute: str = "f32", recompute: bool = False, threads: int = 0,
                 dt_min: float = 0.0, dt_max: float = 0.0, freeze: Sequence[str] = ()) -> None:
        """A new model of `shape`, a published one by name or dimensions ({"vocab_size": 256, "d_model": 128, "n_layer": 4}), drawn from `seed`
        as the paper initialises it; or `model`, a path or a name of the hub, to go on from.

        AdamW: A_log, D, biases and norms never decay; clip_norm 0: never. schedule: "constant", "cosine" and "wsd", which want total_steps
        ("wsd" also decay_steps). compute: matrix products in "f32" or "bf16". recompute: each layer runs forward twice instead of keeping
        its activations. freeze: patterns of names of parameters that do not change. ArgumentError names what is wrong."""
        super().__init__()
        if (shape is None) == (model is None):
            raise errors.ArgumentError("expected shape, of a new model, or model, to go on from; found " + ("neither" if shape is None else "both"))
        if schedule not in SCHEDULES:
            raise errors.ArgumentError(f"schedule: expected one of {', '.join(SCHEDULES)}, found {schedule!r}")
        if compute not in ("f32", "bf16"):
            raise errors.ArgumentError(f"compute: expected f32 or bf16, found {compute!r}")
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise errors.ArgumentError(f"betas: expected two numbers, found {betas!r}")
        o = _abi.krait_trainer_options()
        o.learning_rate, o.min_learning_rate = real(learning_rate, "learning_rate"), real(min_learning_rate, "min_learning_rate")
        o.beta1, o.beta2, o.epsilon = real(betas[0], "betas[0]"), real(betas[1], "betas[1]"), real(epsilon, "epsilon")
        o.weight_decay, o.clip_norm = real(weight_decay, "weight_decay"), real(clip_norm, "clip_norm")
        o.dt_min, o.dt_max = real(dt_min, "dt_min"), real(dt_max, "dt_max")
        o.schedule, o.compute = SCHEDULES[schedule], dtype_of(compute)
        o.warmup_steps, o.total_steps = whole(warmup_steps, "warmup_steps", 0), whole(total_steps, "total_steps", 0)
        o.decay_steps, o.threads = whole(decay_steps, "decay_steps", 0), whole(threads, "threads", 0, 1024)
        recompute = truth(recompute, "recompute")
        o.recompute, o.keep_states = recompute, not recompute
        patterns = strings(list(freeze), "freeze")
        o.freeze, o.n_freeze = ctypes.cast(patterns, c_void_p), len(patterns)
        self._standing = Standing()
        o.progress = self._standing.progress
        handle, checkpoint = c_void_p(), c_void_p()
        config = byref(config_of(shape)) if shape is not None else None
        if model is not None:
            call(lib.krait_checkpoint_open, byref(checkpoint), path_bytes(locate(model)))
        try:
            call(lib.krait_trainer_create, byref(handle), config, whole(seed, "seed", 0, 2**64 - 1), checkpoint, byref(o))
        finally:
            lib.krait_checkpoint_free(checkpoint)
        self._adopt(handle)

    # ---- learning --------------------------------------------------------------------------------------------------

    def _run(self, call_of: Callable[[Callbacks, int, Any, int], None], tokens: Any, targets: Any, starts: Any, states: Any) -> None:
        """Calls `call_of` with what the arguments say in C."""
        rows = _rows(tokens, "tokens")
        if not rows:
            raise errors.ArgumentError("tokens: expected at least one row, found none")
        goals = None if targets is None else _rows(targets, "targets")
        for given, name in ((goals, "targets"), (starts, "starts"), (states, "states")):
            if given is not None and not hasattr(given, "__len__"):
                raise TypeError(f"{name}: expected a list with one for each row, found {type(given).__name__}")
            if given is not None and len(given) != len(rows):
                raise errors.ArgumentError(f"{name}: expected {len(rows)} rows as of tokens, found {len(given)}")
        kept: List[Any] = []
        batch = (_abi.krait_train_row * len(rows))()
        vocab = self.model.config.vocab_size
        with self._in_use(alone=True) as pointer, contextlib.ExitStack() as used:
            for i, row in enumerate(rows):
                source, goal = _pair(row, None if goals is None else goals[i], i, vocab)
                one = batch[i]
                one.tokens, one.targets, one.count = address(source), address(goal), source.size
                begins = np.zeros(0, np.uint64) if starts is None else _starts(starts[i], f"starts[{i}]", source.size)
                one.starts, one.n_starts = address(begins), begins.size
                kept += [source, goal, begins]
                if states is not None:
                    if not isinstance(states[i], State):
                        raise TypeError(f"states[{i}]: expected a State, found {type(states[i]).__name__}")
                    one.state = used.enter_context(states[i]._in_use(alone=True))
            call_of(self._standing.begin(), pointer, batch, len(batch))

    def accumulate(self, tokens: Any, targets: Any = None, *, starts: Any = None, states: Optional[Sequence[State]] = None) -> None:
        """Forward and backward: gradients add up until update().

        tokens: [rows, n], or a list of rows of any lengths; numpy arrays, torch tensors on the CPU, lists. targets, of the same shape: what
        is to be foreseen at each token, negative: nothing; None: each token's successor in its row. starts: for each row the positions
        where another document begins. states: a State for each row, which it goes on from and where it ends (truncated BPTT).
        Ctrl-C leaves states as they were, and drops the gradients gathered since the last update."""
        self._run(lambda callbacks, pointer, batch, n: callbacks.run(lib.krait_trainer_accumulate, pointer, batch, n), tokens, targets,
                  starts, states)

    def update(self) -> Step:
        """Clips the mean gradient and moves the parameters."""
        result = _abi.krait_train_step()
        with self._in_use(alone=True) as pointer:
            call(lib.krait_trainer_update, pointer, byref(result))
            return Step(int(result.step), result.loss, int(result.n_targets), result.grad_norm, result.learning_rate,
                        bool(result.finite), result.nonfinite.decode() if result.nonfinite else None)

    def step(self, tokens: Any, targets: Any = None, **more: Any) -> Step:
        """accumulate() and update()."""
        self.accumulate(tokens, targets, **more)
        return self.update()

    def discard(self) -> None:
        """Drops the gradients gathered since the last update."""
        with self._in_use(alone=True) as pointer:
            lib.krait_trainer_discard(pointer)

    def evaluate(self, tokens: Any, targets: Any = None, *, starts: Any = None, states: Optional[Sequence[State]] = None) -> float:
        """The mean loss, in nats per target, with the model as it is."""
        loss, n = c_double(), c_uint64()
        self._run(lambda callbacks, pointer, batch, count: callbacks.run(lib.krait_trainer_evaluate, pointer, batch, count, byref(loss),
                                                                         byref(n)), tokens, targets, starts, states)
        return loss.value / n.value if n.value else 0.0

    # ---- looking and keeping ---------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Updates made so far."""
        with self._in_use() as pointer:
            return int(lib.krait_trainer_steps(pointer))

    @property
    def model(self) -> Model:
        """The model as it is now, which changes with every update: not to be run during one."""
        return _TrainersModel(self)

    def shapes(self) -> Dict[str, Tuple[int, ...]]:
        """The parameters by their names in Hugging Face's layout ("backbone.layers.0.mixer.A_log"), with the shapes that files have them in."""
        result: Dict[str, Tuple[int, ...]] = {}
        info = _abi.krait_tensor_info()
        with self._in_use() as pointer:
            for i in range(lib.krait_trainer_n_parameters(pointer)):
                lib.krait_trainer_parameter_info(pointer, i, byref(info))
                result[info.name.decode()] = tuple(info.shape[: info.n_dims])
        return result

    def parameter(self, name: str) -> Float32:
        """A copy of a parameter, in the shape that files have it in."""
        return self._read(lib.krait_trainer_parameter, name)

    def gradient(self, name: str) -> Float32:
        """The gradient of the mean loss over what was gathered, the same way; zeros where it is frozen."""
        return self._read(lib.krait_trainer_gradient, name)

    def _read(self, function: Any, name: str) -> Float32:
        if not isinstance(name, str):
            raise TypeError(f"name: expected str, found {type(name).__name__}")
        shape = self.shapes().get(name)
        if shape is None:
            raise errors.ArgumentError(f"name: expected that of a parameter (shapes() lists them), found {name!r}")
        out = np.empty(shape, np.float32)
        with self._in_use(alone=True) as pointer:
            call(function, pointer, c_string(name, "name"), address(out), out.size)
        return out

    def save_model(self, folder: Any, dtype: str = "f32", tokenizer: Any = None) -> None:
        """Writes a model in the layout of Hugging Face into a folder that is new or empty. tokenizer: the path of a tokenizer.json that is to be beside
        it, so that the model reads and writes text."""
        if tokenizer is not None:
            with Tokenizer.load(tokenizer) as known:
                if known.vocab_size > self.model.config.vocab_size:
                    raise errors.ArgumentError(f"tokenizer: expected at most {self.model.config.vocab_size} tokens, as the model, found {known.vocab_size}")
            try:
                written = Path(os.fsdecode(tokenizer)).read_bytes()
                json.loads(written)
            except (OSError, ValueError):  # a folder, a GGUF file
                raise errors.UnsupportedError(f"tokenizer: expected the path of a tokenizer.json, found {os.fsdecode(tokenizer)}") from None
        with self._in_use(alone=True) as pointer:
            call(lib.krait_trainer_save_model, pointer, path_bytes(folder), dtype_of(dtype))
        if tokenizer is not None:
            beside = Path(os.fsdecode(folder)) / "tokenizer.json.part"
            try:
                beside.write_bytes(written)
                beside.replace(beside.with_suffix(""))
            except OSError:
                beside.unlink(missing_ok=True)
                raise

    def save_state(self, path: Any) -> None:
        """The optimizer's moments and the number of steps. With the model saved as float32 beside it, training goes on bit for bit."""
        with self._in_use(alone=True) as pointer:
            call(lib.krait_trainer_save_state, pointer, path_bytes(path))

    def load_state(self, path: Any) -> None:
        """What save_state() wrote; the trainer stays as it was if it does not fit."""
        with self._in_use(alone=True) as pointer:
            call(lib.krait_trainer_load_state, pointer, path_bytes(path))

    def __repr__(self) -> str:
        return f"<krait.Trainer after {self.steps} steps>" if self._handle else "<krait.Trainer, closed>"


def _pair(tokens: Any, targets: Any, row: int, vocab: int) -> Tuple[Int32, Int32]:
    """A row's tokens and what is to be foreseen at each of them."""
    ids = token_ids(tokens, f"tokens[{row}]", vocab)
    if targets is None:
        if ids.size < 2:
            raise errors.ArgumentError(f"tokens[{row}]: expected at least 2 tokens, found {ids.size}")
        return ids[:-1], ids[1:]
    goal = _targets(targets, f"targets[{row}]", vocab)
    if goal.size != ids.size or not ids.size:
        raise errors.ArgumentError(f"targets[{row}]: expected {ids.size} as of tokens[{row}] (at least 1), found {goal.size}")
    return ids, goal


def _starts(positions: Any, name: str, count: int) -> Any:
    array = np.asarray(positions)
    if array.size == 0:
        return np.zeros(0, np.uint64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise errors.ArgumentError(f"{name}: expected positions [n], found {array.dtype} {list(array.shape)}")
    if array.min() < 1 or array.max() >= count or (array[1:] <= array[:-1]).any():
        raise errors.ArgumentError(f"{name}: expected ascending positions in 1 .. {count - 1}, found {array.tolist()}")
    return np.ascontiguousarray(array, np.uint64)


def _targets(values: Any, name: str, vocab: int) -> Int32:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise errors.ArgumentError(f"{name}: expected whole numbers [n], found {array.dtype} {list(array.shape)}")
    if array.size and int(array.max()) >= vocab:
        raise errors.ArgumentError(f"{name}: expected ids below {vocab}, or negative ones where nothing is learned, found {int(array.max())}")
    return np.ascontiguousarray(np.maximum(array, -1), np.int32)


# ---- whole runs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """What happened in a run, and where it is. type: "step", "evaluation", "sample", "checkpoint", "note" or "work"; text: of samples, notes, the
    folder of a checkpoint, what is worked at. The figures are those of C's krait_training_event."""

    type: str
    text: Optional[str]
    done: int
    total: int
    step: int
    n_steps: int
    tokens: int
    epoch: float
    loss: float
    grad_norm: float
    learning_rate: float
    tokens_per_second: float
    gemm_share: float
    seconds: float
    seconds_left: float
    held_out_loss: float
    held_out_bits_per_byte: float
    best_held_out_loss: float


_EVENTS = ("step", "evaluation", "sample", "checkpoint", "note", "work")


# Settings as they are read: (key, value, where it stands)
_Given = Iterator[Tuple[str, Any, str]]


def _of_dict(config: Dict[Any, Any], origin: str, prefix: str = "") -> _Given:
    for key, value in config.items():
        if not isinstance(key, str):
            raise TypeError(f"{prefix}{key}: expected a key that is a str, found {type(key).__name__}")
        if isinstance(value, dict):
            yield from _of_dict(value, origin, f"{prefix}{key}.")
        elif value is not None:
            for one in value if isinstance(value, (list, tuple)) else [value]:
                yield f"{prefix}{key}", one, origin


def _of_yaml(node: Any, path: Path, prefix: str = "") -> _Given:
    """Values stay the texts that they are in the file, for the library to read as it does for `krait train`."""
    for key, value in node.value:
        name, origin = f"{prefix}{key.value}", f"{path}:{value.start_mark.line + 1}"
        if value.id == "mapping":
            yield from _of_yaml(value, path, f"{name}.")
        elif value.id != "scalar" or value.style is not None or value.value not in ("", "~", "null", "Null", "NULL"):
            for one in [value] if value.id == "scalar" else value.value:
                if one.id != "scalar":
                    raise errors.FormatError(f"{origin}: {name}: expected a list of words, found something else in it")
                yield name, one.value, origin


def _of_file(path: Path) -> _Given:
    try:
        text = path.read_text("utf-8")
    except OSError as e:
        raise errors.FileError(f"{path}: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise errors.FormatError(f"{path}: expected UTF-8: {e}") from None
    if path.suffix == ".json":
        try:
            found = json.loads(text)
        except ValueError as e:
            raise errors.FormatError(f"{path}: {e}") from None
        if not isinstance(found, dict):
            raise errors.FormatError(f"{path}: expected settings by their keys, found {type(found).__name__}")
        return _of_dict(found, str(path))
    try:
        import yaml  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise errors.UnsupportedError(f"{path}: reading YAML needs the package PyYAML; a .json file or a dict do without") from None
    try:
        node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as e:
        raise errors.FormatError(f"{path}: {e}") from None
    if node is not None and node.id != "mapping":
        raise errors.FormatError(f"{path}: expected settings by their keys, found a {node.id}")
    return iter(()) if node is None else _of_yaml(node, path)


def _text(value: Any, key: str) -> bytes:
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, (int, float)):
        return repr(value).encode()
    if isinstance(value, (str, bytes)) or hasattr(value, "__fspath__"):
        return path_bytes(value)
    raise TypeError(f"{key}: expected text, a number or a list of them, found {type(value).__name__}")


class _Settings(Handle):
    _free = "krait_training_settings_free"

    def __init__(self, config: Any) -> None:
        super().__init__()
        handle = c_void_p()
        call(lib.krait_training_settings_create, byref(handle))
        self._adopt(handle)
        if not isinstance(config, (str, bytes, dict)) and not hasattr(config, "__fspath__"):
            raise TypeError(f"config: expected a dict or the path of a file, found {type(config).__name__}")
        given = _of_dict(config, "config") if isinstance(config, dict) else _of_file(Path(os.fsdecode(config)))
        for key, value, origin in given:
            call(lib.krait_training_settings_set, self._pointer, c_string(key, "key"), _text(value, key), c_string(origin, "config"))

    def get(self, key: str) -> Optional[str]:
        found: Optional[bytes] = lib.krait_training_settings_get(self._pointer, key.encode(), 0)
        return None if found is None else found.decode()


class _Training(Handle):
    _free = "krait_training_free"


@dataclass(frozen=True)
class Run:
    """What became of a run. folder: where it is. finished: it reached its end. last, best: the folders of the newest checkpoint and, after
    evaluations, of the model with the lowest held-out loss. event: the figures at the end."""

    folder: Path
    finished: bool
    step: int
    last: Path
    best: Optional[Path]
    event: Optional[Event]

    def metrics(self) -> List[Dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]


def train(config: Any, *, out: Any = None, resume: bool = False, allow_changes: bool = False, from_step: int = 0,
          on_event: Optional[Callable[[Event], Any]] = None) -> Run:
    """Makes a model from text, as `krait train` does: from a dict of settings ({"model": {"d_model": 128, ...}, "data": {...}}), or the path of a
    .yaml (with PyYAML) or .json file of them.

    out: the folder of the run, else the setting of that name; given again, the run goes on. on_event(event) hears of every step, evaluation,
    sample and checkpoint. It stops the run by returning False, and so does Ctrl-C: the step is finished, a checkpoint written, and the
    same call goes on from there, bit for bit."""
    if on_event is not None and not callable(on_event):
        raise TypeError(f"on_event: expected a function, found {type(on_event).__name__}")
    callbacks = Callbacks()
    last: List[Event] = []
    names = [f.name for f in fields(Event) if f.name not in ("type", "text")]

    def hear(_user: Any, pointer: Any) -> bool:
        c = pointer.contents
        event = Event(type=_EVENTS[c.type], text=c.text.decode("utf-8", "replace") if c.text is not None else None,
                      **{name: getattr(c, name) for name in names})
        last[:] = [event]
        return on_event is None or on_event(event) is not False

    options = _abi.krait_training_options(resume=truth(resume, "resume"), allow_changes=truth(allow_changes, "allow_changes"), from_step=whole(from_step, "from_step", 0),
                                          on_event=callbacks.wrap(_abi.krait_training_options_on_event, hear))
    with _Settings(config) as settings, _Training() as training:
        folder = out if out is not None else settings.get("out")
        if folder is None:
            raise errors.ArgumentError("out: expected the folder of the run, found none")
        call(lib.krait_training_settings_set, settings._pointer, b"out", path_bytes(folder), b"out")
        handle = c_void_p()
        try:
            callbacks.run(lib.krait_training_open, byref(handle), path_bytes(folder), settings._pointer, byref(options))
        finally:
            training._adopt(handle)
        try:
            callbacks.run(lib.krait_training_run, training._pointer)
        except errors.InterruptedError:
            pass  # on_event said so
        place = Path(os.fsdecode(folder))
        best = place / "best"
        return Run(place, bool(lib.krait_training_finished(training._pointer)), int(lib.krait_training_step(training._pointer)),
                   place / "last", best if best.exists() else None, last[0] if last else None)


__all__ = ["Event", "Run", "Step", "Trainer", "train"]
