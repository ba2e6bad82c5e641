"""What a sequence remembers."""
import contextlib
import tempfile
from ctypes import byref, c_char_p, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator

import numpy as np

from . import _abi, errors
from ._arrays import Float32, address
from ._handle import Handle
from ._library import call, lib, path_bytes

if TYPE_CHECKING:
    from .model import Model


class State(Handle):
    """Everything that one sequence remembers, of a size that does not depend on the number of tokens seen. A value: it is cloned, saved and
    loaded, and belongs to a model's config, not to a model in memory. Model.state() makes one. One call at a time may change it, and an
    exception leaves it as it was."""

    _free = "krait_state_free"

    def __init__(self, model: "Model") -> None:
        super().__init__()
        handle = c_void_p()
        with _model(model)._in_use() as pointer:
            call(lib.krait_state_create, byref(handle), pointer)
        self._adopt(handle)

    @classmethod
    def _of(cls, handle: c_void_p) -> "State":
        self = cls.__new__(cls)
        Handle.__init__(self)
        self._adopt(handle)
        return self

    @classmethod
    def load(cls, model: "Model", path: Any) -> "State":
        """One that save() wrote. FormatError if it is of a model of another shape."""
        handle = c_void_p()
        with _model(model)._in_use() as pointer:
            call(lib.krait_state_load, byref(handle), pointer, path_bytes(path))
        return cls._of(handle)

    @classmethod
    def from_bytes(cls, model: "Model", data: bytes) -> "State":
        """One that to_bytes() gave."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data: expected bytes, found {type(data).__name__}")
        data, handle = bytes(data), c_void_p()
        with _model(model)._in_use() as pointer:
            call(lib.krait_state_load_memory, byref(handle), pointer, data, len(data))
        return cls._of(handle)

    def save(self, path: Any) -> None:
        """Writes a safetensors file, complete or not at all."""
        with self._in_use() as pointer:
            call(lib.krait_state_save, pointer, path_bytes(path))

    def to_bytes(self) -> bytes:
        """The same file as bytes."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state.safetensors"
            self.save(path)
            return path.read_bytes()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[int]:
        """For a call that changes it: nobody else may, and if the call fails it is put back."""
        with self._in_use(alone=True) as pointer, self.clone() as before:
            try:
                yield pointer
            except BaseException:
                lib.krait_state_copy(pointer, before._pointer, None)
                raise

    @property
    def tokens(self) -> int:
        """Tokens seen since the last reset."""
        with self._in_use() as pointer:
            return int(lib.krait_state_tokens(pointer))

    @property
    def nbytes(self) -> int:
        with self._in_use() as pointer:
            return int(lib.krait_state_bytes(pointer))

    def reset(self) -> None:
        """Back to before the first token."""
        with self._in_use(alone=True) as pointer:
            lib.krait_state_reset(pointer)

    def clone(self) -> "State":
        """Another of the same content: from here on two texts can go different ways."""
        handle = c_void_p()
        with self._in_use() as pointer:
            call(lib.krait_state_clone, byref(handle), pointer)
        return State._of(handle)

    fork = __copy__ = clone

    def __deepcopy__(self, _memo: Any) -> "State":
        return self.clone()

    def copy_from(self, other: "State") -> None:
        """Takes over what another of the same config holds, without allocating."""
        if not isinstance(other, State):
            raise TypeError(f"other: expected a State, found {type(other).__name__}")
        with self._in_use(alone=True) as pointer, other._in_use() as source:
            call(lib.krait_state_copy, pointer, source)

    def tensors(self) -> Dict[str, Float32]:
        """Copies of what it holds, float32: conv_state.i [d_inner, d_conv - 1] and ssm_state.i [d_inner, d_state] of each layer i, and
        last_hidden [d_model], the residual stream behind the last layer at the last token."""
        result: Dict[str, Float32] = {}
        info = _abi.krait_tensor_info()
        with self._in_use() as pointer:
            for i in range(lib.krait_state_n_tensors(pointer)):
                status = lib.krait_state_tensor(pointer, i, byref(info))
                values = np.empty(tuple(info.shape[: info.n_dims]), np.float32)
                status = status or lib.krait_state_read(pointer, i, address(values))
                name = (c_char_p(info.name).value or b"").decode()
                if status:
                    raise errors.of_status(status, f"state: tensor {i} {name}")
                result[name] = values
        return result

    def __repr__(self) -> str:
        return f"<krait.State after {self.tokens} tokens>" if self._handle else "<krait.State, closed>"


def _model(model: Any) -> "Model":
    from .model import Model

    if not isinstance(model, Model):
        raise TypeError(f"model: expected a Model, found {type(model).__name__}")
    return model
