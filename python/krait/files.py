"""Writing models in other types and formats."""
import ctypes
from ctypes import byref, c_void_p
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from . import _abi, errors
from ._arrays import address, c_string, token_ids, truth, whole
from ._callbacks import Callbacks
from ._library import call, lib, path_bytes
from .model import dtype_of, locate
from .tokenizer import Tokenizer


@dataclass(frozen=True)
class SavedTensor:
    """What became of a tensor. error: root of the mean squared error relative to the weights. reason: why it is of another type than the
    rest, or None."""

    name: str
    source_name: str
    source_type: str
    type: str
    elements: int
    bytes: int
    error: float
    reason: Optional[str]


def quantize(model: Any, out: Any, dtype: str, *, keep: Optional[Dict[str, str]] = None, calibrate: Any = None, tune: int = 0,
             requantize: bool = False, threads: int = 0, progress: Optional[Callable[[str, int, int], Any]] = None) -> List[SavedTensor]:
    """Writes a model's weights in another type: `out` is a folder, new or empty, or a GGUF file if it ends in .gguf.

    model: a path, OWNER/NAME of the hub, or None, the bundled one. dtype: "f32", "f16", "bf16", "q8", "q4", "q6". keep: {pattern of names:
    type}, the first that fits counts. calibrate: a text or token ids like those that the model is for, with which the numbers of
    q8, q4 and q6 are chosen. tune: so many steps of tuning after that, of scales and what is float32, by the predictions on the same ids; some
    hundred are enough (docs/QUANTIZATION.md). requantize: quantise what is quantised already. Files appear complete or not at all."""
    callbacks, handle = Callbacks(), c_void_p()
    saved: List[SavedTensor] = []

    def tell(_user: Any, pointer: Any) -> None:
        t = pointer.contents
        saved.append(SavedTensor(t.name.decode(), t.source_name.decode(), lib.krait_dtype_name(getattr(t, "from")).decode(),
                                 lib.krait_dtype_name(t.to).decode(), int(t.elements), int(t.bytes), float(t.error),
                                 t.reason.decode() if t.reason else None))

    if not isinstance(keep, (dict, type(None))):
        raise TypeError(f"keep: expected a dict of patterns and types, found {type(keep).__name__}")
    choices = [(c_string(p, "keep"), dtype_of(t, f"keep[{p!r}]")) for p, t in (keep or {}).items()]
    kept = (_abi.krait_type_choice * len(choices))(*[_abi.krait_type_choice(p, t) for p, t in choices])
    path = locate(model)
    call(lib.krait_checkpoint_open, byref(handle), path_bytes(path))
    try:
        ids = np.zeros(0, np.int32)
        if isinstance(calibrate, (str, bytes, bytearray)):
            if not lib.krait_checkpoint_has_tokenizer(handle):
                raise errors.ArgumentError("calibrate: expected token ids for a model without a tokenizer, found a text")
            with Tokenizer._of_checkpoint(handle) as tokenizer:
                ids = tokenizer.encode(calibrate)
        elif calibrate is not None:
            ids = token_ids(calibrate, "calibrate")
        if calibrate is not None and not ids.size:
            raise errors.ArgumentError("calibrate: expected some text, found none")
        options = _abi.krait_save_options(
            type=dtype_of(dtype), choices=ctypes.cast(kept, ctypes.POINTER(_abi.krait_type_choice)), n_choices=len(choices),
            calibration=address(ids) if ids.size else None, n_calibration=ids.size,
            tune_steps=whole(tune, "tune", 0, 1000000), requantize=truth(requantize, "requantize"),
            threads=whole(threads, "threads", 0, 1024), on_tensor=callbacks.wrap(_abi.krait_save_options_on_tensor, tell, None),
            progress=callbacks.progress(progress))
        target = path_bytes(out)
        save = lib.krait_checkpoint_save_gguf if target.endswith(b".gguf") else lib.krait_checkpoint_save
        callbacks.run(save, handle, target, byref(options))
    finally:
        lib.krait_checkpoint_free(handle)
    return saved


def convert(model: Any, out: Any, dtype: str = "f32", **options: Any) -> List[SavedTensor]:
    """Writes a model in another format, in float32 unless `dtype` says otherwise: quantize() under the name that this has."""
    return quantize(model, out, dtype, **options)
