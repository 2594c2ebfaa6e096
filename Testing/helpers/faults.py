"""Damaged inputs on purpose: mutants of sound files of every format, each read in a child, and what came of it.

A mutant must end in one clear line, or be read as an independent reader reads it, within bounded time and memory.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from PartialOrganSegLib.errors import UserError
from Testing.helpers.listener import Listener

CLEAR, RIGHT, WRONG, OWN_WORDS, LINES, HANG, MEMORY, CRASH = (
    "clear", "accepted rightly", "accepted wrongly", "own words", "several lines", "hang", "memory", "crash")
OUTCOMES = (CLEAR, RIGHT, WRONG, OWN_WORDS, LINES, HANG, MEMORY, CRASH)
BAD = OUTCOMES[2:]
SECONDS, MEMORY_MIB = 60.0, 1500  # a mutant may take; memory beyond what the process had
ADDRESS_SPACE = 16 << 30  # where a runaway is stopped
_PYTHONS_WORDS = re.compile(r"\b[A-Z]\w*(Error|Exception)\b:|object has no attribute|object is not|NoneType|Traceback|"
                            r"unexpected keyword|not subscriptable|codec can't|unsupported operand|invalid literal|"
                            r"could not convert|is not iterable|is not callable|cannot unpack|to unpack|out of range|"
                            r"positional argument|must be real number|division by zero|cannot be interpreted|"
                            r"embedded null")

Mutate = Callable[[bytes, np.random.Generator], bytes]
Attempt = Callable[[Path, Listener], object]


@dataclasses.dataclass(frozen=True)
class Seed:
    """A sound input. `make` writes it into a folder and returns the file that is mutated; `attempt` reads the input and
    returns what can be compared; `independent`: what another reader makes of the mutant, None where there is none."""

    name: str
    make: Callable[[Path], Path]
    attempt: Attempt
    mutate: Mutate
    independent: Callable[[Path], object] | None = None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One mutant's `outcome`, and what was said or why."""

    outcome: str
    text: str
    seconds: float


# Values that have broken readers: signs, zeros, overflow of 32 bits, what Python takes for a number and YAML for text.
NUMBERS = (b"-1", b"0", b"1e300", b"nan", b"inf", b"99999999999", b"", b"-0.0", b"1e-30", b"9" * 5000, b"2147483648",
           b"0x10", b"1,5", b"65536")
WORDS = (b"", b"\0", b"\x1b[31m", b"../../etc/passwd", b"/dev/zero", b"%n%s", b"A" * 70_000, b"\xff\xfe", b"null",
         b"[]", b"{}", b"true", b"[" * 2000, b"\n", b"*a", b"&a", b"!!python/name:os.system", b"=1+1", b"2020-99-99",
         "ü€".encode())


