"""The sentinels that an attempt asks: each once, and why they did not answer."""

from __future__ import annotations

import functools
from typing import Any, Final

from ...refusal import is_refused
from ._library import Library

_LAST_ERROR: Final = "_resilient_error"


def quieten(sentinel: Any, library: Library) -> None:
    """Let each sentinel be asked once, and remember why it did not answer: what is raised in the end has lost that."""
    for client in sentinel.sentinels:
        client.set_retry(library.no_retry())
        if _LAST_ERROR not in vars(client):
            setattr(client, _LAST_ERROR, None)
            client.execute_command = (_remembers_async if library.is_async else _remembers)(client)


def _remembers(client: Any) -> Any:
    execute = client.execute_command

    @functools.wraps(execute)
    def execute_command(*args: Any, **kwargs: Any) -> Any:
        try:
            return execute(*args, **kwargs)
        except Exception as error:
            setattr(client, _LAST_ERROR, error)
            raise

    return execute_command


def _remembers_async(client: Any) -> Any:
    execute = client.execute_command

    @functools.wraps(execute)
    async def execute_command(*args: Any, **kwargs: Any) -> Any:
        try:
            return await execute(*args, **kwargs)
        except Exception as error:
            setattr(client, _LAST_ERROR, error)
            raise

    return execute_command


def explain(error: Exception, connection: Any) -> None:
    """Give Sentinel's error a cause: of the sentinels' errors one that is no refusal, if there is one."""
    manager = getattr(getattr(connection, "connection_pool", None), "sentinel_manager", None)
    if manager is None:
        return
    behind = [found for client in manager.sentinels if (found := vars(client).get(_LAST_ERROR)) is not None]
    for client in manager.sentinels:
        setattr(client, _LAST_ERROR, None)
    no_master = type(error).__name__ in ("MasterNotFoundError", "SlaveNotFoundError")
    if no_master and error.__cause__ is None and behind and len(behind) == len(manager.sentinels):
        error.__cause__ = next((found for found in behind if not is_refused(found)), behind[-1])
