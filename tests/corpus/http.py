"""HTTP and WebSocket."""

from __future__ import annotations

import base64
import socket
from typing import Any

from fake_servers import says, silence

from .entry import Answer, Book, Place


def _response(status: str, body: bytes = b"no\n", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n{headers}"
    return f"{head}Connection: close\r\n\r\n".encode() + body


CERTIFICATE = base64.b64decode(
    "MIIBNDCB2wIUJaGl0DCIm50KFMTAPUifyjAFl78wCgYIKoZIzj0EAwIwHDEaMBgGA1UEAwwRZWxzZXdoZXJlLmludmFsaWQwIBcN"
    "MjYxMTI1MTQ0NTM2WhgPMjEwMDEwMjgxNDQ1MzZaMBwxGjAYBgNVBAMMEWVsc2V3aGVyZS5pbnZhbGlkMFkwEwYHKoZIzj0CAQYI"
    "KoZIzj0DAQcDQgAEOrGmPkUspd59QZUWIW7ztBMWfcijrLRra7yHtWSodCQiYcHOTjujB3ZpzZwM1L2VbdQmYXfIIlMq9ugfIrZc"
    "KTAKBggqhkjOPQQDAgNIADBFAiBe42gor/OKMUDWQB+PkT6RibEu61D6n6FxcFmv7l1qVgIhAN+fGsnP+PEo2qFVPV6Mp+Otki8X"
    "0XDALjjBfdLH2Qys"
)
"""Of "elsewhere.invalid", signed by itself."""


def _message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def _show_certificate(connection: socket.socket) -> None:
    """Begin a handshake of TLS 1.2, as far as the certificate: at that the client gives up, so no key is needed."""
    connection.recv(65_536)
    agreed = b"\xc0\x2b\0" + b"\0\x05\xff\x01\0\x01\0"  # ECDHE-ECDSA-AES128-GCM-SHA256, renegotiation_info
    hello = _message(2, b"\x03\x03" + bytes(range(32)) + b"\0" + agreed)
    own = len(CERTIFICATE).to_bytes(3, "big") + CERTIFICATE
    flight = hello + _message(11, len(own).to_bytes(3, "big") + own)
    connection.sendall(b"\x16\x03\x03" + len(flight).to_bytes(2, "big") + flight)
    silence(connection)


LIE = b"[Errno 111] Connection refused"

# These leave the status to the caller, and their entry points say so in an error of their own.
PLAIN: dict[str, str | None] = dict.fromkeys(
    (
        "urllib3 PoolManager",
        "urllib3 HTTPConnectionPool",
        "httpcore ConnectionPool",
        "httpcore AsyncConnectionPool",
        "httpcore AsyncConnectionPool trio",
        "httplib2 Http",
        "pycurl Curl",
    )
)

web = Book(
    "http",
    answers=[
        Answer("unavailable", says(_response("503 Service Unavailable")), "not_ready", PLAIN),
        Answer(
            "who are you?",
            says(_response("401 Unauthorized", headers='WWW-Authenticate: Basic realm="things"\r\n')),
            "hopeless",
            PLAIN | {"urllib3 PoolManager status_forcelist": None},
        ),
        Answer("a quoted refusal", says(_response("500 Connection refused", LIE)), None),
        Answer("too many requests", says(_response("429 Too Many Requests")), None),
        Answer("a gateway times out", says(_response("504 Gateway Timeout", LIE)), None),
    ],
)
secure = Book(
    "https",
    answers=[
        Answer("no TLS here", says(_response("400 Bad Request")), "hopeless"),
        Answer(
            "a certificate of nobody known",
            _show_certificate,
            "hopeless",
            dict.fromkeys(("pycurl", "curl_cffi"), "skip"),  # they look at it after the whole handshake
        ),
        Answer("a handshake that fails", says(b"\x15\x03\x03\0\x02\x02\x28"), "hopeless"),
    ],
)
sockets = Book("websocket", answers=web.answers)

BOOKS = (web, secure, sockets)


def _url(place: Place, scheme: str = "http") -> str:
    return f"{scheme}://{place.netloc}/things"


class Refused(Exception):
    """The status was no good, where the client does not say so itself."""


# requests and urllib3.


@web.entry("requests get")
def _(place: Place) -> None:
    import requests

    requests.get(_url(place), timeout=place.timeout).raise_for_status()


@web.entry("requests Session post")
def _(place: Place) -> None:
    import requests

    with requests.Session() as session:
        session.post(_url(place), json={"a": 1}, timeout=place.timeout).raise_for_status()


@web.entry("requests Session with retries")
def _(place: Place) -> None:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=Retry(1, backoff_factor=0, status_forcelist=[503])))
        session.get(_url(place), timeout=place.timeout).raise_for_status()


