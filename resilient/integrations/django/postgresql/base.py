"""Django's backend for PostgreSQL; `base` is the name that Django looks for."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base

from ....clients import _libpq
from ....endpoint import Endpoint
from ..backend import ResilientConnects, guard_once


class DatabaseWrapper(ResilientConnects, base.DatabaseWrapper):
    """A connection to PostgreSQL, by psycopg or psycopg2, from a pool or not."""

    if hasattr(base.DatabaseWrapper, "pool"):  # Django 5.1 and on

        @property
        def pool(self) -> Any:
            """The pool of `OPTIONS["pool"]`, protected; None where there is none."""
            if self.dials_once:
                return None
            pool = super().pool
            if pool is not None:
                guard_once(pool, self.resilient_settings)
            return pool

    def resilient_target(self, conn_params: dict[str, Any]) -> Endpoint:
        """Return where libpq connects to, its environment included."""
        return _libpq.find(conn_params)
