"""Finds libkrait, opens it once, and turns its errors into exceptions. Everything else of the package calls it through `lib`."""
import ctypes
import os
import sys
from ctypes import byref
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional

from . import _abi, errors

_HERE = Path(__file__).resolve().parent
# OpenMP's threads wait for the next parallel region spinning, which slows down whoever else wants to compute in the process (torch
# with its own OpenMP, for one). GNU's runtime reads these when it is loaded, so they are set for just that moment.
_QUIET_THREADS = {"GOMP_SPINCOUNT": "1000"}


def _candidates() -> Iterator[Path]:
    if "KRAIT_LIBRARY" in os.environ:
        yield Path(os.environ["KRAIT_LIBRARY"])
        return
    yield _HERE / "lib" / "libkrait.so.0"
    yield _HERE.parent.parent / "build" / "release" / "libkrait.so.0"  # a source checkout


def _open() -> Any:
    tried: List[str] = []
    set_here = [] if "OMP_WAIT_POLICY" in os.environ else [k for k in _QUIET_THREADS if k not in os.environ]
    for path in _candidates():
        if not path.exists():
            tried.append(f"{path}: no such file")
            continue
        try:
            for key in set_here:
                os.environ[key] = _QUIET_THREADS[key]
            library = ctypes.CDLL(str(path))
        except OSError as e:
            tried.append(str(e))
            continue
        finally:
            for key in set_here:
                os.environ.pop(key, None)
        for name, (result, arguments) in _abi.FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        return library
    raise ImportError("krait: the library was not found: " + "; ".join(tried))


lib = _open()


def version() -> str:
    """Of the library."""
    text: bytes = lib.krait_version()
    return text.decode()


def build_info() -> str:
    """What this build was made of, for bug reports."""
    text: bytes = lib.krait_build_info()
    return text.decode()


def call(function: Any, *arguments: Any) -> None:
    """Calls a function whose last parameter is a krait_error, and raises what it reports."""
    error = _abi.krait_error()
    status = function(*arguments, byref(error))
    if status:
        raise errors.of_status(status, error.message.decode(errors="replace"))


class Callbacks:
    """Callbacks of one call. What a Python function raises stops the call and is raised again by `run`: ctypes would only print it.

    Python sees Ctrl-C between two of its instructions, not in the library: long calls get a callback for no other reason."""

    def __init__(self) -> None:
        self._raised: Optional[BaseException] = None
        self._kept: List[Any] = []

    def wrap(self, kind: Any, function: Callable[..., Any], stopped: Any = False) -> Any:
        def guarded(*arguments: Any) -> Any:
            if self._raised is not None:
                return stopped
            try:
                return function(*arguments)
            except BaseException as e:  # noqa: BLE001 - KeyboardInterrupt too
                self._raised = e
                return stopped

        made = kind(guarded)
        self._kept.append(made)
        return made

    def progress(self, report: Optional[Callable[[str, int, int], Any]] = None) -> _abi.krait_progress:
        """A krait_progress that lets Ctrl-C in; `report(what, done, total)`, if given, stops by returning False."""
        def told(_user: Any, what: bytes, done: int, total: int) -> bool:
            return report is None or report(what.decode(), done, total) is not False

        progress = _abi.krait_progress()
        progress.report = self.wrap(_abi.krait_progress_report, told)
        return progress

    def run(self, function: Any, *arguments: Any) -> None:
        try:
            call(function, *arguments)
        except errors.Error:
            if self._raised is None:
                raise
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised


class Handle:
    """An object of the library's: freed with the Python object, or by close()."""

    _free: str = ""

    def __init__(self) -> None:
        self._handle: Optional[int] = None

    def _adopt(self, handle: ctypes.c_void_p) -> None:
        self._handle = handle.value

    @property
    def _pointer(self) -> int:
        if not self._handle:
            raise errors.ArgumentError(f"{type(self).__name__}: expected an open one, found one that was closed")
        return self._handle

    def close(self) -> None:
        """Frees it; twice is fine."""
        handle, self._handle = getattr(self, "_handle", None), None
        if handle and not sys.is_finalizing():
            getattr(lib, self._free)(handle)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def path_bytes(path: Any) -> bytes:
    """A path for the library."""
    try:
        return os.fsencode(path)
    except TypeError:
        raise TypeError(f"path: expected str, bytes or os.PathLike, found {type(path).__name__}") from None
