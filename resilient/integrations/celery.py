"""Celery: workers that wait for their broker and results backend, and publishing by a policy.

app = Celery("orders", broker=..., backend=...)
protect(app)
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from .. import clock, logs
from .._scrub import describe
from ..backoff import seconds
from ..breaker import CircuitBreaker, CircuitBreakers
from ..clients import guard
from ..errors import TargetError, WaitTimeoutError
from ..policy import Policy
from ..waiting import wait_for

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["protect"]

TOO_LATE: Final = 124
HOPELESS: Final = 1

_NO_SERVERS: Final = ("cache+memory", "django-cache", "django-db", "file", "rpc")
"""Schemes of results backends that are no server, or the broker itself, or Django's own."""


def protect(
    app: Celery,
    *,
    publish: Policy | None = None,
    breaker: CircuitBreaker | CircuitBreakers | None = None,
    timeout: float | timedelta | None = 60.0,
    policy: Policy | None = None,
) -> None:
    """Protect an application: what it publishes, and how its workers start.

    Publishing connects as `publish` says. A worker that starts waits until broker and results backend serve; where they
    do not, or waiting cannot help, its process ends with 124 or with 1, and says why. A running worker that loses its
    broker goes on connecting for ever, with the delays of `publish`.

    Args:
        app: the application; its settings are changed, nothing is dialled.
        publish: for connects of whoever publishes; default `Policy()`.
        breaker: for the same; while its circuit is open, publishing raises kombu's `OperationalError` from
            `CircuitOpenError`.
        timeout: seconds for the start of a worker. None: no limit.
        policy: how often the start tries and who is told; default `Policy.startup()`.

    Raises:
        TypeError: it is no Celery application, or a setting has the wrong type.
    """
    from celery import Celery
    from celery.signals import worker_init

    if not isinstance(app, Celery):
        raise TypeError(f"protect needs a Celery application, not {type(app).__name__}")
    limit = None if timeout is None else seconds("timeout", timeout)
    guard(app, policy=publish, breaker=breaker)
    app.conf.update(broker_connection_max_retries=None)  # for ever

    def wait(sender: Any = None, **_: Any) -> None:
        if getattr(sender, "app", None) is app:
            _wait(app, limit, policy)

    worker_init.connect(wait, weak=False, dispatch_uid=f"resilient {id(app)}")


def _wait(app: Celery, timeout: float | None, policy: Policy | None) -> None:
    """Wait for the broker, then for the results backend.

    Raises:
        SystemExit: not in time, or hopeless. Celery logs any other exception of a signal's handler, and goes on.
    """
    ends = None if timeout is None else clock.now() + timeout
    for name, target in (("broker", app), ("results backend", _backend_of(app))):
        if target is None:
            continue
        left = None if ends is None else max(ends - clock.now(), 0.001)
        try:
            wait_for(target, timeout=left, policy=policy)
        except TargetError as problem:
            logs.say(logging.WARNING, "celery: the %s is not waited for: %s", name, problem)
        except WaitTimeoutError as error:
            last = "" if error.last_error is None else f"; last: {describe(error.last_error)}"
            logs.say(logging.ERROR, "celery: the %s did not serve within %.1f s%s", name, error.elapsed, last)
            raise SystemExit(TOO_LATE) from error
        except Exception as error:
            logs.say(logging.ERROR, "celery: the %s will not serve by waiting: %s", name, describe(error))
            raise SystemExit(HOPELESS) from error


def _backend_of(app: Celery) -> Any:
    """Return what to wait for: a client where Celery has one that can be asked, else the text of the setting."""
    url = app.conf.result_backend
    if not isinstance(url, str) or "://" not in url:
        return None
    scheme = url.partition("://")[0]
    if scheme in _NO_SERVERS:
        return None
    if scheme in ("redis", "rediss"):
        return app.backend.client
    return url.removeprefix("db+")
