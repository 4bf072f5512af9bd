"""What the entry points of the held-out clients share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .entry import Place


def host_in_url(place: Place) -> str:
    """Return the host as in a URL."""
    return f"[{place.host}]" if ":" in place.host else place.host


def ipv4(place: Place) -> str:
    """Return the host, for a client that knows IPv4 only."""
    return "127.0.0.1" if ":" in place.host else place.host


def one_address(place: Place) -> str:
    """Return the host, for a client that tries the first address of a name only."""
    return "127.0.0.1" if place.host == "localhost" else place.host


def url(place: Place, scheme: str = "http") -> str:
    """Return the URL of a place, without a slash at its end."""
    return f"{scheme}://{place.netloc}"


def in_time(place: Place, function: Callable[[], object]) -> None:
    """Call a function of a client that cannot be given a timeout, and do not wait for ever."""
    pool = ThreadPoolExecutor(1)
    try:
        pool.submit(function).result(4 * place.timeout)
    finally:
        pool.shutdown(wait=False)


def in_the_reactor(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of Twisted's in its one reactor, which runs in a thread."""
    from twisted.internet import reactor, threads

    if not reactor.running:  # type: ignore[attr-defined]
        started = threading.Event()
        reactor.callWhenRunning(started.set)  # type: ignore[attr-defined]
        threading.Thread(target=reactor.run, args=(False,), daemon=True).start()  # type: ignore[attr-defined]
        started.wait()
    return threads.blockingCallFromThread(reactor, function, *arguments)
