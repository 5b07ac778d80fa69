"""Python stops at the first attempt to reach a network, if this folder is on PYTHONPATH: `make fast-notebooks`.

So do the Python processes that it starts, which must have this folder on theirs. Other programs are not started, but
for those in `HARMLESS`. Not seen is what compiled code does by itself, without Python's sockets and processes.
"""

import ipaddress
import os
import re
import shutil
import socket
import sys
from pathlib import Path

# What platform, matplotlib's fonts and ctypes.util start.
HARMLESS = {"uname", "fc-list", "system_profiler", "ldconfig", "gcc", "cc", "ld", "objdump"}
_FOLDER = str(Path(__file__).parent)
_ADDRESSES = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getnameinfo")
_NAMES = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_PROGRAMS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn")
_BARE = re.compile("-[a-zA-Z]*[EIS][a-zA-Z]*")  # options of Python that leave out PYTHONPATH, or this file


class NetworkError(BaseException):
    """Not an OSError, and no Exception at all, so that nothing falls back quietly on something else."""


def _is_local(host: object) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host)).is_loopback
    except ValueError:
        return False


def _stays_local(program: object, command: object, environment: object) -> bool:
    """Whether a program is a harmless one, or Python with this file."""
    if Path(os.fsdecode(program)).name in HARMLESS:
        return True
    found = shutil.which(program)
    path = (os.environ if environment is None else environment).get("PYTHONPATH", "")
    return (
        found is not None
        and os.path.samefile(found, sys.executable)
        and _FOLDER in path.split(os.pathsep)
        and not any(_BARE.fullmatch(os.fsdecode(part)) for part in command[1:])
    )


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event in _ADDRESSES:
        *own, address = arguments
        unix = own and own[0].family == getattr(socket, "AF_UNIX", None)
        target = address[0] if address and not unix else None
        local = _is_local(target)
    elif event in _NAMES:
        target = arguments[0]
        local = _is_local(target)
    elif event in _PROGRAMS:
        target, command, *_, environment = arguments[1:] if event == "os.spawn" else arguments
        local = _stays_local(target, command, environment)
    elif event in ("os.system", "os.startfile"):
        target, local = arguments[0], False
    else:
        return
    if not local:
        raise NetworkError(f"expected no network, got {event} to {target}")


sys.addaudithook(_watch)
