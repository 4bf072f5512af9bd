"""What was seen → what it means: a code, the evidence in sentences, and one line of help.

Pure: no clock, no I/O.
"""

from __future__ import annotations

from typing import Final

from .._handshakes import Answer
from ._elsewhere import is_another_service, is_loopback, listener_of, means_loopback, same_name, same_service
from ._helping import help_for
from ._seen import Listener, Reply, Seen
from ._telling import WITH_TLS, evidence_of
from ._value import Diagnosis

_BY_KIND: Final = {
    "itself": "connected_to_itself",
    "no_answer": "dropped",
    "unreachable": "unreachable",
    "prohibited": "prohibited",
    "full": "backlog_full",
    "missing": "missing_unix_socket",
    "no_permission": "no_permission",
    "not_a_socket": "not_a_socket",
    "failed": "not_known",
}

_ORDER: Final = (
    *("serves", "wrong_credentials", "tls_failed", "driver_failed", "starting_up", "turned_away", "process_stopped"),
    *("tls_expected", "no_tls", "wrong_protocol", "silent", "closes_at_once", "backlog_full", "connected_to_itself"),
    *("listens_on_other_address", "rejected", "listens_on_other_port", "name_resolves_elsewhere"),
    *("localhost_in_container", "nothing_listens", "prohibited", "dropped", "unreachable", "not_known"),
)
"""Of several addresses the one counts that says most: one that serves before all others."""
_RANK: Final = {code: rank for rank, code in enumerate(_ORDER)}


def judge(seen: Seen) -> Diagnosis:
    """Return what it means."""
    code, reply, found = _code(seen)
    evidence = tuple(evidence_of(seen, code, reply))
    code = _with_surroundings(seen, code)
    return Diagnosis(
        code=code, endpoint=seen.endpoint, evidence=evidence, help=help_for(code, seen.endpoint, reply, found)
    )


def _code(seen: Seen) -> tuple[str, Reply | None, Listener | str | None]:
    """Return the code, the reply it was read from, and what was found elsewhere."""
    if seen.name == "silent":
        return "resolver_silent", None, None
    if seen.name == "unresolved":
        return "name_unresolved", None, None
    if not seen.replies:
        return "not_known", None, None
    judged = [(*_of_one(seen, reply), reply) for reply in seen.replies]
    code, found, reply = min(judged, key=lambda each: _RANK.get(each[0], len(_RANK)))
    if code == "serves" and seen.driver not in ("", "serves"):
        code = _DRIVERS_WORDS.get(seen.driver, "driver_failed")
    if code in ("dropped", "unreachable") and (seen.hosts or seen.own_name) and not any(r.ours for r in seen.replies):
        code = "name_resolves_elsewhere"
    return code, reply, found


_DRIVERS_WORDS: Final = {"hopeless": "wrong_credentials", "not_ready": "starting_up", "tls": "tls_failed"}


def _of_one(seen: Seen, reply: Reply) -> tuple[str, Listener | str | None]:
    if reply.kind == "answered" and reply.answer is not None:
        return _of_answer(seen, reply, reply.answer)
    if seen.endpoint.path is not None:
        return _of_path(seen, reply)
    if reply.icmp is not None and reply.icmp.is_a_rule:
        return "rejected", None
    if reply.kind == "refused":
        return _of_refusal(seen, reply)
    if reply.kind == "no_answer" and (listener := listener_of(seen, reply)) is not None and listener.waiting:
        return "backlog_full", listener
    return _BY_KIND.get(reply.kind, "not_known"), None


def _of_path(seen: Seen, reply: Reply) -> tuple[str, str | None]:
    if reply.kind in ("missing", "refused", "not_a_socket") and (path := same_name(seen)) is not None:
        return "listens_on_other_path", path
    return ("stale_unix_socket" if reply.kind == "refused" else _BY_KIND.get(reply.kind, "not_known")), None


def _of_answer(seen: Seen, reply: Reply, answer: Answer) -> tuple[str, Listener | None]:
    listener = listener_of(seen, reply)
    has_tls = seen.endpoint.scheme in WITH_TLS
    if answer.kind in ("closed", "silent") and reply.other is not None:
        if not has_tls and (reply.other.kind == "hopeless" or _answers(reply.other)):
            return "tls_expected", None
        if has_tls and _answers(reply.other):
            return "no_tls", None
    if answer.kind == "silent" and listener is not None and listener.owner is not None and listener.owner.stopped:
        return "process_stopped", listener
    if (
        answer.kind in ("closed", "silent")
        and listener is not None
        and is_another_service(seen.endpoint, listener.owner)
    ):
        return "wrong_protocol", same_service(seen)
    if answer.kind == "wrong_protocol":
        if answer.text.startswith("TLS is expected"):
            return "tls_expected", None
        if answer.text.startswith("no TLS there") and not _is_other_protocol(seen, answer):
            return "no_tls", None
        return "wrong_protocol", same_service(seen) if reply.ours else None
    if answer.kind == "hopeless" and has_tls:
        return "tls_failed", None
    return _ANSWERS[answer.kind], listener


_ANSWERS: Final = {
    "serves": "serves",
    "not_ready": "starting_up",
    "hopeless": "turned_away",
    "closed": "closes_at_once",
    "silent": "silent",
}


_OWN_NAMES: Final = {
    **dict.fromkeys(("https", "wss"), "HTTP"),
    **dict.fromkeys(("rediss", "valkeys"), "Redis"),
    "amqps": "AMQP",
    "mqtts": "MQTT",
}
"""What `_handshakes` calls the protocol inside TLS."""


def _is_other_protocol(seen: Seen, answer: Answer) -> bool:
    return not any(
        f": {name} answers" in answer.text for name in (_OWN_NAMES.get(seen.endpoint.scheme), "an unknown protocol")
    )


def _answers(answer: Answer) -> bool:
    return answer.kind in ("serves", "not_ready")


def _of_refusal(seen: Seen, reply: Reply) -> tuple[str, Listener | None]:
    endpoint, machine = seen.endpoint, seen.machine
    if not reply.ours:
        return "nothing_listens", None
    if any(port == endpoint.port for port, _ in machine.looping):
        return "connected_to_itself", None
    if (listener := listener_of(seen, reply)) is not None:
        return "rejected", listener
    same_port = [each for each in machine.listeners or () if each.port == endpoint.port]
    if same_port:
        return "listens_on_other_address", same_port[0]
    elsewhere = same_service(seen)
    if elsewhere is not None:
        return "listens_on_other_port", elsewhere
    if is_loopback(reply.place):
        if not means_loopback(endpoint) and not seen.own_name:
            return "name_resolves_elsewhere", None
        if machine.container:
            return "localhost_in_container", None
    return "nothing_listens", None


def _with_surroundings(seen: Seen, code: str) -> str:
    """A proxy stands before the target for every client that heeds it; a clash comes last, as it may yet work."""
    if seen.proxy is not None:
        knows = seen.proxy.accepts and not all(reply.ours for reply in seen.replies)
        if not seen.proxy.accepts or (code == "serves" and not knows):
            return "proxy_in_the_way"
    return "name_clash" if code == "serves" and seen.clash else code
