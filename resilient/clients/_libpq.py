"""What the clients of PostgreSQL share: where libpq would connect to, and a URL as libpq reads it."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from ..endpoint import Endpoint
from ..errors import TargetError

SCHEMES: Final = ("cockroachdb", "pgsql", "postgis", "postgres", "postgresql", "psql", "redshift")
"""The schemes of URLs that people write for a server that speaks PostgreSQL's protocol."""


def find(known: Mapping[str, object]) -> Endpoint:
    """Return where libpq would connect to with these settings, its environment included; the first of several hosts.

    Raises:
        TargetError: that is not known.
    """
    known = {key: value for key, value in known.items() if value is not None and value != ""}
    if "service" in known and not known.keys() & {"host", "hostaddr"}:
        raise TargetError("the target is a service of a file that only libpq reads; give guard() a target")
    host = first(
        known.get("hostaddr")
        or known.get("host")
        or os.environ.get("PGHOSTADDR")
        or os.environ.get("PGHOST")
        or _default_host()
    )
    return at(host, first(known.get("port") or os.environ.get("PGPORT") or "5432"))


def at(host: str, port: str) -> Endpoint:
    """Return the endpoint of a host or of a directory of unix sockets.

    Raises:
        TargetError: it is neither.
    """
    if not port.isdecimal():
        raise TargetError("the target has a port that is no number")
    if host.startswith("/"):
        return Endpoint(scheme="unix", path=f"{host.rstrip('/')}/.s.PGSQL.{int(port)}")
    return Endpoint(scheme="postgresql", host=host, port=int(port))


def redirect(
    endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a connect that go to this endpoint: by name, they count more than a connection string."""
    if endpoint.path is not None:
        folder, _, name = endpoint.path.rpartition("/")
        return args, {**kwargs, "host": folder or "/", "port": int(name.rpartition(".")[2])}
    kwargs = {**kwargs, "host": endpoint.host, "port": endpoint.port}
    if "PGHOSTADDR" in os.environ or any("hostaddr" in str(it) for it in args) or kwargs.get("hostaddr"):
        kwargs["hostaddr"] = ""  # it would count more than the host
    return args, kwargs


def first(value: object) -> str:
    """Return the first of several hosts or ports, which are a list, or a text with commas."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else ""
    return str(value).partition(",")[0].strip()


def _default_host() -> str:
    """What libpq was compiled with, in the packages that most people have."""
    if os.name == "nt":
        return "localhost"
    return "/tmp" if sys.platform == "darwin" else "/var/run/postgresql"


def as_libpq_reads(url: str, known: Collection[str]) -> str:
    """Return a URL without "+driver", and without the query keys of other layers, which libpq would refuse."""
    _, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    kept = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key in known]
    return f"postgresql://{rest}" + (f"?{urlencode(kept, quote_via=quote)}" if kept else "")


@contextlib.contextmanager
def cut_off(descriptor: int, seconds: float) -> Iterator[None]:
    """Shut a client's socket down after so many seconds, so that what waits on it ends by the client's own error."""
    with socket.socket(fileno=os.dup(descriptor)) as its:
        timer = threading.Timer(max(seconds, 0.01), _shut, (its,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _shut(its: socket.socket) -> None:
    with contextlib.suppress(OSError):
        its.shutdown(socket.SHUT_RDWR)
