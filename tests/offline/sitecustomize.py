"""Python stops at the first attempt to reach a network, if this folder is on PYTHONPATH: `make fast-notebooks`."""

import ipaddress
import socket
import sys


class NetworkError(BaseException):
    """Not an OSError, and no Exception at all, so that nothing falls back quietly on something else."""


def _is_local(host: object) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host)).is_loopback
    except ValueError:
        return False


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        own, address = arguments
        host = address[0] if isinstance(own, socket.socket) and own.family != getattr(socket, "AF_UNIX", None) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if not _is_local(host):
        raise NetworkError(f"expected no network, got {event} to {host}")


sys.addaudithook(_watch)
