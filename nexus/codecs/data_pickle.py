"""Pickles that hold plain data and numpy arrays, read without unpickling: nothing is imported and nothing is called.

Python's unpickler calls what a file names and allocates what a file announces. Here `pickletools` splits the bytes
into instructions, and the few that data need are carried out on plain values; everything else is refused. Memory is
bounded by the size of the file.
"""

import io
import math
import pickletools
import re
import struct
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

_MOST_INSTRUCTIONS = 10_000
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
)
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = ("BINPUT", "LONG_BINPUT")
_GETS = ("BINGET", "LONG_BINGET")
_NUMBERS = re.compile(r"[ui][1248]|f[248]|b1")
_DTYPE, _NDARRAY = ("numpy", "dtype"), ("numpy", "ndarray")
_ARRAY_MAKERS = (("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"))
_SCALAR_MAKERS = (("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"))
_GLOBALS = (_DTYPE, _NDARRAY, *_ARRAY_MAKERS, *_SCALAR_MAKERS)


class Refused(ValueError):
    """A pickle of more than data."""


class _Global(tuple):
    """The name of something that a real unpickler would import."""


class _DType:
    def __init__(self, code: Any):
        self.code, self.order = code, "|"

    def build(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def numbers(self) -> np.dtype:
        if not isinstance(self.code, str) or not _NUMBERS.fullmatch(self.code) or self.order not in tuple("<>|="):
            raise Refused("an array of something else than numbers")
        return np.dtype(self.order + self.code)


class PickledArray:
    """An array as numpy pickles it: shape, type, order and bytes; an array of objects has a list of them."""

    def __init__(self, dtype: Any = None, content: Any = b""):
        self.shape, self.dtype, self.fortran, self.content = (), dtype, False, content

    def build(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, self.fortran, self.content = state

    def value(self) -> Any:
        """Raises ValueError where shape, type and bytes do not agree."""
        shape = self.shape
        if not isinstance(shape, tuple) or len(shape) > 8 or any(type(n) is not int or n < 0 for n in shape):
            raise Refused("an array without a shape")
        if not isinstance(self.dtype, _DType):
            raise Refused("an array without a type")
        if isinstance(self.content, list):
            if shape or len(self.content) != 1:
                raise Refused("an array of several objects")
            return self.content[0]
        dtype = self.dtype.numbers()
        if not isinstance(self.content, bytes) or len(self.content) != math.prod(shape) * dtype.itemsize:
            raise Refused("an array whose bytes do not fill its shape")
        return np.frombuffer(self.content, dtype).reshape(shape, order="F" if self.fortran else "C")


class _Machine:
    """The stack, the marks on it, and the memo of a pickle."""

    def __init__(self):
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self.stack.append(tuple(self.pop(_TUPLES[name])))
        elif name in _PUTS or name == "MEMOIZE":
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = self.stack[-1]
        elif name in _GETS:
            self.stack.append(self.memo[argument])
        elif name in _OTHERS:
            _OTHERS[name](self, argument)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise Refused(f"the instruction {name}")

    def pop(self, n: int) -> list[Any]:
        if n > len(self.stack) - (self.marks[-1] if self.marks else 0):
            raise Refused("an instruction on values that are not there")
        taken = self.stack[len(self.stack) - n :]
        del self.stack[len(self.stack) - n :]
        return taken

    def pop_marked(self) -> list[Any]:
        values = self.pop(len(self.stack) - self.marks[-1])
        self.marks.pop()
        return values

    def name(self, argument: Any) -> None:
        parts = argument.split(" ") if argument is not None else self.pop(2)
        if not all(isinstance(part, str) for part in parts) or tuple(parts) not in _GLOBALS:
            raise Refused(f"the name {'.'.join(str(part)[:40] for part in parts if isinstance(part, str))}")
        self.stack.append(_Global(parts))

    def reduce(self, _: Any) -> None:
        function, arguments = self.pop(2)
        if function == _DTYPE:
            self.stack.append(_DType(arguments[0]))
        elif function in _ARRAY_MAKERS:
            self.stack.append(PickledArray())
        elif function in _SCALAR_MAKERS:
            self.stack.append(PickledArray(*arguments))
        else:
            raise Refused("a call")

    def build(self, _: Any) -> None:
        (state,) = self.pop(1)
        target = self.stack[-1]
        if not isinstance(target, _DType | PickledArray) or not isinstance(state, tuple):
            raise Refused("the state of something else than an array")
        target.build(state)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        keys = items[::2]
        if type(target) is not dict or len(items) % 2 or not all(type(key) is str for key in keys):
            raise Refused("a table whose keys are not words")
        target.update(zip(keys, items[1::2], strict=True))

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise Refused("an item of no list")
        target.extend(items)


_OTHERS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_marked())),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "SETITEM": lambda machine, _: machine.set_items(machine.pop(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_marked()),
    "APPEND": lambda machine, _: machine.append(machine.pop(1)),
    "APPENDS": lambda machine, _: machine.append(machine.pop_marked()),
}


def read_data_pickle(data: bytes) -> Any:
    """Dictionaries with words as keys, lists, tuples, numbers, words, bytes, and arrays of numbers as they are.

    Arrays are given as `PickledArray`; their `value()` is the numpy array, or the one object of an array of objects.

    Raises:
        ValueError: a pickle of more than data, or a damaged one.
    """
    machine = _Machine()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of words with odd escapes, which are refused
            for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
                if count >= _MOST_INSTRUCTIONS:
                    raise Refused(f"over {_MOST_INSTRUCTIONS} instructions")
                machine.do(opcode.name, argument)
        (result,) = machine.stack
        return result
    except Refused as error:
        raise ValueError(f"its pickle holds more than data ({error}); it was not executed") from None
    except (ValueError, TypeError, LookupError, struct.error, OverflowError, EOFError, MemoryError) as error:
        raise ValueError(f"its pickle is damaged or cut short ({type(error).__name__})") from None