@web.entry("requests through a proxy")
def _(place: Place) -> None:
    import requests

    proxies = {"http": f"http://{place.netloc}"}
    requests.get("http://things.invalid/", proxies=proxies, timeout=place.timeout).raise_for_status()


@secure.entry("requests get https")
def _(place: Place) -> None:
    import requests

    requests.get(_url(place, "https"), timeout=place.timeout).raise_for_status()


@web.entry("urllib3 PoolManager")
def _(place: Place) -> None:
    import urllib3

    with urllib3.PoolManager(timeout=place.timeout, retries=0) as pool:
        found = pool.request("GET", _url(place))
    raise Refused(f"status {found.status}")


@web.entry("urllib3 HTTPConnectionPool")
def _(place: Place) -> None:
    import urllib3

    with urllib3.HTTPConnectionPool(place.host, int(place.port), timeout=place.timeout, retries=False) as pool:
        found = pool.request("GET", "/things")
    raise Refused(f"status {found.status}")


@web.entry("urllib3 PoolManager status_forcelist")
def _(place: Place) -> None:
    import urllib3

    retries = urllib3.Retry(1, backoff_factor=0, status_forcelist=[503])
    with urllib3.PoolManager(timeout=place.timeout, retries=retries) as pool:
        found = pool.request("GET", _url(place))
    raise Refused(f"status {found.status}")


@secure.entry("urllib3 PoolManager https")
def _(place: Place) -> None:
    import urllib3

    with urllib3.PoolManager(timeout=place.timeout, retries=0) as pool:
        found = pool.request("GET", _url(place, "https"))
    raise Refused(f"status {found.status}")


# httpx and httpcore.


@web.entry("httpx get")
def _(place: Place) -> None:
    import httpx

    httpx.get(_url(place), timeout=place.timeout).raise_for_status()


@web.entry("httpx Client stream")
def _(place: Place) -> None:
    import httpx

    with httpx.Client(timeout=place.timeout) as client, client.stream("POST", _url(place), content=[b"a"]) as found:
        found.raise_for_status()


@web.entry("httpx HTTPTransport retries")
def _(place: Place) -> None:
    import httpx

    with httpx.Client(timeout=place.timeout, transport=httpx.HTTPTransport(retries=1)) as client:
        client.get(_url(place)).raise_for_status()


@secure.entry("httpx get https")
def _(place: Place) -> None:
    import httpx

    httpx.get(_url(place, "https"), timeout=place.timeout).raise_for_status()


async def _httpx(place: Place, scheme: str = "http") -> None:
    import httpx

    async with httpx.AsyncClient(timeout=place.timeout) as client:
        (await client.get(_url(place, scheme))).raise_for_status()


@web.entry("httpx AsyncClient")
async def _(place: Place) -> None:
    await _httpx(place)


@web.entry("httpx AsyncClient trio")
def _(place: Place) -> None:
    import trio

    trio.run(_httpx, place)


@secure.entry("httpx AsyncClient https")
async def _(place: Place) -> None:
    await _httpx(place, "https")


def _httpcore(place: Place) -> dict[str, Any]:
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), place.timeout)
    return {"method": "GET", "url": _url(place), "extensions": {"timeout": timeouts}}


@web.entry("httpcore ConnectionPool")
def _(place: Place) -> None:
    import httpcore

    with httpcore.ConnectionPool() as pool:
        found = pool.request(**_httpcore(place))
    raise Refused(f"status {found.status}")


async def _httpcore_async(place: Place) -> None:
    import httpcore

    async with httpcore.AsyncConnectionPool() as pool:
        found = await pool.request(**_httpcore(place))
    raise Refused(f"status {found.status}")


@web.entry("httpcore AsyncConnectionPool")
async def _(place: Place) -> None:
    await _httpcore_async(place)


@web.entry("httpcore AsyncConnectionPool trio")
def _(place: Place) -> None:
    import trio

    trio.run(_httpcore_async, place)


# aiohttp.


async def _aiohttp(place: Place, scheme: str = "http") -> None:
    import aiohttp

    limits = aiohttp.ClientTimeout(total=place.timeout * 2, connect=place.timeout, sock_read=place.timeout)
    async with (
        aiohttp.ClientSession(timeout=limits, raise_for_status=True) as session,
        session.get(_url(place, scheme)) as found,
    ):
        await found.read()


@web.entry("aiohttp ClientSession")
async def _(place: Place) -> None:
    await _aiohttp(place)


@secure.entry("aiohttp ClientSession https")
async def _(place: Place) -> None:
    await _aiohttp(place, "https")


@sockets.entry("aiohttp ws_connect")
async def _(place: Place) -> None:
    import aiohttp

    limits = aiohttp.ClientTimeout(total=place.timeout * 2, connect=place.timeout, sock_read=place.timeout)
    async with aiohttp.ClientSession(timeout=limits) as session, session.ws_connect(_url(place, "ws")):
        pass


