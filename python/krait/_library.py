"""Finds libkrait, opens it once, and turns its errors into exceptions. Everything else of the package calls it through `lib`."""
import ctypes
import os
from ctypes import byref
from pathlib import Path
from typing import Any, Iterator, List

from . import _abi, errors

_HERE = Path(__file__).resolve().parent
# OpenMP's threads wait for the next parallel region spinning, which slows down whoever else wants to compute in the process (torch
# with its own OpenMP, for one). GNU's runtime reads these when it is loaded, so they are set for just that moment. So many turns
# outlast a callback in Python between two tokens; with 1000, threads went to sleep at each (3,440 instead of 3,870 tokens/s, small model).
_QUIET_THREADS = {"GOMP_SPINCOUNT": "3000"}


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


def path_bytes(path: Any) -> bytes:
    """A path for the library."""
    try:
        data = os.fsencode(path)
    except TypeError:
        raise TypeError(f"path: expected str, bytes or os.PathLike, found {type(path).__name__}") from None
    except UnicodeEncodeError:
        raise errors.ArgumentError(f"path: expected one that the file system has bytes for, found {path!r}") from None
    if b"\0" in data:
        raise errors.ArgumentError(f"path: expected one without a NUL, found {data!r}")
    return data
