"""Pictures at addresses that strangers give: none reaches inside the server's own network unless its host was named.

Every address that a name stands for is looked at, and the connection goes to the one that was looked at; the same for
each address that an answer redirects to.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from urllib.parse import SplitResult, urljoin, urlsplit

from internimage.errors import RequestError

_REDIRECTS = 3
_CHUNK = 1 << 16
# IPv4 behind IPv6: translated by a gateway, or carried through a tunnel, to wherever the last bits say
_BEHIND = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))


def fetch(url: str, hosts: Sequence[str], most: int, deadline: float) -> bytes:
    """The bytes at an address.

    Args:
        url: http or https.
        hosts: that may be asked; "*" is any whose addresses are all public, on the usual ports.
        most: bytes.
        deadline: on the clock of :func:`time.monotonic`.

    Raises:
        RequestError: it may not be fetched, or cannot.
    """
    for _ in range(_REDIRECTS + 1):
        parts, address, port = _allowed(url, hosts)
        try:
            connection = _connect(parts, address, port, deadline)
            try:
                target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
                connection.request("GET", target, headers={"User-Agent": "internimage", "Accept": "image/*, */*;q=0.1"})
                answer = connection.getresponse()
                if answer.status in (301, 302, 303, 307, 308) and (where := answer.getheader("Location")):
                    url = urljoin(url, where)
                    continue
                if answer.status != 200:
                    raise _refused(f"the server says {answer.status}")
                return _read(answer, most, deadline)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _refused(str(error) or type(error).__name__) from error
    raise _refused(f"it was sent on more than {_REDIRECTS} times")


def _allowed(url: str, hosts: Sequence[str]) -> tuple[SplitResult, str, int]:
    """An address, taken apart, with the number to connect to."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise _refused(str(error)) from error
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
        raise _refused("expected http or https, a host, and no password")
    named = host in hosts or f"{host}:{port}" in hosts
    if not named and ("*" not in hosts or port not in (80, 443)):
        raise _forbidden(host)
    try:
        found = [str(row[4][0]) for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise _refused(f"{host} is not known") from error
    if not found or not (named or all(map(is_public, found))):
        raise _forbidden(host)
    return parts, found[0], port


def is_public(address: str) -> bool:
    """Whether a number is one of the open internet's, and not that of something behind it."""
    number = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(number, ipaddress.IPv6Address):
        if number.ipv4_mapped is not None:
            number = number.ipv4_mapped
        elif any(number in network for network in _BEHIND):
            return False
    return number.is_global and not number.is_multicast


def _connect(parts: SplitResult, address: str, port: int, deadline: float) -> http.client.HTTPConnection:
    left = max(0.01, deadline - time.monotonic())
    plain = socket.create_connection((address, port), timeout=left)
    connection = http.client.HTTPConnection(parts.hostname or "", port, timeout=left)
    try:
        connection.sock = plain
        if parts.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
    except BaseException:
        plain.close()
        raise
    return connection


def _read(answer: http.client.HTTPResponse, most: int, deadline: float) -> bytes:
    content = bytearray()
    while chunk := answer.read1(_CHUNK):
        content += chunk
        if len(content) > most:
            raise RequestError(413, "too_large", "the picture at the address is larger than a request may be")
        if time.monotonic() > deadline:
            raise _refused("it took too long")
    return bytes(content)


def _refused(why: str) -> RequestError:
    return RequestError(422, "bad_url", f"the address cannot be fetched: {why}")


def _forbidden(host: str) -> RequestError:
    return RequestError(403, "forbidden_url", f"addresses of {host} are not fetched (--url-hosts names those that are)")