# tornado.


def _tornado(place: Place, scheme: str = "http") -> Any:
    from tornado.httpclient import HTTPRequest

    return HTTPRequest(_url(place, scheme), connect_timeout=place.timeout, request_timeout=place.timeout)


@web.entry("tornado SimpleAsyncHTTPClient")
async def _(place: Place) -> None:
    from tornado.simple_httpclient import SimpleAsyncHTTPClient

    await SimpleAsyncHTTPClient(force_instance=True).fetch(_tornado(place))


@secure.entry("tornado SimpleAsyncHTTPClient https")
async def _(place: Place) -> None:
    from tornado.simple_httpclient import SimpleAsyncHTTPClient

    await SimpleAsyncHTTPClient(force_instance=True).fetch(_tornado(place, "https"))


@web.entry("tornado CurlAsyncHTTPClient")
async def _(place: Place) -> None:
    from tornado.curl_httpclient import CurlAsyncHTTPClient

    await CurlAsyncHTTPClient(force_instance=True).fetch(_tornado(place))


@web.entry("tornado HTTPClient")
def _(place: Place) -> None:
    from tornado.httpclient import HTTPClient

    client = HTTPClient()
    try:
        client.fetch(_tornado(place))
    finally:
        client.close()


@sockets.entry("tornado websocket_connect")
async def _(place: Place) -> None:
    from tornado.websocket import websocket_connect

    (await websocket_connect(_tornado(place, "ws"))).close()


# WebSocket.


@sockets.entry("websockets connect")
async def _(place: Place) -> None:
    from websockets.asyncio.client import connect

    # As an iterator it would try again by itself; awaited, it does not.
    await (await connect(_url(place, "ws"), open_timeout=place.timeout)).close()


@sockets.entry("websockets sync connect")
def _(place: Place) -> None:
    from websockets.sync.client import connect

    connect(_url(place, "ws"), open_timeout=place.timeout).close()


@sockets.entry("websockets legacy connect")
async def _(place: Place) -> None:
    from websockets.legacy.client import connect

    await (await connect(_url(place, "ws"), open_timeout=place.timeout)).close()


@sockets.entry("websocket-client create_connection")
def _(place: Place) -> None:
    import websocket

    websocket.create_connection(_url(place, "ws"), timeout=place.timeout).close()


@sockets.entry("websocket-client WebSocketApp")
def _(place: Place) -> None:
    import websocket

    told: list[Exception] = []
    websocket.setdefaulttimeout(place.timeout)
    app = websocket.WebSocketApp(_url(place, "ws"), on_error=lambda _, error: told.append(error))
    app.run_forever()
    raise told[0]


# curl.


@web.entry("pycurl Curl")
def _(place: Place) -> None:
    import io

    import pycurl

    curl = pycurl.Curl()
    try:
        curl.setopt(pycurl.URL, _url(place))
        curl.setopt(pycurl.TIMEOUT_MS, int(place.timeout * 1000))
        curl.setopt(pycurl.WRITEDATA, io.BytesIO())
        curl.perform()
        status = curl.getinfo(pycurl.RESPONSE_CODE)
    finally:
        curl.close()
    raise Refused(f"status {status}")


@secure.entry("pycurl Curl https")
def _(place: Place) -> None:
    import io

    import pycurl

    curl = pycurl.Curl()
    try:
        curl.setopt(pycurl.URL, _url(place, "https"))
        curl.setopt(pycurl.TIMEOUT_MS, int(place.timeout * 1000))
        curl.setopt(pycurl.WRITEDATA, io.BytesIO())
        curl.perform()
    finally:
        curl.close()


@web.entry("curl_cffi get")
def _(place: Place) -> None:
    from curl_cffi import requests

    requests.get(_url(place), timeout=place.timeout).raise_for_status()


@secure.entry("curl_cffi get https")
def _(place: Place) -> None:
    from curl_cffi import requests

    requests.get(_url(place, "https"), timeout=place.timeout).raise_for_status()


@web.entry("curl_cffi AsyncSession")
async def _(place: Place) -> None:
    from curl_cffi import requests

    async with requests.AsyncSession() as session:
        (await session.get(_url(place), timeout=place.timeout)).raise_for_status()


@sockets.entry("curl_cffi WebSocket")
async def _(place: Place) -> None:
    from curl_cffi import requests

    async with requests.AsyncSession(timeout=place.timeout) as session:
        await (await session.ws_connect(_url(place, "ws"))).close()


@web.entry("httplib2 Http")
def _(place: Place) -> None:
    import httplib2

    found, _ = httplib2.Http(timeout=place.timeout).request(_url(place))
    raise Refused(f"status {found.status}")
