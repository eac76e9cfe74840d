"""Which requests are let in, judged by their heads.

Any web page may send requests to a server of this machine, through the browser
that shows it; and with a domain name whose address it changes to 127.0.0.1, it
may read the responses. Browsers tell the name in Host, and where a request
comes from in Origin and Sec-Fetch-Site. Other clients need not send the last
two.
"""

import ipaddress
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from bert_tf.errors import InputError, quote
from bert_tf.server.protocol import RequestError

# Of the request line and the headers together.
HEAD_BYTES = 16 * 1024

DEFAULT_PORTS = {"http": "80", "https": "443"}

_AUTHORITY = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s\[\]:/@?#\\,]+))"
    r"(?::(?P<port>[0-9]{0,5}))?",
    re.ASCII,
)

Scope = Mapping[str, Any]


class Authority(NamedTuple):
    """A host and its port, "" where none is given."""

    name: str
    port: str


class Hosts(NamedTuple):
    """The hosts that requests may name.

    Attributes:
        names: those of the flag, besides the addresses of this machine.
        takes_any: whether other names are let in as well.
    """

    names: frozenset[str] = frozenset()
    takes_any: bool = False


def make_hosts(allowed: Iterable[str], address: str) -> Hosts:
    """The hosts of a server.

    Args:
        allowed: names, or lists of them with commas; * stands for any.
        address: that the server listens at. Without `allowed`, any name is
            taken unless only this machine can reach it.

    Raises:
        InputError: there is more in `allowed` than names.
    """
    names = [name.strip() for part in allowed for name in part.split(",")]
    found = set()
    for name in filter(None, names):
        host = parse_authority(name if name.count(":") < 2 else f"[{name}]")
        if host is None or host.port or name.endswith(":"):
            raise InputError(
                "`--allowed_hosts` must be names or addresses of hosts, "
                "without ports and separated by commas, or *. Received: "
                f"{quote(name)}"
            )
        found.add(host.name)
    is_open = not found and not is_loopback(address)
    return Hosts(frozenset(found - {"*"}), "*" in found or is_open)


def parse_authority(text: str) -> Authority | None:
    """The host and the port of a Host header; None if it is none."""
    match = _AUTHORITY.fullmatch(text)
    if not match:
        return None
    name = match["address"] or match["name"]
    # A dot at the end stands for the root of all domains.
    return Authority(name.lower().removesuffix("."), match["port"] or "")


def is_loopback(name: str) -> bool:
    """Whether a host is always this machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def with_path(scope: Scope) -> dict[str, Any]:
    """An ASGI scope whose path is one, also where the target was a URL.

    `GET http://host/path` is what a proxy is sent. Its host takes the place of
    the header (RFC 9112, 3.2.2).

    Raises:
        RequestError: 400, it is not a URL.
    """
    target = scope["raw_path"].decode("ascii")
    if not re.match("https?://", target, re.IGNORECASE):
        return dict(scope)
    try:
        parts = urllib.parse.urlsplit(target)
    except ValueError as error:
        raise RequestError(
            f"The target of the request is not a URL: {quote(target)}"
        ) from error
    path = parts.path or "/"
    others = [pair for pair in scope["headers"] if pair[0] != b"host"]
    host = (b"host", parts.netloc.encode("ascii"))
    return {
        **scope,
        "path": urllib.parse.unquote(path),
        "raw_path": path.encode("ascii"),
        "headers": [host, *others],
    }


def check(scope: Scope, hosts: Hosts) -> None:
    """Raises `RequestError` for a request that is not let in.

    Args:
        scope: of ASGI, from `with_path`.
        hosts: that it may name.
    """
    _check_framing(scope)
    host = _check_host(scope, hosts)
    _check_source(scope, hosts, host)


def _check_framing(scope: Scope) -> None:
    # The parser's own limit is for heads that arrive in several parts.
    size = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    size += len(scope["raw_path"]) + len(scope["query_string"])
    if size > HEAD_BYTES:
        raise RequestError(
            "The request line and the headers may not be longer than "
            f"{HEAD_BYTES // 1024} KiB. Received: {size} bytes",
            Connection="close",
        )
    names = {name for name, _ in scope["headers"]}
    if b"transfer-encoding" in names and scope["http_version"] == "1.0":
        raise RequestError(
            "A request of HTTP/1.0 may not have Transfer-Encoding.",
            Connection="close",
        )
    if names >= {b"transfer-encoding", b"content-length"}:
        # A proxy in front may have found another end of the request.
        raise RequestError(
            "A request may not have both Content-Length and Transfer-Encoding.",
            Connection="close",
        )


def _check_host(scope: Scope, hosts: Hosts) -> Authority | None:
    """The host that a request names; None for HTTP/1.0 without one."""
    given = _values(scope, b"host")
    if not given:
        return None
    host = parse_authority(given[0])
    own, _ = scope.get("server") or ("", None)
    if hosts.takes_any or (
        host and (is_loopback(host.name) or host.name in {own, *hosts.names})
    ):
        return host
    raise RequestError(
        f"This server does not answer for the host {quote(given[0])}; add it "
        "with --allowed_hosts if it should.",
        421,
    )


def _check_source(scope: Scope, hosts: Hosts, host: Authority | None) -> None:
    for origin in _values(scope, b"origin"):
        if not _is_own(origin, hosts, host):
            raise RequestError(
                "Web pages of other sites may not use this server; add the "
                "host with --allowed_hosts if it is a proxy in front. "
                f"Received: Origin {quote(origin)}",
                403,
            )
    for site in _values(scope, b"sec-fetch-site"):
        # The address bar has "none". A link to the page is harmless.
        if site in ("same-origin", "none") or _is_link(scope):
            continue
        raise RequestError(
            "Web pages of other sites may not use this server. Received: "
            f"Sec-Fetch-Site {quote(site)}",
            403,
        )


def _is_own(origin: str, hosts: Hosts, host: Authority | None) -> bool:
    scheme, _, rest = origin.partition("://")
    source, port = parse_authority(rest), DEFAULT_PORTS.get(scheme)
    if source is None or port is None:
        return False
    if source.name in hosts.names:
        return True
    # A proxy may have taken TLS off: only the hosts are compared.
    return host is not None and (
        (source.name, source.port or port) == (host.name, host.port or port)
    )


def _is_link(scope: Scope) -> bool:
    modes = _values(scope, b"sec-fetch-mode")
    is_read = scope["method"] in ("GET", "HEAD")
    return is_read and scope["path"] == "/" and modes == ["navigate"]


def _values(scope: Scope, name: bytes) -> list[str]:
    return [
        value.decode("latin-1").strip()
        for key, value in scope["headers"]
        if key == name
    ]
