"""The `krait` program that travels in the package."""
import os
import sys
from pathlib import Path
from typing import NoReturn

_HERE = Path(__file__).resolve().parent


def path() -> Path:
    """Where it is: in the package, or what a source checkout built."""
    candidates = [_HERE / "bin" / "krait", _HERE.parent.parent / "build" / "release" / "krait"]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"the krait program: expected it in {candidates[0]}, found nothing")


def main() -> NoReturn:
    """Becomes the program: what it is called with, Ctrl-C and the exit code are its own."""
    program = str(path())
    os.execv(program, [program, *sys.argv[1:]])
