"""`manage.py wait_for_db`: returns when the databases serve. It connects, logs in and asks something each time."""

from __future__ import annotations

import argparse
import math
import time
from typing import Any, Final, Literal

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import NotSupportedError, connections
from django.db.utils import load_backend

from ....._scrub import describe
from .....errors import NotServingError, WaitTimeoutError
from .....waiting import LONGEST_HELLO, wait_for

TOO_LATE: Final = 124
"""As `timeout` and `resilient wait` end."""

HOPELESS: Final = 1
USAGE: Final = 2


class Command(BaseCommand):
    """Wait until databases serve."""

    help = (
        "Returns when the databases serve: each has let this program in and answered a query. "
        "Ends with 124 when that took too long, with 1 at once where waiting cannot help (a wrong password), with 2 "
        "where there is no such database in the settings."
    )
    requires_system_checks: list[str] | tuple[str, ...] | Literal["__all__"] = ()  # they may need the database

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say which there are."""
        parser.add_argument(
            "--database",
            action="append",
            metavar="ALIAS",
            help="which database, by its name in DATABASES; can be given several times; default: all of them",
        )
        parser.add_argument(
            "--timeout", type=_seconds, default=60.0, metavar="S", help="seconds for all of them together; default: 60"
        )
        parser.add_argument(
            "--stable-for",
            type=_seconds,
            default=0.0,
            metavar="S",
            help="seconds for which each must go on serving before it counts; default: 0",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Wait for one after the other."""
        aliases = list(dict.fromkeys(options["database"] or connections))
        for alias in aliases:
            if alias not in list(connections):
                known = ", ".join(connections)
                raise CommandError(f"there is no database {alias!r} in DATABASES; there are: {known}", returncode=USAGE)
        ends = time.monotonic() + options["timeout"]
        for alias in aliases:
            started = time.monotonic()
            if options["verbosity"] > 0:
                self.stdout.write(f"Waiting for database {alias!r} ...")
                self.stdout.flush()
            self._wait(alias, max(ends - started, 0.001), options["stable_for"])
            if options["verbosity"] > 0:
                self.stdout.write(f"Database {alias!r} serves ({time.monotonic() - started:.1f} s).")

    def _wait(self, alias: str, timeout: float, stable_for: float) -> None:
        try:
            # Its deadline and its kinds of errors are what `wait_for` sets.
            wait_for(lambda: _say_hello(alias, timeout), timeout=timeout, stable_for=stable_for)
        except WaitTimeoutError as error:
            last = "" if error.last_error is None else f"; last: {describe(error.last_error)}"
            raise CommandError(
                f"database {alias!r} did not serve within {error.elapsed:.1f} s{last}", returncode=TOO_LATE
            ) from error
        except Exception as error:
            raise CommandError(
                f"database {alias!r} will not serve by waiting: {describe(error)}", returncode=HOPELESS
            ) from error


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return value


def _say_hello(alias: str, timeout: float) -> None:
    try:
        connection = _connection(alias, timeout)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        finally:
            connection.close()
    except (ImproperlyConfigured, NotSupportedError) as error:  # a driver that is missing, a server that is too old
        raise NotServingError(str(error), "hopeless") from error


def _connection(alias: str, timeout: float) -> Any:
    """Return a connection of its own, which makes one attempt at a time, has no pool, and a limit for connecting."""
    settings: dict[str, Any] = dict(connections[alias].settings_dict)
    wrapper = load_backend(settings["ENGINE"]).DatabaseWrapper
    options = {name: value for name, value in settings["OPTIONS"].items() if name != "pool"}
    if wrapper.vendor in ("mysql", "postgresql"):
        options.setdefault("connect_timeout", max(2, round(min(LONGEST_HELLO, timeout))))
    connection = wrapper({**settings, "OPTIONS": options}, alias)
    connection.dials_once = True
    return connection
