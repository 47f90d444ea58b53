"""Damage for `benchmarks.fuzz_files`: what broken disks and copies do, and what an attacker would."""

import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from benchmarks.mutations import mutate

__all__ = ["damage"]

_BOUNDARIES = re.compile(
    rb"\x89HDF|OHDR|OCHK|TREE|SNOD|HEAP|GCOL|FRHP|FHDB|BTHD|BTLF|FAHD|FADB|EAHD|EAIB|MQ1,|%%%%|MAP |\x93NUMPY"
)
"""Where a structure of one of the formats begins: files are cut there, and damaged just behind."""
_NUMBERS = (0, 1, 2, 7, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_HDF5 = (".h5", ".nxs", ".hspy", ".emd")


def damage(folder: Path, rng: random.Random) -> str:
    """Damage one of a folder's files in one or two ways; return what was done, for people."""
    done = []
    for _ in range(rng.choice((1, 1, 2))):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not files:
            break
        path = rng.choice(files)
        ways = _BYTES + (_OBJECTS if path.suffix in _HDF5 and rng.random() < 0.5 else ())
        if rng.random() < 0.1:
            ways = _WHOLE
        done.append(f"{path.name}: {rng.choice(ways)(path, rng)}")
    return "; ".join(done)


def _cut(path: Path, rng: random.Random) -> str:
    data = path.read_bytes()
    at = rng.choice([0, len(data) - 1, *(found.start() for found in _BOUNDARIES.finditer(data))])
    at = at if rng.random() < 0.5 else rng.randrange(len(data) + 1)
    path.write_bytes(data[:at])
    return f"cut at {at}"


def _flip(path: Path, rng: random.Random) -> str:
    at = _place(data := bytearray(path.read_bytes()), rng)
    if at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return f"a bit of byte {at}"


def _number(path: Path, rng: random.Random) -> str:
    at, size = _place(data := bytearray(path.read_bytes()), rng), rng.choice((1, 2, 4, 4, 8, 8))
    at -= at % size if rng.random() < 0.7 else 0
    value = rng.choice(_NUMBERS) % (1 << 8 * size)
    data[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))
    path.write_bytes(data)
    return f"{value} in the {size} bytes at {at}"


def _zeros(path: Path, rng: random.Random) -> str:
    """Lose a block, as disks do."""
    at, size = _place(data := bytearray(path.read_bytes()), rng), rng.choice((16, 64, 512, 4096))
    n = len(data[at : at + size])
    data[at : at + n] = bytes(n)
    path.write_bytes(data)
    return f"{n} zeros at {at}"


def _any(path: Path, rng: random.Random) -> str:
    data = path.read_bytes()
    path.write_bytes(mutate(data, [data], rng))
    return "mutated as a message"


def _place(data: bytearray, rng: random.Random) -> int:
    starts = [found.start() for found in _BOUNDARIES.finditer(data)] if rng.random() < 0.4 else []
    if starts:
        return min(rng.choice(starts) + rng.randrange(64), len(data))
    return rng.randrange(min(len(data), 600) if rng.random() < 0.4 else len(data)) if data else 0


def _delete(path: Path, rng: random.Random) -> str:
    path.unlink()
    return "deleted"


def _rename(path: Path, rng: random.Random) -> str:
    path.rename(path.with_name(f"copy_of_{path.name}"))
    return "renamed"


def _folder(path: Path, rng: random.Random) -> str:
    path.unlink()
    path.mkdir()
    return "a folder in its place"


def _other(path: Path, rng: random.Random) -> str:
    other = rng.choice(sorted(each for each in path.parent.iterdir() if each.is_file()))
    if other != path:
        shutil.copy(other, path)
    return f"replaced by {other.name}"


