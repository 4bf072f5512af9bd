"""Elasticsearch: the node's own error as the cause, or, of three node classes of four, hidden behind `from None`.

Read: elastic-transport 8.0 to 9.4.
"""

from __future__ import annotations

from typing import Any, Final

from ._signature import Rule, Signature

_API: Final = frozenset({"ApiError"})


_MIXED: Final = "mixed"
_MOST_LINKS: Final = 12


def _code(error: Any) -> object:
    """Return the status of an answer; of anything else, whether only some of the attempts were refused.

    `errors` is what became of the earlier attempts of the same call: one of them may have sent something.
    """
    meta = getattr(error, "meta", None)
    if meta is not None:
        return getattr(meta, "status", None)
    attempts = [error, *getattr(error, "errors", ())]
    return _MIXED if len({_is_refused(attempt) for attempt in attempts}) > 1 else None


def _is_refused(link: BaseException | None) -> bool:
    for _ in range(_MOST_LINKS):
        if link is None or isinstance(link, ConnectionRefusedError):
            break
        link = link.__cause__ or link.__context__
    return isinstance(link, ConnectionRefusedError)


SIGNATURE: Final = Signature(
    package="elastic_transport",
    code=_code,
    vouches=True,
    rules=(
        Rule(kind="not_ready", classes=_API, codes=frozenset({503})),
        Rule(kind="hopeless", classes=_API, codes=frozenset({401})),
        # An answer, whatever became of the attempts before it: they stand in its `errors`.
        Rule(kind="other", classes=_API),
        Rule(kind="other", codes=frozenset({_MIXED})),
        # What the nodes said is lost.
        Rule(
            kind="hidden", classes=frozenset({"SniffingError"}), text=r"^No viable nodes were discovered on the initial"
        ),
    ),
)
