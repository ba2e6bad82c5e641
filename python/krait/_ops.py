"""The calls of krait/ops.h: what krait.ops (numpy) and krait.torch share. Arrays come as they are, with a function `take(array, name, shape,
complex)` that checks one and gives (address, stride, stride, stride, stride) in floats, filled up with zeros.

Each thread keeps the memory of its arguments, filled in by one struct.pack_into: a call costs a few microseconds."""
import ctypes
import struct
import threading
from ctypes import CFUNCTYPE, c_int, c_void_p
from typing import Any, Callable, Dict, List, Sequence, Tuple, Type

from . import _abi, errors
from ._library import lib

Taken = Tuple[int, int, int, int, int]
Take = Callable[..., Taken]
NONE: Taken = (0, 0, 0, 0, 0)

_LETTERS = {ctypes.c_size_t: "N", ctypes.c_bool: "?", ctypes.c_void_p: "P", ctypes.c_float: "f"}


def _format(kind: Type[ctypes.Structure]) -> struct.Struct:
    """The layout of a structure of words, flags and arrays, for pack_into."""
    letters = ["@"]
    for field in kind._fields_:
        name, type_ = field[0], field[1]
        letters.append("P4n" if type_ in (_abi.krait_input, _abi.krait_output) else _LETTERS[type_])
    return struct.Struct("".join(letters) + "0P")


class _Arguments:
    """A structure in memory of its own."""

    def __init__(self, kind: Type[ctypes.Structure]) -> None:
        layout = _format(kind)
        if layout.size != ctypes.sizeof(kind):
            raise ImportError(f"krait: {kind.__name__} has {ctypes.sizeof(kind)} bytes, its layout {layout.size}")
        self._memory = ctypes.create_string_buffer(layout.size)
        self.address = ctypes.addressof(self._memory)
        self._pack = layout.pack_into

    def put(self, *values: Any) -> int:
        self._pack(self._memory, 0, *values)
        return self.address


class _Local(threading.local):
    def __init__(self) -> None:
        self.scan = _Arguments(_abi.krait_selective_scan)
        self.scan_gradients = _Arguments(_abi.krait_selective_scan_gradients)
        self.update = _Arguments(_abi.krait_state_update)
        self.conv = _Arguments(_abi.krait_causal_conv1d)
        self.conv_gradients = _Arguments(_abi.krait_causal_conv1d_gradients)
        self.norm = _Arguments(_abi.krait_rms_norm)
        self.norm_gradients = _Arguments(_abi.krait_rms_norm_gradients)
        self.options = _abi.krait_op_options()
        self.options_address = ctypes.addressof(self.options)
        self.error = _abi.krait_error()
        self.error_address = ctypes.addressof(self.error)


_local = _Local()


def _function(name: str, n: int) -> Any:
    """A function of the library whose arguments are all addresses."""
    return CFUNCTYPE(c_int, *[c_void_p] * n)((name, lib))


_scan_forward = _function("krait_selective_scan_forward", 3)
_scan_backward = _function("krait_selective_scan_backward", 4)
_state_update = _function("krait_selective_state_update", 3)
_conv_forward = _function("krait_causal_conv1d_forward", 3)
_conv_backward = _function("krait_causal_conv1d_backward", 4)
_norm_forward = _function("krait_rms_norm_forward", 3)
_norm_backward = _function("krait_rms_norm_backward", 4)


def _call(local: _Local, function: Any, threads: int, *structures: int) -> None:
    local.options.threads = threads
    status = function(*structures, local.options_address, local.error_address)
    if status:
        raise errors.of_status(status, local.error.message.decode(errors="replace"))


def _dims(array: Any, name: str, *allowed: int) -> Sequence[int]:
    try:
        shape: Sequence[int] = array.shape
    except AttributeError:
        raise TypeError(f"{name}: expected an array, found {type(array).__name__}") from None
    if len(shape) not in allowed:
        raise errors.ArgumentError(f"{name}: expected {' or '.join(map(str, allowed))} dimensions, found shape {list(shape)}")
    return shape


def check_starts(starts: Any, length: int, batch: int) -> Tuple[Any, int]:
    """Boundaries of sequences in a row, as the library wants them."""
    if starts is None:
        return None, 0
    values = [int(s) for s in starts]
    if batch != 1:
        raise errors.ArgumentError(f"starts: expected a batch of 1 with sequences in one row, found a batch of {batch}")
    if len(values) < 2 or values[0] != 0 or values[-1] != length or any(b < a for a, b in zip(values, values[1:])):
        raise errors.ArgumentError(f"starts: expected ascending positions from 0 to {length}, found {values[:8]}{'...' if len(values) > 8 else ''}")
    return (ctypes.c_size_t * len(values))(*values), len(values) - 1


def _optional(take: Take, array: Any, name: str, shape: Tuple[int, ...], is_complex: bool = False) -> Taken:
    return NONE if array is None else take(array, name, shape, is_complex)


