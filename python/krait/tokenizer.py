"""Text and token ids."""
import contextlib
import ctypes
from ctypes import byref, c_char_p, c_size_t, c_void_p
from typing import Any, Optional, Sequence

import numpy as np

from . import _abi, errors
from ._arrays import Ids, Int32, address, c_string, token_ids, truth, utf8, whole
from ._callbacks import Callbacks
from ._handle import Handle
from ._library import call, lib, path_bytes


class Tokenizer(Handle):
    """Byte pair encoding as a tokenizer.json or a GGUF file describes it. Immutable: any number of threads may use one."""

    _free = "krait_tokenizer_free"

    @classmethod
    def load(cls, path: Any) -> "Tokenizer":
        """A tokenizer.json, a folder that has one, or a GGUF file. FileError, FormatError; UnsupportedError for other kinds of tokenizers."""
        self, handle = cls(), c_void_p()
        call(lib.krait_tokenizer_load, byref(handle), path_bytes(path))
        self._adopt(handle)
        return self

    @classmethod
    def _of_checkpoint(cls, checkpoint: Any) -> "Tokenizer":
        self, handle = cls(), c_void_p()
        call(lib.krait_tokenizer_create, byref(handle), checkpoint)
        self._adopt(handle)
        return self

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        with self._in_use() as pointer:
            return int(lib.krait_tokenizer_vocab_size(pointer))

    def __len__(self) -> int:
        return self.vocab_size

    @property
    def fingerprint(self) -> int:
        """The same for tokenizers that give the same ids the same bytes."""
        with self._in_use() as pointer:
            return int(lib.krait_tokenizer_fingerprint(pointer))

    def encode(self, text: Any, special: bool = True) -> Int32:
        """The ids [n] of a str, or of bytes. With special=False text that spells a special token is ordinary text."""
        data, ids, n = utf8(text, "text"), c_void_p(), c_size_t()
        options = _abi.krait_encode_options(no_special=not truth(special, "special"))
        with self._in_use() as pointer:
            call(lib.krait_tokenizer_encode, pointer, data, len(data), byref(options), byref(ids), byref(n))
        if not n.value:
            return np.zeros(0, np.int32)
        try:
            return np.frombuffer(ctypes.string_at(ids.value or 0, 4 * n.value), np.int32)
        finally:
            lib.krait_free(ids)

    def decode_bytes(self, ids: Ids, special: bool = False) -> bytes:
        """The bytes of tokens; special ones are left out unless special=True. A character cut in half stays so."""
        array, text, length = token_ids(ids), c_void_p(), c_size_t()
        special = truth(special, "special")
        with self._in_use() as pointer:
            call(lib.krait_tokenizer_decode, pointer, address(array), array.size, special, byref(text), byref(length))
        try:
            return ctypes.string_at(text.value or 0, length.value) if length.value else b""
        finally:
            lib.krait_free(text)

    def decode(self, ids: Ids, special: bool = False) -> str:
        """The same as text; what is no UTF-8 becomes U+FFFD."""
        return self.decode_bytes(ids, special).decode("utf-8", "replace")

    def token(self, id: int) -> bytes:
        """The bytes of one token."""
        length = c_size_t()
        with self._in_use() as pointer:
            text = lib.krait_tokenizer_token(pointer, whole(id, "id", -2**31, 2**31 - 1), byref(length))
            if text is None:
                raise errors.ArgumentError(f"id: expected one of a token, 0 .. {self.vocab_size - 1}, found {id}")
            return ctypes.string_at(text, length.value)

    def id(self, token: Any) -> Optional[int]:
        """The id of a token given by its bytes, special ones included; None: there is none."""
        data = utf8(token, "token")
        with self._in_use() as pointer:
            found = int(lib.krait_tokenizer_id(pointer, data, len(data)))
        return None if found < 0 else found

    def is_special(self, id: int) -> bool:
        with self._in_use() as pointer:
            return bool(lib.krait_tokenizer_is_special(pointer, whole(id, "id", -2**31, 2**31 - 1)))

    def decoder(self, special: bool = False) -> "Decoder":
        """Decodes token by token, giving out whole characters only."""
        return Decoder(self, special)

    def __repr__(self) -> str:
        return f"<krait.Tokenizer of {self.vocab_size} tokens>" if self._handle else "<krait.Tokenizer, closed>"


