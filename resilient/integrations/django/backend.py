"""What the database backends share: getting a new connection, as the policy says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ...endpoint import Endpoint
from ._settings import Settings, of_database

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Wrapper
else:
    Wrapper = object

_lock: Final = threading.Lock()


class ResilientConnects(Wrapper):
    """Put this before the `DatabaseWrapper` of another backend, in a module `base` of your own, to protect that one.

    Attributes:
        dials_once: connect once and no more, pool or not: for who does the waiting himself.
    """

    dials_once = False
    Database: Any
    _resilient_connect: Callable[..., Any] | None = None

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Open a connection; a refused one is tried again as the policy says."""
        if self.dials_once or getattr(self, "pool", None):  # a pool is protected itself
            return super().get_new_connection(conn_params)
        if self._resilient_connect is None:
            bound: Any = super().get_new_connection
            self._resilient_connect = (
                self.resilient_settings()
                .shield()
                .protect(
                    _connect_of(bound.__func__),
                    target=lambda _, params: self.resilient_target(params),
                    unavailable=self.resilient_error(),
                )
            )
        return self._resilient_connect(self, conn_params)

    def resilient_settings(self) -> Settings:
        """Return what `RESILIENT` says.

        Raises:
            ImproperlyConfigured: it cannot be read.
        """
        return of_database(self.alias, self.settings_dict)

    def resilient_target(self, conn_params: dict[str, Any]) -> Endpoint:
        """Return where a connection with these parameters goes to."""
        return Endpoint(scheme="tcp", host=self.settings_dict["HOST"], port=int(self.settings_dict["PORT"]))

    def resilient_error(self) -> Callable[[str], Exception]:
        """Return what makes the driver's own error out of a text, for an open circuit."""
        error: Callable[[str], Exception] = self.Database.OperationalError
        return error


def _connect_of(connect: Callable[..., Any]) -> Callable[..., Any]:
    def get_new_connection(self: Any, conn_params: dict[str, Any]) -> Any:
        return connect(self, conn_params)

    get_new_connection.__qualname__ = f"DatabaseWrapper.{get_new_connection.__name__}"
    return get_new_connection


def guard_once(pool: Any, settings: Callable[[], Settings]) -> None:
    """Guard a pool that threads share, unless it is guarded already."""
    if "_guarded" not in pool.__dict__:
        with _lock:
            if "_guarded" not in pool.__dict__:
                from ...clients import psycopg_pool

                psycopg_pool.guard(pool, settings().shield())