def mutate_bytes(raw: bytes, rng: np.random.Generator, limit: int | None = None) -> bytes:
    """Bits turned, bytes replaced, cut, doubled or filled; `limit`: only in the first bytes."""
    data = bytearray(raw)
    end = len(data) if limit is None else min(limit, len(data))
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(0, max(end, 1)))
        kind = int(rng.integers(0, 6))
        length = int(rng.choice([1, 2, 4, 8]))
        if kind == 0 and place < len(data):
            data[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[place:place + length] = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
        elif kind == 2:
            data[place:place + length] = bytes([int(rng.choice([0, 255, 127]))]) * length
        elif kind == 3:
            del data[int(rng.integers(0, len(data) + 1)):]
        elif kind == 4:
            data[place:place] = data[place:place + int(rng.integers(1, 200))]
        else:
            del data[place:place + length]
    return bytes(data)


def mutate_text(raw: bytes, rng: np.random.Generator) -> bytes:
    """Numbers, words and lines of a text replaced, doubled, swapped or taken away; at times its bytes."""
    if rng.random() < 0.15:
        return mutate_bytes(raw, rng)
    for _ in range(int(rng.integers(1, 3))):
        kind = int(rng.integers(0, 5))
        lines = raw.split(b"\n")
        place = int(rng.integers(0, len(lines)))
        if kind == 0:
            raw = _replaced(raw, rb"-?\d+(\.\d+)?", NUMBERS, rng)
        elif kind == 1:
            raw = _replaced(raw, rb"[\w./-]+", WORDS, rng)
        elif kind == 2:
            raw = b"\n".join(lines[:place] + lines[place + 1:])
        elif kind == 3:
            raw = b"\n".join([*lines[:place + 1], *lines[place:]])
        else:
            raw = _replaced(raw, rb"[\[\]{}:,\"'=]", (b"", b"[", b"}", b":", b"\""), rng)
    return raw


def mutate_header(raw: bytes, rng: np.random.Generator) -> bytes:
    """The text header of a NRRD or MetaImage file; its voxels follow as they are."""
    end = raw.find(b"\n\n")
    if raw.startswith(b"ObjectType"):
        end = raw.find(b"\n", raw.find(b"ElementDataFile"))
    end = len(raw) if end < 0 else end
    return mutate_text(raw[:end], rng) + raw[end:]


def _replaced(raw: bytes, pattern: bytes, by: tuple[bytes, ...], rng: np.random.Generator) -> bytes:
    matches = list(re.finditer(pattern, raw[:200_000]))
    if not matches:
        return raw
    match = matches[int(rng.integers(0, len(matches)))]
    return raw[:match.start()] + by[int(rng.integers(0, len(by)))] + raw[match.end():]


def sound_result(seed: Seed, folder: Path) -> object:
    """What the sound input is read as; the line of the error for one that is refused, as a structure set given as a CT
    is."""
    try:
        return seed.attempt(seed.make(folder), Listener())
    except UserError as error:
        return str(error)


def verdict_of(seed: Seed, folder: Path, number: int, original: object) -> Verdict:
    """Makes mutant `number` of a seed in `folder` and reads it in a child; `original`: what the sound input gives."""
    file = seed.make(folder)
    # The number alone makes the same mutant again, on any machine.
    rng = np.random.default_rng([number, *seed.name.encode()])
    file.write_bytes(seed.mutate(file.read_bytes(), rng))
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _in_child(seed, file, original, reading, writing)
    os.close(writing)
    answer = b""
    hung = False
    with os.fdopen(reading, "rb") as stream:
        remaining = SECONDS
        while remaining > 0:
            if select.select([stream], [], [], remaining)[0]:
                piece = os.read(stream.fileno(), 1 << 16)
                if not piece:
                    break
                answer += piece
            remaining = SECONDS - (time.monotonic() - began)
        else:
            hung = True
            os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - began
    if hung:
        return Verdict(HANG, "", seconds)
    if os.WIFSIGNALED(status) or not answer:
        return Verdict(CRASH, f"signal {os.WTERMSIG(status)}", seconds)
    outcome, text, base = json.loads(answer)
    if usage.ru_maxrss // 1024 - base > MEMORY_MIB:
        outcome = MEMORY
    return Verdict(outcome, text, seconds)


def _in_child(seed: Seed, file: Path, original: object, reading: int, writing: int) -> None:
    """Never returns: reads the mutant and writes what came of it to the pipe."""
    os.close(reading)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    # Crashes are expected: no core file for each.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        outcome, text = _outcome(seed, file, original)
    except BaseException:
        outcome, text = OWN_WORDS, traceback.format_exc()[-1500:]
    os.write(writing, json.dumps([outcome, text[:60_000], base]).encode())
    os._exit(0)


def _outcome(seed: Seed, file: Path, original: object) -> tuple[str, str]:
    listener = Listener()
    try:
        result = seed.attempt(file, listener)
    except UserError as error:
        line = str(error)
        if "\n" in line or not line.isprintable():
            return LINES, line
        if _PYTHONS_WORDS.search(line):
            return OWN_WORDS, line
        return CLEAR, line
    except BaseException as error:
        return OWN_WORDS, "".join(traceback.format_exception(error))[-1500:]
    # Read with a warning, or as the sound file: nobody is misled.
    if listener.warnings or _equal(result, original):
        return RIGHT, "; ".join(listener.warnings)
    if seed.independent is None or _equal(result, seed.independent(file)):
        return RIGHT, ""
    return WRONG, str(result)[:300]


def _equal(first: object, second: object) -> bool:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.shape == second.shape and bool(np.array_equal(first, second, equal_nan=True))
    if isinstance(first, tuple) and isinstance(second, tuple):
        return len(first) == len(second) and all(map(_equal, first, second))
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return False
    if isinstance(first, float) and isinstance(second, float):
        return bool(np.isclose(first, second, rtol=1e-4, atol=1e-3, equal_nan=True))
    return type(first) is type(second) and bool(first == second)
