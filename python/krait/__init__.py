"""krait: Mamba, the selective state space model, on the CPU.

    import krait
    model = krait.Model.load()                       # the bundled one; or a folder, a file, OWNER/NAME on the hub
    print(model.generate("It was a dark and stormy night, and the", max_tokens=40))

krait.ops has the operations on numpy arrays, krait.torch (which needs torch) the functions of mamba_ssm and causal_conv1d.
"""
from typing import TYPE_CHECKING, Any

from ._library import build_info, version
from .errors import (ArgumentError, Error, FileError, FormatError, InterruptedError, OutOfMemoryError, UnsupportedError)

# What follows needs numpy, which takes longer to import than everything else: at its first use.
_PLACES = {
    **dict.fromkeys(("Comparison", "Config", "Model", "Perplexity", "Score", "bundled_model", "pull"), "model"),
    **dict.fromkeys(("Generation", "Piece"), "generate"),
    **dict.fromkeys(("SavedTensor", "convert", "quantize"), "files"),
    **dict.fromkeys(("Decoder", "Tokenizer", "train_tokenizer"), "tokenizer"),
    **dict.fromkeys(("Event", "Run", "Step", "Trainer", "train"), "trainer"),
    "State": "state",
}

if TYPE_CHECKING:
    from .files import SavedTensor, convert, quantize
    from .generate import Generation, Piece
    from .model import Comparison, Config, Model, Perplexity, Score, bundled_model, pull
    from .state import State
    from .tokenizer import Decoder, Tokenizer, train_tokenizer
    from .trainer import Event, Run, Step, Trainer, train

__version__ = version()
__all__ = ["ArgumentError", "Comparison", "Config", "Decoder", "Error", "Event", "FileError", "FormatError", "Generation", "InterruptedError", "Model",
           "OutOfMemoryError", "Perplexity", "Piece", "SavedTensor", "Run", "Score", "State", "Step", "Tokenizer", "Trainer", "UnsupportedError", "__version__",
           "build_info", "bundled_model", "convert", "pull", "quantize", "train", "train_tokenizer"]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        from importlib import import_module

        value = getattr(import_module(f".{_PLACES[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> Any:
    return sorted(set(globals()) | set(__all__))
