"""What is wrong with a configuration, in words: in which table, and what could stand there instead."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

__all__ = ["explain"]

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_HAS_CHOICES = ("Invalid enum value", "Object contains unknown field")


def explain(error: msgspec.MsgspecError, given: Any, kind: type) -> str:
    """Return msgspec's message with the name of the table it is about, and the choices where there are some.

    Parameters
    ----------
    error : msgspec.MsgspecError
        What decoding or converting `given` into `kind` has raised.
    given : dict
        Tables of plain values.
    kind : type
        A msgspec.Struct.
    """
    message, _, place = str(error).partition(" - at `$")
    steps = [name or int(index) for name, index in _STEP.findall(place.rstrip("`"))]
    choices = _choices(msgspec.inspect.type_info(kind), steps) if message.startswith(_HAS_CHOICES) else []
    expected = f"; expected one of {', '.join(choices)}" if choices else ""
    return f"{error}{_named(given, steps)}{expected}"


def _named(given: Any, steps: Sequence[str | int]) -> str:
    """Name the table by its own name, where it has one: its number says little."""
    name = ""
    for step in steps:
        try:
            given = given[step]
        except (KeyError, IndexError, TypeError):
            break
        if isinstance(given, dict) and "name" in given:
            name = f" (name = {given['name']!r})"
    return name


def _choices(info: Any, steps: Sequence[str | int]) -> list[str]:
    """Return what may stand at a place: the keys of a table, or the values of a key that has only some."""
    for step in steps:
        if isinstance(info, msgspec.inspect.StructType):
            info = next((field.type for field in info.fields if field.encode_name == step), None)
        elif isinstance(info, msgspec.inspect.VarTupleType):
            info = info.item_type
    if isinstance(info, msgspec.inspect.StructType):
        return [field.encode_name for field in info.fields]
    if isinstance(info, msgspec.inspect.LiteralType):
        return [str(value) for value in info.values]
    if isinstance(info, msgspec.inspect.EnumType):
        return [str(member.value) for member in info.cls]
    return []
