"""The system check: settings that cannot be read, and settings that have no effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from ._settings import ENGINES, FOR_CACHES, of_database, read

_POOL = "resilient.integrations.django.cache.FailOpenConnectionPool"


def check_settings(app_configs: object = None, **_: object) -> list[CheckMessage]:
    """Look at `RESILIENT` of each database, and at the caches that have a pool which fails open; nothing is dialled."""
    return [*_databases(settings.DATABASES), *_caches(settings.CACHES)]


def _databases(databases: Mapping[str, Mapping[str, Any]]) -> Iterator[CheckMessage]:
    for alias, database in databases.items():
        if "RESILIENT" not in database:
            continue
        if not _is_ours(database.get("ENGINE", "")):
            yield Warning(
                f"DATABASES[{alias!r}]['RESILIENT'] has no effect: the engine is {database.get('ENGINE')!r}.",
                hint=f"Set ENGINE to one of {', '.join(ENGINES)}.",
                id="resilient.W001",
            )
        try:
            of_database(alias, database)
        except ImproperlyConfigured as problem:
            yield Error(str(problem), id="resilient.E001")


def _is_ours(engine: str) -> bool:
    from django.db.utils import load_backend

    from .backend import ResilientConnects

    if engine in ENGINES:
        return True
    if not engine or engine.startswith("django."):
        return False
    try:
        return issubclass(load_backend(engine).DatabaseWrapper, ResilientConnects)
    except Exception:  # noqa: BLE001  # Django says by itself what is wrong with an engine
        return True


def _caches(caches: Mapping[str, Mapping[str, Any]]) -> Iterator[CheckMessage]:
    for alias, cache in caches.items():
        options = cache.get("OPTIONS") or {}
        given, where = options.get("resilient"), f"CACHES[{alias!r}]['OPTIONS']['resilient']"
        pool = options.get("pool_class")
        if "CONNECTION_POOL_CLASS" in options:  # django-redis
            pool = options["CONNECTION_POOL_CLASS"]
            given = (options.get("CONNECTION_POOL_KWARGS") or {}).get("resilient")
            where = f"CACHES[{alias!r}]['OPTIONS']['CONNECTION_POOL_KWARGS']['resilient']"
        if given is None:
            continue
        if isinstance(pool, str) and pool != _POOL and pool.startswith(("redis.", "resilient.")):
            yield Warning(
                f"{where} has no effect: the pool is {pool!r}.", hint=f"Set it to {_POOL}.", id="resilient.W002"
            )
        try:
            read(given, where, default=FOR_CACHES)
        except ImproperlyConfigured as problem:
            yield Error(str(problem), id="resilient.E002")
