"""What Python passes to the library, as memory that ctypes can point to."""
from typing import Any, Sequence, Tuple, Union

import numpy as np
import numpy.typing as npt

from . import errors

Ids = Union[Sequence[int], "npt.NDArray[Any]"]
Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


def token_ids(ids: Any, name: str = "ids", vocab_size: int = 0) -> Int32:
    """One row of token ids as contiguous int32. Anything numpy understands: a list, an array, a torch tensor on the CPU."""
    try:
        array = np.asarray(ids)
    except Exception as e:
        raise TypeError(f"{name}: expected token ids, found {type(ids).__name__} ({e})") from None
    if array.ndim != 1:
        raise errors.ArgumentError(f"{name}: expected one dimension, found shape {list(array.shape)}")
    if array.size == 0:
        return np.zeros(0, np.int32)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected whole numbers, found {array.dtype}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or (vocab_size and high >= vocab_size) or high > 2**31 - 1:
        wrong = low if low < 0 else high
        at = int(np.flatnonzero(array == wrong)[0])
        last = vocab_size - 1 if vocab_size else 2**31 - 1
        raise errors.ArgumentError(f"{name}[{at}]: expected an id in 0 .. {last}, found {wrong}")
    return np.ascontiguousarray(array, dtype=np.int32)


def address(array: "npt.NDArray[Any]") -> int:
    data: Tuple[int, bool] = array.__array_interface__["data"]
    return data[0]


def whole(value: Any, name: str, low: int, high: int = 2**63 - 1) -> int:
    """A whole number in a range."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}: expected a whole number, found {type(value).__name__}")
    number = int(value.__index__())
    if not low <= number <= high:
        raise errors.ArgumentError(f"{name}: expected {low} .. {high}, found {number}")
    return number


def real(value: Any, name: str) -> float:
    """A number; its range is the library's business."""
    if isinstance(value, (bool, str, bytes)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name}: expected a number, found {type(value).__name__}")
    return float(value)


def truth(value: Any, name: str) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, found {type(value).__name__}")
    return bool(value)


def utf8(text: Any, name: str) -> bytes:
    """Text for the library. Surrogates that Python made of invalid bytes become these bytes again."""
    if isinstance(text, (bytes, bytearray)):
        return bytes(text)
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected str or bytes, found {type(text).__name__}")
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as e:
        raise errors.ArgumentError(f"{name}: expected text that UTF-8 has bytes for, found {text[e.start:e.end]!r} at {e.start}") from None


def c_string(text: Any, name: str) -> bytes:
    """Text for parameters that have no length, which ends at a NUL."""
    data = utf8(text, name)
    if b"\0" in data:
        raise errors.ArgumentError(f"{name}: expected text without a NUL, found one at byte {data.index(0)}")
    return data
