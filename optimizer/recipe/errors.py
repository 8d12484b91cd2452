"""Turns pydantic's complaints about a recipe into one sentence: line, key, what is allowed."""

from __future__ import annotations

import difflib
import json
import re
from typing import Any

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, model: type[BaseModel], source: str, text: str = "") -> str:
    """One sentence about the first thing that is wrong.

    Args:
        error: What pydantic found.
        model: The model of the whole recipe.
        source: The recipe's name for the sentence.
        text: Its TOML text, searched for the line.
    """
    first = error.errors(include_url=False)[0]
    keys = [part for part in first["loc"] if isinstance(part, str)]
    line = find_line(text, keys)
    at = f"{source}, line {line}" if line else source
    if first["type"] == "extra_forbidden":
        return f"{at}: {_unknown(keys, model)}"
    return f"{at}: {_wrong_value(keys, first['input'], first['msg'])}"


def did_you_mean(word: str, allowed: list[str]) -> str:
    """``did you mean 'linear'?``, or nothing where no allowed word is near."""
    near = difflib.get_close_matches(word, allowed, n=1)
    return f"did you mean '{near[0]}'? " if near else ""


def _unknown(keys: list[str], model: type[BaseModel]) -> str:
    allowed = allowed_keys(keys[:-1], model)
    hint = did_you_mean(keys[-1], allowed)
    where = f"[{'.'.join(keys[:-1])}] allows" if keys[:-1] else "a recipe has"
    kind = "key" if keys[:-1] else "section"
    listed = ", ".join(allowed)
    return f"unknown {kind} '{'.'.join(keys)}'; {hint}{where}: {listed}."


def _wrong_value(keys: list[str], value: Any, message: str) -> str:
    message = message.removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    name = ".".join(keys)
    if isinstance(value, dict):
        return f"[{name}]: {message}."
    return f"{name} = {json.dumps(value, ensure_ascii=False)} is not allowed: {message}."


def allowed_keys(section: list[str], model: type[BaseModel]) -> list[str]:
    """The keys of a section, as TOML spells them."""
    for key in section:
        annotation = model.model_fields[key].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return list(model.model_fields)


def find_line(text: str, keys: list[str]) -> int | None:
    """The line of a TOML text that sets a key, or opens its section; None where none is found.

    Knows ``[section]`` headers, ``key = value`` below them and ``section.key = value``.
    """
    if not keys:
        return None
    header: list[str] = []
    opened: int | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if match := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            header = _split(match.group(1))
            if header == keys[: len(header)]:
                opened = number
            if header == keys:
                return number
        elif (match := re.match(r"\s*([\w\"'. -]+?)\s*=", line)) and (
            [*header, *_split(match.group(1))][: len(keys)] == keys
        ):
            return number
    return opened


def _split(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]