class Scan:
    """The sizes and inputs of a selective scan, checked. `op(...)` makes the structure, valid until the thread's next."""

    __slots__ = ("batch", "dim", "length", "n", "groups", "n_states", "starts", "n_sequences", "is_complex", "softplus", "_inputs",
                 "_more", "_flags", "B_shape", "C_shape")

    def __init__(self, take: Take, u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, delta_bias: Any, softplus: bool,
                 initial_state: Any, starts: Any, is_complex: bool) -> None:
        self.batch, self.dim, self.length = batch, dim, length = _dims(u, "u", 3)
        n = _dims(A, "A", 2)[1]
        self.n, self.is_complex, self.softplus = n, is_complex, softplus
        self.starts, self.n_sequences = check_starts(starts, length, batch)
        self.n_states = self.n_sequences if starts is not None else batch
        self.groups = 1
        self.B_shape, B_taken = self._varying(take, B, "B")
        self.C_shape, C_taken = self._varying(take, C, "C")
        whole = (batch, dim, length)
        self._inputs = (*take(u, "u", whole, False), *take(delta, "delta", whole, False), *take(A, "A", (dim, n), is_complex), *B_taken,
                        *C_taken)
        self._flags = (len(self.B_shape) == 2, len(self.C_shape) == 2, is_complex, softplus)
        self._more = (*_optional(take, D, "D", (dim,)), *_optional(take, z, "z", whole), *_optional(take, delta_bias, "delta_bias", (dim,)),
                      *_optional(take, initial_state, "initial_state", (self.n_states, dim, n), is_complex))

    def _varying(self, take: Take, array: Any, name: str) -> Tuple[Tuple[int, ...], Taken]:
        """B or C: [dim, n], [batch, n, length], [batch, groups, n, length]."""
        shape = _dims(array, name, 2, 3, 4)
        if len(shape) == 2:
            return (self.dim, self.n), take(array, name, (self.dim, self.n), self.is_complex)
        if len(shape) == 3:
            wanted: Tuple[int, ...] = (self.batch, self.n, self.length)
            address, s0, s1, s2, _ = take(array, name, wanted, self.is_complex)
            return wanted, (address, s0, 0, s1, s2)
        groups = shape[1]
        if groups < 1 or self.dim % groups:
            raise errors.ArgumentError(f"{name}: expected groups that divide dim {self.dim}, found {groups}")
        if self.groups not in (1, groups):
            raise errors.ArgumentError(f"{name}: expected {self.groups} groups as of B, found {groups}")
        self.groups = groups
        wanted = (self.batch, groups, self.n, self.length)
        return wanted, take(array, name, wanted, self.is_complex)

    def op(self, local: _Local, out: Taken = NONE, last_state: Taken = NONE, saved: int = 0) -> int:
        return local.scan.put(self.batch, self.dim, self.length, self.n, self.groups,
                              ctypes.addressof(self.starts) if self.starts is not None else 0, self.n_sequences, *self._inputs, *self._flags,
                              *self._more, *out, *last_state, saved)

    def saved_floats(self) -> int:
        """Of what the forward pass may keep for the backward pass."""
        self.op(_local)
        return int(lib.krait_selective_scan_saved(ctypes.cast(_local.scan.address, ctypes.POINTER(_abi.krait_selective_scan))))

    def forward(self, take: Take, out: Any, last_state: Any, saved: int, threads: int) -> None:
        local = _local
        op = self.op(local, take(out, "out", (self.batch, self.dim, self.length), False),
                     _optional(take, last_state, "last_state", (self.n_states, self.dim, self.n), self.is_complex), saved)
        _call(local, _scan_forward, threads, op)

    def backward(self, take: Take, dout: Any, dlast_state: Any, gradients: Dict[str, Any], saved: int, threads: int) -> None:
        """gradients: arrays to write, by the names of the inputs; those that are None are not wanted."""
        local, whole, states = _local, (self.batch, self.dim, self.length), (self.n_states, self.dim, self.n)
        shapes: List[Tuple[str, Tuple[int, ...], bool]] = [
            ("u", whole, False), ("delta", whole, False), ("z", whole, False), ("A", (self.dim, self.n), self.is_complex),
            ("B", self.B_shape, self.is_complex), ("C", self.C_shape, self.is_complex), ("D", (self.dim,), False),
            ("delta_bias", (self.dim,), False), ("initial_state", states, self.is_complex)]
        taken: List[int] = []
        for name, shape, is_complex in shapes:
            one = _optional(take, gradients.get(name), "d" + name, shape, is_complex)
            if len(shape) == 3 and name in "BC":
                one = (one[0], one[1], 0, one[2], one[3])
            taken += one
        packed = local.scan_gradients.put(*take(dout, "dout", whole, False), *_optional(take, dlast_state, "dlast_state", states, self.is_complex),
                                          *taken)
        _call(local, _scan_backward, threads, self.op(local, saved=saved), packed)


