"""Python functions that the library calls, and Ctrl-C while it works."""
import signal
import threading
from typing import Any, Callable, Dict, List, Optional

from . import _abi, errors
from ._library import call

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)]


class Callbacks:
    """The callbacks of one call. What a Python function raises stops the call and is raised again by run(): ctypes would only print it.

    Python runs the handler of a signal between two of its own instructions, so never in the library, and of a callback most likely at
    its very entry, where nothing can catch what the handler raises. Hence run() puts a handler in front that waits for the inside."""

    def __init__(self) -> None:
        self._raised: Optional[BaseException] = None
        self._stopped = self._inside = False
        self._kept: List[Any] = []
        self._handlers: Dict[int, Any] = {}
        self._pending: Optional[int] = None
        self.ask = self._guarded(lambda: True, False)  # whether to go on

    def stop(self) -> None:
        """For another thread: the call ends at its next callback."""
        self._stopped = True

    def _guarded(self, function: Callable[..., Any], stopped: Any) -> Callable[..., Any]:
        """One that never raises. It runs for every token: no more frames than must be."""
        def guarded(*arguments: Any) -> Any:
            if self._stopped or self._raised is not None:
                return stopped
            try:
                self._inside = True
                if self._pending is not None:
                    self._deliver()
                return function(*arguments)
            except BaseException as e:  # noqa: BLE001 - KeyboardInterrupt too
                self._raised = e
                return stopped
            finally:
                self._inside = False

        return guarded

    def wrap(self, kind: Any, function: Callable[..., Any], stopped: Any = False) -> Any:
        """A C function of type `kind`; stopped: what it gives once the call is to end."""
        made = kind(self._guarded(function, stopped))
        self._kept.append(made)
        return made

    def progress(self, report: Optional[Callable[[str, int, int], Any]] = None) -> _abi.krait_progress:
        """A krait_progress that lets Ctrl-C in; `report(what, done, total)`, if given, stops by returning False."""
        if report is not None and not callable(report):
            raise TypeError(f"progress: expected a function, found {type(report).__name__}")

        def told(_user: Any, what: bytes, done: int, total: int) -> bool:
            return report is None or report(what.decode(), done, total) is not False

        return _abi.krait_progress(report=self.wrap(_abi.krait_progress_report, told))

    def _on_signal(self, number: int, frame: Any) -> None:
        if self._inside:
            self._handlers[number](number, frame)
        else:
            self._pending = number

    def _deliver(self) -> None:
        if self._pending is not None:
            number, self._pending = self._pending, None
            self._handlers[number](number, None)

    def _hold_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._on_signal)

    def _release_signals(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._deliver()

    def run(self, function: Any, *arguments: Any) -> None:
        """call() with these callbacks."""
        self._hold_signals()
        try:
            call(function, *arguments)
        except errors.Error:
            if self._raised is None:
                raise
        finally:
            self._release_signals()
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised


class Standing:
    """A krait_progress of an object that lives longer than one call: it asks the Callbacks of the call that runs."""

    def __init__(self) -> None:
        self._current = current = [Callbacks()]
        self.progress = _abi.krait_progress(report=_abi.krait_progress_report(lambda *_: current[0].ask()))

    def begin(self, callbacks: Optional[Callbacks] = None) -> Callbacks:
        self._current[0] = Callbacks() if callbacks is None else callbacks
        return self._current[0]
