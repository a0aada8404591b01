"""What every fuzz target stands on: mutations of bytes and of values, and a watch over what reading one input does.

A target is a function of one case (bytes, a dict, a path, …). It may return, or refuse with PoseError in one printable
line. It may not run code of the case, write or delete outside its own folder, open a connection, take more than
`CPU_SECONDS` of CPU time or `MEMORY` bytes, or raise anything else. Cases come from a seed, so that each can be made
again: `campaign` names seed and number of those that fail.
"""

from __future__ import annotations

import copy
import os
import random
import resource
import signal
import sys
import sysconfig
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from yolopose.errors import PoseError

T = TypeVar("T")

CPU_SECONDS, WALL_SECONDS = 5, 60  # the latter for what waits without computing
MEMORY = 1 << 30
MAX_MESSAGE = 2_000  # characters
CODE = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(__file__).resolve().parents[2]))
RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen",
        "pickle.find_class", "socket.connect", "socket.getaddrinfo", "socket.bind",
        "urllib.Request", "webbrowser.open", "os.startfile")  # fmt: skip
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
           "os.chown", "os.utime", "os.setxattr", "shutil.rmtree", "shutil.move", "shutil.unpack_archive")  # fmt: skip

# The number of cases: some in every test run, many in `make test-slow`.
many = pytest.mark.parametrize(
    "count", [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])]
)


class TooLong(BaseException):
    """No `except Exception` of a target holds it up."""


class _Watch:
    """What the process did since `folder` was set; None watches nothing."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.seen: list[str] = []

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        """The audit hook: it can never be taken out again, so it is one for the whole process."""
        if event == "marshal.loads" and sys._getframe(1).f_code.co_filename.startswith("<frozen importlib"):
            return  # a module that is imported at its first use
        if self.folder is not None and (told := self._judge(event, args, str(self.folder))):
            self.seen.append(told)

    @staticmethod
    def _judge(event: str, args: tuple[Any, ...], folder: str) -> str | None:
        if event in ("exec", "compile") and _importing():
            return None
        if event in RUNS:
            return f"{event} {args!r:.200}"
        if event == "exec" and not str(getattr(args[0], "co_filename", "")).startswith((*CODE, "<frozen")):
            return f"exec of {args[0]!r:.200}"
        if event == "compile" and args[1] not in (b"<unknown>", "<unknown>"):  # what `ast` parses, and never runs
            name = args[1].decode("utf-8", "replace") if isinstance(args[1], bytes) else str(args[1])
            return None if name.startswith(CODE) else f"compile of {name:.200}"
        if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            mode, flags = args[1], args[2]
            writes = any(letter in mode for letter in "wax+") if mode else bool(flags & (os.O_WRONLY | os.O_RDWR))
            return f"write to {args[0]!r:.200}" if writes and not _within(args[0], folder) else None
        if event in CHANGES and not _within(args[0], folder):
            return f"{event} {args!r:.200}"
        return None


def _importing() -> bool:
    """Whether a module is being imported for the first time, or the types of a class of ours are looked up."""
    frame = sys._getframe()
    while frame is not None and not frame.f_code.co_filename.endswith(("<frozen importlib._bootstrap>", "/typing.py")):
        frame = frame.f_back
    return frame is not None


def _within(path: Any, folder: str) -> bool:
    if isinstance(path, int):
        return True
    real = os.path.realpath(os.fsdecode(path))
    return real.startswith((folder, "/dev/")) or "__pycache__" in real


_watch = _Watch()
sys.addaudithook(_watch.hook)


@contextmanager
def _bounds() -> Iterator[None]:
    """Bounds of CPU time, of waiting and of memory; the runner's own timer goes on afterwards."""

    def stop(number: int, frame: Any) -> None:
        raise TooLong

    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    handlers = {number: signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)}
    left, started = signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)[0], time.monotonic()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, limits[1]))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - started), 0.001))


def run_one(target: Callable[[T], object], case: T, folder: Path) -> str | None:
    """Give `case` to `target` → what is wrong with how it took it, or None. It may write below `folder` only."""
    _watch.seen = []
    complaint = None
    try:
        with _bounds():
            _watch.folder = folder.resolve()
            try:
                target(case)
            finally:
                _watch.folder = None
    except PoseError as error:
        raw = str(error.args[0] if error.args else "")  # before it was made printable and cut
        complaint = wrong_message(str(error)) or (
            f"{len(raw)} characters for a message" if len(raw) > 100_000 else None
        )
    except TooLong:
        complaint = f"more than {CPU_SECONDS} s of computing or {WALL_SECONDS} s of waiting"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a crash is what is looked for
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "yolopose" in f.filename]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        complaint = f"{type(error).__name__} at {place}: {str(error)[:200]!r}"
    return "; ".join(dict.fromkeys(_watch.seen)) or complaint


