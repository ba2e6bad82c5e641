"""What all objects of the library's have in common."""
import contextlib
import ctypes
import sys
import threading
from typing import Any, Iterator, Optional

from . import errors
from ._library import lib

_lock = threading.RLock()  # the garbage collector may call close() in the middle of one


class Handle:
    """An object of the library's: freed with the Python object, or by close()."""

    _free: str = ""

    def __init__(self) -> None:
        self._handle: Optional[int] = None
        self._users = 0
        self._taken = False
        self._left: Optional[int] = None  # closed while in use

    def _adopt(self, handle: ctypes.c_void_p) -> None:
        self._handle = handle.value

    @property
    def _pointer(self) -> int:
        if not self._handle:
            raise errors.ArgumentError(f"{type(self).__name__}: expected an open one, found one that was closed")
        return self._handle

    @contextlib.contextmanager
    def _in_use(self, alone: bool = False) -> Iterator[int]:
        """Its pointer, which stays valid whatever other threads do meanwhile. alone: for what only one call at a time may do."""
        with _lock:
            pointer = self._pointer
            if alone and self._taken:
                raise errors.ArgumentError(f"{type(self).__name__}: expected one that is free, found one in use by another call")
            self._taken = self._taken or alone
            self._users += 1
        try:
            yield pointer
        finally:
            with _lock:
                self._taken = self._taken and not alone
                self._users -= 1
                left, self._left = (None, self._left) if self._users else (self._left, None)
            if left:
                getattr(lib, self._free)(left)

    def close(self) -> None:
        """Frees it; twice is fine. A call that is using it in another thread comes to its end first."""
        if sys.is_finalizing() or not hasattr(self, "_handle"):
            return
        with _lock:
            handle, self._handle = self._handle, None
            if self._users:
                handle, self._left = None, handle
        if handle:
            getattr(lib, self._free)(handle)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__}: cannot be pickled or copied by Python")
