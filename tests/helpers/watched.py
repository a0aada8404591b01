"""Programs run without a network, their system calls recorded: what they look up, connect to and write."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKING = (
    "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mknodat",
    "truncate", "unlink", "unlinkat", "rmdir",
)  # fmt: skip
SENDING = ("connect", "sendto", "sendmsg", "sendmmsg", "bind")
CALLS = ",".join(("open", "openat", "openat2", *MAKING, *SENDING))
LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)(?:<(.*)>)?")
FOLDER = re.compile(r'<([^<>]*)>, "(?:[^"\\]|\\.)*"[^"]*$')
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
NAMES = ("/etc/resolv.conf", "/etc/hosts")  # read by every look-up of a host, whatever its outcome
# what docs/security.md lists, below the home folder: matplotlib's list of fonts, which it keeps for every program, and
# the empty folder that Paddle makes
EXCEPTIONS = (".config", ".cache/matplotlib", ".cache/paddle")


@dataclass(frozen=True)
class Watched:
    """What a program did.

    `code` and `output` are how it ended, `network` the system calls that reached for the network, `writes` what it
    made or opened to write, `outside` those of them outside its run folder, our cache and the temporary folder.
    """

    code: int
    output: str
    network: list[str]
    writes: list[Path]
    outside: list[Path]


def require() -> None:
    """Skip the test where programs cannot be watched."""
    if not sys.platform.startswith("linux"):
        pytest.skip("strace and unshare are for Linux")
    for tool in ("strace", "unshare"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on this machine (apt-get install strace util-linux)")
    probe = [*_alone(), "strace", "-f", "-qq", "-e", "trace=network", "-o", os.devnull, "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this system does not allow unshare -n, or strace in it")


def _alone() -> list[str]:
    """The command that runs another one without a network; as an ordinary user in a user namespace."""
    return ["unshare", "-n"] if os.getuid() == 0 else ["unshare", "-rn"]


def watch(code: str, folder: Path, arguments: Sequence[str] = (), **environ: str) -> Watched:
    """Run Python `code` in `folder`/run, without a network, with `folder`/home and `folder`/tmp as its own.

    Nothing of the caller's environment goes along but PATH, so that no setting of the machine hides a leak.
    """
    home, run, tmp = (folder / name for name in ("home", "run", "tmp"))
    for path in (home, run, tmp):
        path.mkdir(parents=True, exist_ok=True)
    trace = folder / "trace.txt"
    env = {
        "PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(tmp), "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "LANG": "C.UTF-8",
    }  # fmt: skip
    strace = ["strace", "-f", "-qq", "-y", "--seccomp-bpf", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(trace)]
    command = [*_alone(), *strace, sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, cwd=run, env=env | environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    network, writes = _read(trace, run)
    cache = home / ".cache"
    allowed = (run, tmp, cache / "yolopose", Path("/dev"), Path("/proc"), *(home / name for name in EXCEPTIONS))
    outside = [path for path in writes if path != cache and not any(path.is_relative_to(place) for place in allowed)]
    return Watched(done.returncode, done.stdout, network, writes, outside)


def _read(trace: Path, cwd: Path) -> tuple[list[str], list[Path]]:
    """The calls of a trace that reach for the network, and the files and folders that were made or opened to write."""
    network, writes = [], set()
    for line in _whole(trace.read_text(errors="replace").splitlines()):
        found = LINE.match(line)
        if not found:
            continue
        call, arguments, result, opened = found.groups()
        paths = QUOTED.findall(arguments)
        if call in SENDING:
            network += [line] if _is_network(call, arguments) else []
        elif call in ("open", "openat", "openat2"):
            if paths and paths[0] in NAMES:
                network.append(line)
            if re.search(r"O_(WRONLY|RDWR|CREAT)", arguments) and opened and not opened.startswith("/memfd:"):
                writes.add(opened.removesuffix(" (deleted)"))
        elif call in MAKING and paths and result == "0":
            folder = FOLDER.search(arguments)  # of the last path, where a call names one by an open file
            writes.add(os.path.join(folder[1] if folder else "", paths[-1]))
    return network, sorted(Path(os.path.normpath(cwd / path)) for path in writes)


def _is_network(call: str, arguments: str) -> bool:
    """Whether a call reaches for an address, this machine's own too, or asks the name service's daemon for a host.

    A socket that is only made, or bound to this machine, as urllib3 does to see whether there is IPv6, is none.
    """
    if call == "bind":
        return "sa_family=AF_INET" in arguments and "127.0.0.1" not in arguments and '"::1"' not in arguments
    return "sa_family=AF_INET" in arguments or "hosts\\0" in arguments


def _whole(lines: Sequence[str]) -> list[str]:
    """The lines of a trace, calls that another thread interrupted put together again."""
    begun: dict[str, str] = {}
    out = []
    for line in lines:
        pid = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[pid] = line.removesuffix("<unfinished ...>").rstrip()
        elif (rest := re.search(r"<\.\.\. \w+ resumed>(.*)$", line)) and pid in begun:
            out.append(begun.pop(pid) + rest[1])
        else:
            out.append(line)
    return out
