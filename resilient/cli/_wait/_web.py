"""Ask a web server for one page, with the standard library, and say whether its answer counts.

Loaded when a target is http:// or https://, and not before. Redirects are answers; proxies are passed by.
"""

from __future__ import annotations

import base64
import http.client
import socket
from time import monotonic
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from ..._handshakes import dial
from ..._handshakes._answer import stranger
from ..._handshakes._wire import open_connection
from ..._scrub import scrub
from ...endpoint import DEFAULT_PORTS, Endpoint
from ...errors import NotServingError

LONGEST_BODY: Final = 1_048_576
"""Bytes of an answer in which a text is looked for."""

_NOBODY_BEHIND: Final = frozenset({502, 503, 504})
"""What a gateway says of a server behind it that does not serve (RFC 9110, 15.6)."""
_FINE: Final = frozenset(range(200, 400))


class Page:
    """A page that is asked for, and what has to come back."""

    def __init__(self, url: str, endpoint: Endpoint, statuses: frozenset[int] | None, body: str | None) -> None:
        self._endpoint = endpoint
        parts = urlsplit(url)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        names_one = self._path != "/"
        self._statuses = _FINE if statuses is None and names_one else statuses
        self._body = None if body is None else body.encode()
        self._headers = {"Host": _host(endpoint), "User-Agent": "resilient", "Accept": "*/*", "Connection": "close"}
        if parts.username is not None:
            account = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
            self._headers["Authorization"] = f"Basic {base64.b64encode(account).decode()}"

    def __call__(self, timeout: float) -> None:
        """Ask once.

        Raises:
            NotServingError: something answered, and it does not count.
            OSError: nobody did.
        """
        deadline = monotonic() + timeout
        connection = open_connection(self._endpoint, timeout, dial)
        client = http.client.HTTPConnection("resilient")
        try:
            client.sock = self._secured(connection)
            client.sock.settimeout(max(0.01, deadline - monotonic()))
            client.request("GET", self._path, headers=self._headers)
            answer = client.getresponse()
            self._judge(answer.status, answer.reason)
            if self._body is not None and self._body not in _body_of(answer, client.sock, deadline):
                raise NotServingError(f"HTTP {answer.status}, and the text is not in the body", "not_ready")
        except http.client.HTTPException as error:
            if isinstance(error, OSError):  # it hung up
                raise
            said = getattr(error, "line", "").encode("latin-1", "replace")
            who = stranger(said, True)
            what = who.text if said and who is not None else type(error).__name__
            raise NotServingError(f"it is not {self._endpoint.scheme}: {what}", "wrong_protocol") from None
        finally:
            client.close()
            connection.close()

    def _judge(self, status: int, reason: str) -> None:
        fine = status not in _NOBODY_BEHIND if self._statuses is None else status in self._statuses
        if not fine:
            raise NotServingError(scrub(f"HTTP {status} {reason}".rstrip()), "not_ready")

    def _secured(self, connection: socket.socket) -> socket.socket:
        if self._endpoint.scheme != "https":
            return connection
        import ssl

        host = (self._endpoint.host or "localhost").partition("%")[0]
        return ssl.create_default_context().wrap_socket(connection, server_hostname=host)


def _body_of(answer: http.client.HTTPResponse, connection: socket.socket | None, deadline: float) -> bytes:
    said = b""
    while len(said) < LONGEST_BODY and (left := deadline - monotonic()) > 0:
        if connection is not None and connection.fileno() >= 0:
            connection.settimeout(left)
        part = answer.read1(LONGEST_BODY - len(said))
        if not part:
            break
        said += part
    return said


def _host(endpoint: Endpoint) -> str:
    host = (endpoint.host or "localhost").partition("%")[0]
    host = host if host.isascii() else host.encode("idna").decode()
    host = f"[{host}]" if ":" in host else host
    usual = endpoint.port is None or DEFAULT_PORTS.get(endpoint.scheme) == endpoint.port
    return host if usual else f"{host}:{endpoint.port}"
