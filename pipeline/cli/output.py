"""What the command line writes: results on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from typing import Any

__all__ = ["print_json", "say"]


def say(text: str) -> None:
    """Tell the user something, in one line on stderr; a progress bar stays whole."""
    from tqdm import tqdm

    with suppress(OSError):  # the terminal was closed: what goes on must not end of that
        tqdm.write(f"atomstream: {text}", file=sys.stderr)


def print_json(record: Mapping[str, Any]) -> None:
    """Write the last line of stdout."""
    print(json.dumps(_plain(record), ensure_ascii=False), flush=True)


def _plain(value: Any) -> Any:
    """Replace what JSON has no word for: NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