class Decoder(Handle):
    """A streaming decoder; Tokenizer.decoder() makes one. For one thread at a time."""

    _free = "krait_decoder_free"

    def __init__(self, tokenizer: Tokenizer, special: bool = False) -> None:
        super().__init__()
        self._tokenizer = contextlib.ExitStack()  # is to outlive it
        handle = c_void_p()
        with contextlib.ExitStack() as stack:
            pointer = stack.enter_context(tokenizer._in_use())
            call(lib.krait_decoder_create, byref(handle), pointer, truth(special, "special"))
            self._tokenizer = stack.pop_all()
        self._adopt(handle)

    def close(self) -> None:
        super().close()
        if hasattr(self, "_tokenizer") and not self._users:
            self._tokenizer.close()

    def _text(self, function: Any, *arguments: Any) -> str:
        text, length = c_void_p(), c_size_t()
        with self._in_use(alone=True) as pointer:
            call(function, pointer, *arguments, byref(text), byref(length))
            return ctypes.string_at(text.value or 0, length.value).decode("utf-8") if length.value else ""

    def push(self, id: int) -> str:
        """What can be shown after this token: often nothing."""
        return self._text(lib.krait_decoder_push, whole(id, "id", -2**31, 2**31 - 1))

    def flush(self) -> str:
        """What is left at the end; the decoder is then as new."""
        return self._text(lib.krait_decoder_flush)


KINDS = {"bpe": _abi.KRAIT_TOKENIZER_BPE, "bytes": _abi.KRAIT_TOKENIZER_BYTES, "characters": _abi.KRAIT_TOKENIZER_CHARACTERS}


def strings(texts: Optional[Sequence[Any]], name: str) -> Any:
    """An array of C strings, or None."""
    if texts is None:
        return None
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"{name}: expected a list of texts, found {type(texts).__name__}")
    return (c_char_p * len(texts))(*[c_string(t, f"{name}[{i}]") for i, t in enumerate(texts)])


def train_tokenizer(path: Any, texts: Optional[Sequence[Any]] = None, *, kind: str = "bpe", vocab_size: int = 8192,
                    special: Optional[Sequence[str]] = None, nfc: bool = False, digits: bool = False, crlf: bool = False,
                    alphabet: Optional[str] = None, include: Optional[Sequence[str]] = None,
                    exclude: Optional[Sequence[str]] = None, threads: int = 0, progress: Any = None) -> Tokenizer:
    """Writes a tokenizer.json at `path`, and loads it.

    kind: "bpe", byte-level byte pair encoding learned from `texts` (files and folders); "bytes", a token for each byte; "characters", one
    for each of `alphabet` (DNA, proteins). special: texts of special tokens; None: <|endoftext|> alone. include, exclude: patterns of the
    names of files in folders. progress(what, done, total): False stops."""
    if kind not in KINDS:
        raise errors.ArgumentError(f"kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    if (kind == "bpe") != (texts is not None):
        raise errors.ArgumentError(f"texts: expected {'some' if kind == 'bpe' else 'none'} for kind {kind!r}")
    callbacks = Callbacks()
    paths = strings([path_bytes(t) for t in texts] if texts is not None else None, "texts")
    kept = strings(include, "include"), strings(exclude, "exclude"), strings(special, "special")
    corpus = _abi.krait_corpus(paths=ctypes.cast(paths, c_void_p), n_paths=len(paths) if paths else 0,
                               include=ctypes.cast(kept[0], c_void_p), n_include=len(include or []),
                               exclude=ctypes.cast(kept[1], c_void_p), n_exclude=len(exclude or []), crlf=truth(crlf, "crlf"))
    training = _abi.krait_tokenizer_training(
        kind=KINDS[kind], vocab_size=whole(vocab_size, "vocab_size", 1), nfc=truth(nfc, "nfc"), digits=truth(digits, "digits"),
        special=ctypes.cast(kept[2], c_void_p), n_special=len(special or []), no_special=special is not None and not special,
        alphabet=None if alphabet is None else c_string(alphabet, "alphabet"), threads=whole(threads, "threads", 0, 1024),
        progress=callbacks.progress(progress))
    callbacks.run(lib.krait_tokenizer_train, path_bytes(path), byref(corpus) if paths else None, byref(training), None)
    return Tokenizer.load(path)
