"""What can go wrong, as exceptions. Each has the library's own message, which names the file, the field, what was expected and what
was found."""
from typing import Dict, Type


class Error(Exception):
    """Any failure that the library reports."""


class ArgumentError(Error, ValueError):
    """The caller's mistake: a size out of range, an id outside of the vocabulary, a closed object."""


class FileError(Error, OSError):
    """The operating system refused; the message has its reason."""


class FormatError(Error, ValueError):
    """A file is not what it says it is."""


class UnsupportedError(Error, NotImplementedError):
    """The file is fine, but this build cannot do what is asked for: the message names what is missing."""


class OutOfMemoryError(Error, MemoryError):
    """An allocation failed."""


class InterruptedError(Error):  # noqa: A001 - the library's own word for it
    """A callback asked to stop."""


_BY_STATUS: Dict[int, Type[Error]] = {
    1: ArgumentError, 2: FileError, 3: FormatError, 4: UnsupportedError, 5: OutOfMemoryError, 6: InterruptedError,
}


def of_status(status: int, message: str) -> Error:
    return _BY_STATUS.get(status, Error)(message)
