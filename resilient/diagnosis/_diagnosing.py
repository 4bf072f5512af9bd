"""Look at everything that may matter, within a bound, and have it judged."""

from __future__ import annotations

import contextlib
import os
from datetime import timedelta
from time import monotonic  # real time, also in a test with a fake clock: the target is real
from typing import Final

from .._scrub import scrub
from ..backoff import seconds
from ..endpoint import Endpoint
from ..errors import PolicyError, TargetError
from . import _dialling, _machine
from ._bounded import LateError, Look
from ._judging import judge
from ._seen import Machine, Proxy, Reply, Seen
from ._value import Diagnosis

# Shares of the time, counted from the start. A lost first packet of a connect is sent again after one second.
NAMED: Final = 0.45
CONNECTED: Final = 0.62
SLOW: Final = 0.3  # who has not answered by then may not do so, and whose it is will matter
TOLD: Final = 0.7
TOLD_AGAIN: Final = 0.84
REPLIED: Final = 0.9  # later than the last word by what a thread may be late on a loaded machine
LOGGED_IN: Final = 0.9
LOOKED: Final = 0.99

_WEB: Final = {"http": "http", "ws": "http", "https": "https", "wss": "https"}


def diagnose(target: str | Endpoint, *, timeout: float | timedelta = 2.0) -> Diagnosis:
    """Say whether a target serves, and if not, why not.

    It resolves the name, dials each address, exchanges a first word, and reads what this machine shows of itself:
    who listens where, whose it is, whether this is a container. It needs no privileges and sends nothing but the
    handshake; credentials are sent only where they are in the target and a driver for it is installed.
    It blocks: in a coroutine use `asyncio.to_thread(diagnose, target)`.

    Args:
        target: a URL, "host:port", "unix:///path", "env:NAME" or an `Endpoint`.
        timeout: seconds for all of it.

    Raises:
        TargetError: the target cannot be read.
        TypeError: it is no text and no `Endpoint`.
        PolicyError: `timeout` is no number of seconds above 0.
    """
    started = monotonic()
    endpoint = Endpoint.parse(target)
    limit = seconds("timeout", timeout)
    if not limit > 0:
        raise PolicyError(f"timeout must be a number of seconds above 0, not {timeout!r}")
    text = _dialling.whole_text(target)
    return judge(_look(endpoint, text, started, limit))


def _look(endpoint: Endpoint, text: str, started: float, limit: float) -> Seen:
    clash = Look(_clash)
    own_name = Look(_names, endpoint)
    web = Look(_proxy, endpoint, started + limit * TOLD)
    seen = Seen(endpoint)
    machine: Look[Machine] | None = None
    if endpoint.path is None:
        places = Look(_dialling.resolve, endpoint)
        try:
            found = places.wait(started + limit * NAMED)
        except LateError:
            seen = seen._replace(name="silent")
            found = []
        except (OSError, UnicodeError) as error:
            words = getattr(error, "strerror", None) or type(error).__name__
            seen = seen._replace(name="unresolved", name_text=scrub(str(words)))
            found = []
        except Exception as error:  # noqa: BLE001  # no more threads, say: it is not known, and that is an answer
            seen = seen._replace(name_text=type(error).__name__)
            found = []
        marks = [started + limit * share for share in (CONNECTED, TOLD, TOLD_AGAIN)]
        looks = [(place, Look(_dialling.ask, endpoint, place, *marks)) for place in found]
        if not all(look.is_over(started + limit * SLOW) for _, look in looks):
            machine = Look(_machine.look)
        replies = [
            look.wait_or(started + limit * REPLIED, Reply(place[1][0], "failed", "not in time"))
            for place, look in looks
        ]
    else:
        asked = Look(_dialling.ask_path, endpoint, started + limit * TOLD)
        replies = [asked.wait_or(started + limit * REPLIED, Reply(endpoint.path, "failed", "not in time"))]
    seen = seen._replace(replies=tuple(_dialling.hidden(reply, text) for reply in replies))
    if _serves(replies):
        seen = _log_in(seen, text, started + limit * LOGGED_IN)
    if replies and (seen.driver not in ("", "serves") or not _serves(replies)):
        machine = machine or Look(_machine.look)
        seen = seen._replace(machine=machine.wait_or(started + limit * LOOKED, Machine()))
    hosts, own = own_name.wait_or(started + limit * LOOKED, ("", False))
    return seen._replace(
        hosts=hosts,
        own_name=own,
        proxy=web.wait_or(started + limit * LOOKED, None),
        clash=clash.wait_or(started + limit * LOOKED, ""),
    )


def _serves(replies: list[Reply]) -> bool:
    return any(reply.answer is not None and reply.answer.kind == "serves" for reply in replies)


def _log_in(seen: Seen, text: str, until: float) -> Seen:
    if not _dialling.has_credentials(text):
        return seen
    untried = _dialling.why_not_driver(text, seen.endpoint)
    if untried:
        return seen._replace(untried=untried)
    try:
        driver, words = Look(_dialling.ask_driver, text, seen.endpoint, until - monotonic()).wait(until)
    except LateError:
        driver, words = "late", ""
    except Exception as error:  # noqa: BLE001  # a driver that cannot be imported
        driver, words = "other", type(error).__name__
    return seen._replace(driver=driver, driver_text=words)


def _names(endpoint: Endpoint) -> tuple[str, bool]:
    host = endpoint.host
    if host is None or ":" in host or host.replace(".", "").isdecimal():
        return "", False
    return _machine.hosts_line(host), _machine.is_own_name(host)


def _proxy(endpoint: Endpoint, until: float) -> Proxy | None:
    """Find the proxy that `urllib`, requests and httpx would take for this target."""
    if endpoint.host is None or endpoint.scheme not in _WEB:
        return None
    from urllib.request import getproxies_environment, proxy_bypass

    proxies = getproxies_environment()
    kind = next((kind for kind in (_WEB[endpoint.scheme], "all") if proxies.get(kind)), None)
    if kind is None or proxy_bypass(f"{endpoint.host}:{endpoint.port}"):
        return None
    where = None
    with contextlib.suppress(TargetError):
        value = proxies[kind]
        where = Endpoint.parse(value if "://" in value else f"http://{value}")
    accepts = where is not None and _dialling.accepts(where, until)
    names = (f"{kind}_proxy", f"{kind.upper()}_PROXY")
    return Proxy(next((name for name in names if name in os.environ), names[-1]), where, accepts)


def _clash() -> str:
    """Say whether the other distribution that imports as `resilient` is installed, or ""."""
    from importlib import metadata

    try:
        other = metadata.distribution("resilient")
    except metadata.PackageNotFoundError:
        return ""
    files = other.files
    if files is not None and not any(file.as_posix() == "resilient/__init__.py" for file in files):
        return ""
    return (
        f"the distribution resilient {scrub(str(other.version), 40)} is installed as well: it is another project's, "
        "imports as `resilient` too, and overwrites this one or deletes it when it goes"
    )
