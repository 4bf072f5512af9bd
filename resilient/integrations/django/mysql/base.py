"""Django's backend for MySQL and MariaDB; `base` is the name that Django looks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.backends.mysql import base

from ....clients import _mysql
from ....endpoint import Endpoint
from ..backend import ResilientConnects


class DatabaseWrapper(ResilientConnects, base.DatabaseWrapper):
    """A connection to MySQL or MariaDB, by mysqlclient or what stands in for it."""

    def resilient_target(self, conn_params: dict[str, Any]) -> Endpoint:
        """Return where mysqlclient connects to."""
        return _mysql.target(**conn_params)

    def resilient_error(self) -> Callable[[str], Exception]:
        """Return what makes mysqlclient's own error, with its number."""
        return _mysql.refusal(self.Database.OperationalError)