def state_update(take: Take, state: Any, x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, z: Any, dt_bias: Any, softplus: bool, out: Any,
                 threads: int) -> None:
    batch, dim, n = _dims(state, "state", 3)
    taken = []
    groups = 1
    for array, name in ((B, "B"), (C, "C")):
        shape = _dims(array, name, 2, 3)
        if len(shape) == 2:
            address, s0, s1, _, _ = take(array, name, (batch, n), False)
            taken.append((address, s0, 0, s1, 0))
        else:
            if groups not in (1, shape[1]) or shape[1] < 1 or dim % shape[1]:
                raise errors.ArgumentError(f"{name}: expected groups that divide dim {dim}, the same for B and C, found {shape[1]}")
            groups = shape[1]
            taken.append(take(array, name, (batch, groups, n), False))
    row = (batch, dim)
    local = _local
    op = local.update.put(batch, dim, n, groups, *take(state, "state", (batch, dim, n), False), *take(x, "x", row, False),
                          *take(dt, "dt", row, False), *take(A, "A", (dim, n), False), *taken[0], *taken[1],
                          *_optional(take, D, "D", (dim,)), *_optional(take, dt_bias, "dt_bias", (dim,)), *_optional(take, z, "z", row),
                          softplus, *take(out, "out", row, False))
    _call(local, _state_update, threads, op)


class Conv:
    """The sizes and inputs of a causal convolution, checked."""

    __slots__ = ("batch", "dim", "length", "width", "n_states", "starts", "n_sequences", "silu", "_inputs", "_initial")

    def __init__(self, take: Take, x: Any, weight: Any, bias: Any, silu: bool, initial_state: Any, starts: Any) -> None:
        self.batch, self.dim, self.length = batch, dim, length = _dims(x, "x", 3)
        self.width = width = _dims(weight, "weight", 2)[1]
        if not 1 <= width <= 16:
            raise errors.ArgumentError(f"weight: expected a width of 1 .. 16, found {width}")
        self.silu = silu
        self.starts, self.n_sequences = check_starts(starts, length, batch)
        self.n_states = self.n_sequences if starts is not None else batch
        self._inputs = (*take(x, "x", (batch, dim, length), False), *take(weight, "weight", (dim, width), False),
                        *_optional(take, bias, "bias", (dim,)))
        self._initial = _optional(take, initial_state, "initial_state", (self.n_states, dim, width - 1))

    def op(self, local: _Local, out: Taken = NONE, final_state: Taken = NONE) -> int:
        return local.conv.put(self.batch, self.dim, self.length, self.width,
                              ctypes.addressof(self.starts) if self.starts is not None else 0, self.n_sequences, *self._inputs, self.silu,
                              *self._initial, *out, *final_state)

    def forward(self, take: Take, out: Any, final_state: Any, threads: int) -> None:
        local = _local
        op = self.op(local, take(out, "out", (self.batch, self.dim, self.length), False),
                     _optional(take, final_state, "final_state", (self.n_states, self.dim, self.width - 1)))
        _call(local, _conv_forward, threads, op)

    def backward(self, take: Take, dout: Any, dfinal_state: Any, gradients: Dict[str, Any], threads: int) -> None:
        local, whole, states = _local, (self.batch, self.dim, self.length), (self.n_states, self.dim, self.width - 1)
        packed = local.conv_gradients.put(
            *take(dout, "dout", whole, False), *_optional(take, dfinal_state, "dfinal_state", states),
            *_optional(take, gradients.get("x"), "dx", whole), *_optional(take, gradients.get("weight"), "dweight", (self.dim, self.width)),
            *_optional(take, gradients.get("bias"), "dbias", (self.dim,)),
            *_optional(take, gradients.get("initial_state"), "dinitial_state", states))
        _call(local, _conv_backward, threads, self.op(local), packed)


def norm_forward(take: Take, x: Any, weight: Any, eps: float, out: Any, threads: int) -> None:
    rows, dim = _dims(x, "x", 2)
    local = _local
    op = local.norm.put(rows, dim, *take(x, "x", (rows, dim), False), *_optional(take, weight, "weight", (dim,)), eps,
                        *take(out, "out", (rows, dim), False))
    _call(local, _norm_forward, threads, op)


def norm_backward(take: Take, dout: Any, x: Any, weight: Any, eps: float, dx: Any, dweight: Any, threads: int) -> None:
    rows, dim = _dims(x, "x", 2)
    local = _local
    op = local.norm.put(rows, dim, *take(x, "x", (rows, dim), False), *_optional(take, weight, "weight", (dim,)), eps, *NONE)
    packed = local.norm_gradients.put(*take(dout, "dout", (rows, dim), False), *_optional(take, dx, "dx", (rows, dim)),
                                      *_optional(take, dweight, "dweight", (dim,)))
    _call(local, _norm_backward, threads, op, packed)


