"""What a sequence remembers."""
import tempfile
from ctypes import byref, c_char_p, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict

import numpy as np

from . import _abi, errors
from ._arrays import Float32, address
from ._library import Handle, call, lib, path_bytes

if TYPE_CHECKING:
    from .model import Model


class State(Handle):
    """Everything that one sequence remembers, of a size that does not depend on the number of tokens seen. A value: it is cloned, saved and
    loaded, and belongs to a model's config, not to a model in memory. Model.state() makes one. For one thread at a time."""

    _free = "krait_state_free"

    def __init__(self, model: "Model") -> None:
        super().__init__()
        handle = c_void_p()
        call(lib.krait_state_create, byref(handle), model._pointer)
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
        call(lib.krait_state_load, byref(handle), model._pointer, path_bytes(path))
        return cls._of(handle)

    @classmethod
    def from_bytes(cls, model: "Model", data: bytes) -> "State":
        """One that to_bytes() gave."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data: expected bytes, found {type(data).__name__}")
        data, handle = bytes(data), c_void_p()
        call(lib.krait_state_load_memory, byref(handle), model._pointer, data, len(data))
        return cls._of(handle)

    def save(self, path: Any) -> None:
        """Writes a safetensors file, complete or not at all."""
        call(lib.krait_state_save, self._pointer, path_bytes(path))

    def to_bytes(self) -> bytes:
        """The same file as bytes."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state.safetensors"
            self.save(path)
            return path.read_bytes()

    @property
    def tokens(self) -> int:
        """Tokens seen since the last reset."""
        return int(lib.krait_state_tokens(self._pointer))

    @property
    def nbytes(self) -> int:
        return int(lib.krait_state_bytes(self._pointer))

    def reset(self) -> None:
        """Back to before the first token."""
        lib.krait_state_reset(self._pointer)

    def clone(self) -> "State":
        """Another of the same content: from here on two texts can go different ways."""
        handle = c_void_p()
        call(lib.krait_state_clone, byref(handle), self._pointer)
        return State._of(handle)

    fork = clone

    def copy_from(self, other: "State") -> None:
        """Takes over what another of the same config holds, without allocating."""
        if not isinstance(other, State):
            raise TypeError(f"other: expected a State, found {type(other).__name__}")
        call(lib.krait_state_copy, self._pointer, other._pointer)

    def tensors(self) -> Dict[str, Float32]:
        """Copies of what it holds, float32: conv_state.i [d_inner, d_conv - 1] and ssm_state.i [d_inner, d_state] of each layer i, and
        last_hidden [d_model], the residual stream behind the last layer at the last token."""
        result: Dict[str, Float32] = {}
        info = _abi.krait_tensor_info()
        for i in range(lib.krait_state_n_tensors(self._pointer)):
            status = lib.krait_state_tensor(self._pointer, i, byref(info))
            if status:
                raise errors.of_status(status, f"state: tensor {i}")
            values = np.empty(tuple(info.shape[: info.n_dims]), np.float32)
            name = c_char_p(info.name).value or b""
            call_read = lib.krait_state_read(self._pointer, i, address(values))
            if call_read:
                raise errors.of_status(call_read, f"state: {name.decode()}")
            result[name.decode()] = values
        return result

    def __repr__(self) -> str:
        return f"<krait.State after {self.tokens} tokens>" if self._handle else "<krait.State, closed>"