def wrong_message(message: str) -> str | None:
    """What is wrong with the message of a refusal, or None."""
    if not message.strip():
        return "an empty message"
    if not message.isprintable():
        return f"more than one line, or control characters: {message[:200]!r}"
    if len(message) > MAX_MESSAGE:
        return f"a message of {len(message)} characters: {message[:200]!r}"
    return None


def campaign(
    target: Callable[[T], object], make: Callable[[random.Random], T], count: int, folder: Path, seed: int = 1
) -> None:
    """Try `count` cases of `make`, each from a generator of its own; fail with every kind of complaint, once."""
    found: dict[str, str] = {}
    for number in range(count):
        complaint = run_one(target, make(random.Random(f"{seed}-{number}")), folder)
        if complaint:
            found.setdefault(complaint[:60], f"seed '{seed}-{number}': {complaint}")
    assert not found, "\n".join(list(found.values())[:20])


NUMBERS = ("0", "-1", "1e400", "nan", "inf", "99999999", "18446744073709551616", "1" * 5000, "0x10", "1_0", "٣", "²")
BYTES = (b"", b"\0", b"\xff", b"\n", b"\x1b[31m", b"\xed\xa0\x80", "\u202e".encode(), b"\0" * 64, b"\xff" * 64)


def mutate(data: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """`data` with one to eight faults: bits, bytes, whole numbers, pieces lost, doubled, moved or from `others`."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        _fault(out, rng, others)
    return bytes(out)


def _fault(out: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    at = rng.randrange(len(out) + 1)
    span = min(rng.choice((1, 2, 4, 8, 64, 1024)), len(out) - at)
    match rng.randrange(8):
        case 0 if span:
            out[at] ^= 1 << rng.randrange(8)
        case 1 if span:
            out[at : at + span] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * span
        case 2:
            size = rng.choice((1, 2, 4, 8))
            value = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, len(out))) % (1 << 8 * size)
            out[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))
        case 3:
            del out[at : at + span]
        case 4:
            out[at:at] = out[at : at + span] * rng.choice((1, 2, 50))
        case 5:
            out[at : at + span] = rng.choice(BYTES)
        case 6:
            other = rng.choice(others) if others else bytes(out)
            start = rng.randrange(len(other) + 1)
            out[at : at + span] = other[start : start + rng.choice((1, 8, 256))]
        case _ if rng.random() < 0.2:
            del out[at:]
        case _:
            digits = [i for i in range(at, min(at + 400, len(out))) if 48 <= out[i] < 58]
            if digits:
                out[digits[0] : digits[0] + 1] = rng.choice(NUMBERS).encode()


def odd_value(rng: random.Random) -> Any:
    """A value of a wrong type or size."""
    return rng.choice(LARGE)() if rng.random() < 0.2 else rng.choice(SMALL)()


def _doubling() -> list[Any]:
    """2^40 references to one text."""
    value: list[Any] = ["x" * 1000]
    for _ in range(40):
        value = [value, value]
    return value


def _deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(150):
        value = [value]
    return value


LARGE: tuple[Callable[[], Any], ...] = (
    _doubling, _deep, lambda: "x" * 100_000, lambda: list(range(20_000)), lambda: dict.fromkeys(range(20_000), "c"),
    lambda: 10**400,
)  # fmt: skip
PLAIN = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 2**70, -(2**70), 0.5, -0.0, 1e-320, 1e308, float("inf"),
    float("nan"), "", "0", "nan", "a\nb\x1b[31m\u202e\udce9", "nn.SiLU()", b"bytes",
)  # fmt: skip
SMALL: tuple[Callable[[], Any], ...] = (
    *(partial(copy.copy, value) for value in PLAIN), list, lambda: [[]], dict, lambda: {0: 0}, lambda: {"": None},
    lambda: [None], lambda: [0, 0], lambda: [-1, -1], lambda: [1e400, 3], lambda: [10**9, 3], lambda: [3_000_000, 2],
    lambda: ["a", "b"], lambda: {"a": {"b": {"c": []}}},
)  # fmt: skip


def confuse(tree: Any, rng: random.Random, odd: Callable[[random.Random], Any] = odd_value) -> Any:
    """A copy of a tree of dicts, lists and plain values in which one to three places hold something else."""
    out = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder, key = _place(out, rng)
        match rng.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.insert(key, holder[key])
            case 1:
                holder[odd_key(rng)] = holder[key]
            case _:
                holder[key] = odd(rng)
        if not isinstance(out, dict | list) or not out:
            break
    return out


def odd_key(rng: random.Random) -> Any:
    """A key that no reader expects."""
    return rng.choice((0, -1, 2**62, "", "\n", "x" * 5000, "names", "\x1b[31m"))


def _place(tree: Any, rng: random.Random) -> tuple[Any, Any]:
    """A container within a tree and one of its keys, at a random depth."""
    holder = tree
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = rng.choice(keys)
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.4:
            return holder, key
        holder = inner