def _objects(
    path: Path, change: Callable[[h5py.File, list[str], random.Random], str], rng: random.Random
) -> str:
    try:
        with h5py.File(path, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            return change(file, sorted(set(names) | set(_links(file))), rng)
    except Exception as error:  # damaged already
        return f"nothing ({type(error).__name__})"


def _links(file: h5py.File) -> Iterator[str]:
    data = file.get("entry/data")
    if isinstance(data, h5py.Group):
        yield from (f"entry/data/{name}" for name in data)


def _removed(file: h5py.File, names: list[str], rng: random.Random) -> str:
    del file[name := rng.choice(names)]
    return f"{name} removed"


def _relinked(file: h5py.File, names: list[str], rng: random.Random) -> str:
    name = rng.choice(names)
    del file[name]
    own = Path(file.filename).name
    link = rng.choice([
        h5py.SoftLink(f"/{name}"),
        h5py.SoftLink("/nowhere"),
        h5py.ExternalLink(own, f"/{name}"),
        h5py.ExternalLink(own, "/"),
        h5py.ExternalLink("nowhere.h5", f"/{name}"),
        h5py.ExternalLink("", f"/{name}"),
        h5py.ExternalLink("/dev/null", f"/{name}"),
        h5py.ExternalLink("../../../../etc/passwd", f"/{name}"),
        h5py.ExternalLink("n" * 5000, f"/{name}"),
        h5py.SoftLink("/".join(names[:1])),
    ])  # fmt: skip
    file[name] = link
    return f"{name} is {link!r} to {getattr(link, 'filename', '')[:40]!r} {link.path[:60]!r}"


_VALUES = (
    np.zeros((0, 9, 13), "<u2"),
    np.zeros((3, 0, 13), "<u2"),
    np.zeros((9, 13), "<u2"),
    np.ones((2, 2, 2, 9, 13), "<u2"),
    np.ones((5, 9, 13), "<f8"),
    np.ones((5, 9, 13), "<c8"),
    np.ones((5, 9, 13), "?"),
    np.ones((5, 13, 9), "<u2"),
    np.ones((5, 9, 13), [("a", "<u2"), ("b", "<f4")]),
    np.full((5, 9, 13), b"text"),
    np.float64("nan"),
    np.int64(-1),
    np.uint64(2**64 - 1),
    b"\xff\xfe text",
    h5py.Empty("f4"),
    np.zeros(0),
    "text",
)


def _replaced(file: h5py.File, names: list[str], rng: random.Random) -> str:
    name, value = rng.choice(names), rng.choice(_VALUES)
    attributes = dict(file[name].attrs) if name in file else {}
    del file[name]
    file[name] = value
    for key, kept in attributes.items():
        file[name].attrs[key] = kept
    return f"{name} is {value!r:.40} of shape {getattr(value, 'shape', '')}"


def _resized(file: h5py.File, names: list[str], rng: random.Random) -> str:
    """Declare a dataset of any size, and write no chunk of it."""
    name = rng.choice(names)
    shape = rng.choice(
        [(2**40, 9, 13), (5, 2**20, 2**20), (5, 2**31, 4), (2**62, 1, 1), (5, 9, 13), (1, 1, 1)]
    )
    chunks = rng.choice([(1, *(min(n, 2**10) for n in shape[1:])), (1, 1, 1), None])
    del file[name]
    if chunks is None and np.prod([float(n) for n in shape]) > 1e6:
        chunks = (1, 1, 1)
    file.create_dataset(name, shape, "<u2", chunks=chunks, fillvalue=rng.choice((None, 7)))
    return f"{name} is an unwritten dataset {shape} in chunks {chunks}"


def _unfilled(file: h5py.File, names: list[str], rng: random.Random) -> str:
    """Write a dataset anew, but for one of its rows."""
    stacks = [name for name in names if isinstance(file.get(name), h5py.Dataset) and file[name].chunks]
    if not stacks:
        return "nothing"
    name = rng.choice(stacks)
    old = file[name]
    values, chunks, attributes = old[()], old.chunks, dict(old.attrs)
    del file[name]
    new = file.create_dataset(name, values.shape, values.dtype, chunks=chunks)
    left_out = rng.randrange(len(values))
    for row in range(len(values)):
        if row != left_out:
            new[row] = values[row]
    new.attrs.update(attributes)
    return f"row {left_out} of {name} was never written"


def _damaged_chunk(file: h5py.File, names: list[str], rng: random.Random) -> str:
    stacks = [name for name in names if isinstance(file.get(name), h5py.Dataset) and file[name].chunks]
    if not stacks:
        return "nothing"
    dataset = file[name := rng.choice(stacks)]
    if dataset.id.get_num_chunks() == 0:
        return "nothing"
    info = dataset.id.get_chunk_info(rng.randrange(dataset.id.get_num_chunks()))
    payload = bytes(dataset.id.read_direct_chunk(info.chunk_offset)[1])
    payload = rng.choice([b"", b"\0" * 40, payload[: len(payload) // 2], mutate(payload, [payload], rng)])
    dataset.id.write_direct_chunk(info.chunk_offset, payload, filter_mask=rng.choice((0, 0, 1)))
    return f"chunk {info.chunk_offset} of {name} is {len(payload)} other bytes"


def _attributes(file: h5py.File, names: list[str], rng: random.Random) -> str:
    nodes = [name for name in names if name in file and len(file[name].attrs)]
    if not nodes:
        return "nothing"
    attributes = file[where := rng.choice(nodes)].attrs
    name = rng.choice(sorted(attributes))
    del attributes[name]
    if rng.random() < 0.7:
        attributes[name] = value = rng.choice(_VALUES[9:])
        return f"attribute {name} of {where} is {value!r:.40}"
    return f"attribute {name} of {where} removed"


def _with(
    change: Callable[[h5py.File, list[str], random.Random], str],
) -> Callable[[Path, random.Random], str]:
    return lambda path, rng: _objects(path, change, rng)


_Way = Callable[[Path, random.Random], str]
_BYTES: tuple[_Way, ...] = (_cut, _flip, _flip, _number, _number, _number, _zeros, _any)
_WHOLE: tuple[_Way, ...] = (_delete, _rename, _folder, _other)
_OBJECTS: tuple[_Way, ...] = (
    tuple(
        _with(change)
        for change in (_removed, _relinked, _replaced, _resized, _unfilled, _damaged_chunk, _attributes)
    )
    * 2
)
