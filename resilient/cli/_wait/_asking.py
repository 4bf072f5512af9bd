"""How a target is asked: through its driver, by a handshake, over HTTP, or by a connect and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ... import clock
from ..._values import NamedTuple
from ...clients import driver_for
from ...endpoint import Endpoint
from ...waiting import LONGEST_HELLO, hello_to, worth_waiting
from ._books import BY_A_CONNECT

if TYPE_CHECKING:
    from ._options import Options, Target
    from ._secrets import Mask

_PLAIN: Final = frozenset({"tcp", "unix"})


class Probe:
    """One target as a function that connects, says hello and leaves; `wait_for` calls it.

    Attributes:
        how: the way of asking, in words.
        only_accepts: there is no better way than a connect, though the target names a service.
        asked: how often it was called.
        problem: what went wrong last, fit to show.
    """

    def __init__(self, target: Target, options: Options, mask: Mask, told: Callable[[], None]) -> None:
        ways = [_way_to(text, endpoint, options, target.is_web) for endpoint, text in target.hosts]
        self.how, self.only_accepts = ways[0].how, ways[0].only_accepts
        self._hellos = [way.hello for way in ways]
        self.asked = 0
        self.problem = ""
        self._endpoint = target.endpoint
        self._mask = mask
        self._told = told
        self._deadline = options.policy.deadline
        self._started = clock.now()

    def __call__(self) -> None:
        self.asked += 1
        left = LONGEST_HELLO if self._deadline is None else self._started + self._deadline - clock.now()
        try:
            self._say_hello(min(LONGEST_HELLO, max(0.25, left)))
        except Exception as error:
            self.problem = self.text_of(error)
            raise
        self._told()

    def _say_hello(self, timeout: float) -> None:
        """Ask the hosts in their order, until one serves; what waiting cannot help ends it."""
        *others, last = self._hellos
        for hello in others:
            try:
                hello(timeout)
            except Exception as error:
                if not worth_waiting(error):
                    raise
            else:
                return
        last(timeout)

    def text_of(self, error: BaseException) -> str:
        """Return an error's own text, fit to show; its class where it has none."""
        try:
            text = str(error)
        except Exception:  # noqa: BLE001  # any error can come out of a stranger's __str__
            text = ""
        text = text.removeprefix(f"{self._endpoint}: ")  # which is shown before it anyway
        return self._mask(" ".join(text.split())) or type(error).__name__


class _Way(NamedTuple):
    """How one host is asked."""

    how: str
    only_accepts: bool
    hello: Callable[[float], object]


def _way_to(text: str, endpoint: Endpoint, options: Options, is_web: bool) -> _Way:
    if is_web:
        from ._web import Page

        return _Way("over HTTP", False, Page(text, endpoint, options.statuses, options.body))
    hello = hello_to(text, endpoint)
    driver = driver_for(endpoint.scheme) if "://" in text else None
    if driver is not None:
        return _Way(f"through {driver.__name__.rpartition('.')[2]}", False, hello)
    from ..._handshakes import HANDSHAKES, protocol_of

    if protocol_of(endpoint) in HANDSHAKES.keys() - _PLAIN:
        return _Way("by a handshake", False, hello)
    return _Way(BY_A_CONNECT, endpoint.scheme not in _PLAIN, hello)
