"""Let the entry points of one library meet all cases, in a process of its own; one line of JSON for each.

Called as `python -m corpus.run FILE BOOK LIBRARY CASES SKIP`: `BOOK` is the number of the book in its file, `CASES` is
JSON, `SKIP` how many were done by an earlier process, which was ended because one of them hung.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib.metadata
import json
import logging
import os
import platform
import sys
import time
import warnings
from typing import Any

from .entry import Client, Place, books, kind_of
from .servers import Case

TIMEOUT = 1.0
"""Seconds that a client is given for a connect, and for an answer."""


def error_of(client: Client, case: Case) -> Exception | None:
    """Return what comes of it; None if nothing does."""
    place = Place(host=case.host, port=case.port, timeout=TIMEOUT)
    try:
        run(client, place)
    except Exception as error:
        if case.then is None:
            return error
        try:  # what an application does that has a replica
            run(client, Place(host=case.host, port=case.then, timeout=TIMEOUT))
        except Exception as second:
            return second
    return None


def run(client: Client, place: Place) -> None:
    """Connect."""
    result = client.connect(place)
    if client.is_async:
        asyncio.run(asyncio.wait_for(result, 20))


def judged(client: Client, case: Case) -> dict[str, Any]:
    """Return what is made of a client's error."""
    started = time.monotonic()
    try:
        error = error_of(client, case)
    except ImportError as problem:
        return {"missing": str(problem)}
    except BaseException as problem:  # a client that raises an interrupt of its own
        return {"kind": None, "type": type(problem).__name__, "text": str(problem)[:300], "how": "BaseException"}
    seconds = time.monotonic() - started
    if error is None:
        return {"kind": "no error", "seconds": seconds}
    if isinstance(error, ImportError):
        return {"missing": str(error)}
    from resilient import find_refusal

    refusal = find_refusal(error)
    kind = kind_of(error)
    return {
        "kind": kind,
        "how": None if refusal is None else type(refusal.evidence).__name__,
        "asked": kind is None and refused_when_asked(error, case),
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "text": str(error)[:300],
        "seconds": seconds,
    }


def refused_when_asked(error: Exception, case: Case) -> bool:
    """Whether the error hides what happened, and the port refuses when it is asked."""
    try:
        from resilient._asking import ask
    except ImportError:
        return False
    from resilient import Endpoint
    from resilient.refusal import hides_refusal

    port = case.port if case.then is None else case.then
    return hides_refusal(error) and ask(Endpoint(scheme="tcp", host=case.host, port=port, path=None))


def main(file: str, number: str, library: str, cases: str, skip: str) -> None:
    """Do what this process was started for."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    left = int(skip)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a client that prints, also one that is no Python, must not disturb
    read = [Case(**case) for case in json.loads(cases)]
    for client in books(file)[int(number)].libraries()[library]:
        for case in read:
            if left > 0:
                left -= 1
                continue
            told = {"entry": client.name, "case": case.name, **judged(client, case)}
            print(json.dumps(told), file=out, flush=True)
    print(json.dumps({"version": version_of(library)}), file=out, flush=True)


def version_of(library: str) -> str:
    """The version of a distribution, also of one that is named by its package: psycopg2 of psycopg2-binary."""
    if library == "python":
        return platform.python_version()
    for name in (library, *importlib.metadata.packages_distributions().get(library, ())):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return "-"


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # clients leave threads that never end
