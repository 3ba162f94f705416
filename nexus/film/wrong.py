"""What is wrong with a storyboard, in a sentence: the place in the file, what is allowed, and the nearest to it."""

import difflib
import re
import typing
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError


def broken(message: str) -> PydanticCustomError:
    """A broken rule, whose message is shown as it is."""
    return PydanticCustomError("broken_rule", "{message}", {"message": message})


def nearest(word: str, allowed: Sequence[str]) -> str:
    """The nearest of the allowed words, if one is near, and all of them."""
    if not allowed:
        return "there are none"
    close = difflib.get_close_matches(word, allowed, n=1, cutoff=0.5)
    known = f"there are {', '.join(allowed)}" if len(allowed) > 1 else f"there is only {allowed[0]}"
    return (f"did you mean {close[0]!r}? " if close else "") + known


def first_problem(error: ValidationError, model: type[BaseModel], where: str, tree: yaml.Node | None = None) -> str:
    """One sentence about the first error; a misspelt key comes before what is missing for its sake."""
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    detail = details[0]
    line = _line(tree, detail["loc"])
    place = _place(detail["loc"][:-1] if detail["type"] in ("extra_forbidden", "missing") else detail["loc"])
    more = f" (and {len(details) - 1} more)" if len(details) > 1 and details[1]["type"] != "missing" else ""
    return f"{where}{f', line {line}' if line else ''}: {f'{place}: ' if place else ''}{_say(detail, model)}{more}"


def _say(detail: ErrorDetails, model: type[BaseModel]) -> str:
    key = str(detail["loc"][-1]) if detail["loc"] else ""
    if detail["type"] == "extra_forbidden":
        return f"unknown key {key!r}; {nearest(key, _keys(model, detail['loc'][:-1]))}"
    if detail["type"] == "missing":
        return f"the key {key!r} is missing"
    message = detail["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if detail["type"] == "broken_rule":
        return message
    message = re.sub(r"a valid dictionary( or instance of \w+)?", "a mapping of keys to values", message)
    got = repr(detail["input"])
    return f"{message}, got {got if len(got) < 60 else got[:57] + '...'}"


def _place(loc: tuple[int | str, ...]) -> str:
    """("scenes", 1, "say", 0, "who") is "scene 2, say 1, who"."""
    words: list[str] = []
    for part in loc:
        if isinstance(part, int) and words:
            words[-1] = f"{'scene' if words[-1] == 'scenes' else words[-1]} {part + 1}"
        else:
            words.append(str(part))
    return ", ".join(words)


def _keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the mapping at `loc` may have."""
    hint: Any = model
    for part in loc:
        if isinstance(hint, type) and issubclass(hint, BaseModel) and part in hint.model_fields:
            hint = hint.model_fields[str(part)].annotation
        elif typing.get_origin(hint) in (list, dict):
            hint = typing.get_args(hint)[-1]
        hint = (
            next((arg for arg in typing.get_args(hint) if isinstance(arg, type) and issubclass(arg, BaseModel)), hint)
            if (typing.get_origin(hint) not in (list, dict))
            else hint
        )
    return list(hint.model_fields) if isinstance(hint, type) and issubclass(hint, BaseModel) else []


def _line(node: yaml.Node | None, loc: tuple[int | str, ...]) -> int | None:
    """The line of the file, from 1, on which the value at `loc` (or the last part of it that exists) is."""
    line = None
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            keys = {key.value: (key, value) for key, value in node.value}
            if str(part) not in keys:
                break
            key, node = keys[str(part)]
            line = _line_of(key) or line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = _line_of(node) or line
    return line


def _line_of(node: Any) -> int | None:
    return node.start_mark.line + 1 if node.start_mark else None
