"""Elasticsearch and OpenSearch."""

from __future__ import annotations

import json
from typing import Any

from fake_servers import Handler, says

from .entry import NO_IPV6, Answer, Book, Place


def _answer(status: str, kind: str, reason: str) -> Handler:
    """Answer the first request with an error of the server."""
    body = json.dumps({"error": {"type": kind, "reason": reason}, "status": int(status[:3])}).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Elastic-Product: Elasticsearch\r\n"
    return says(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)


ANSWERS = [
    Answer(
        "no master yet",
        _answer("503 Service Unavailable", "master_not_discovered_exception", "no master"),
        "not_ready",
        {"elasticsearch Elasticsearch sniffing": None},
    ),
    Answer(
        "wrong password",
        _answer("401 Unauthorized", "security_exception", "unable to authenticate user [someone]"),
        "hopeless",
        {"elasticsearch Elasticsearch sniffing": None},
    ),
    Answer("forbidden", _answer("403 Forbidden", "security_exception", "action is unauthorized"), None),
    Answer(
        "a quoted refusal",
        _answer("500 Internal Server Error", "connect_exception", "[Errno 111] Connection refused"),
        None,
    ),
    Answer(
        "a gateway's quoted refusal",
        _answer("502 Bad Gateway", "connect_exception", "[Errno 111] Connection refused"),
        None,
    ),
]

elasticsearch = Book("elasticsearch", answers=ANSWERS)
opensearch = Book("opensearch", answers=ANSWERS)

BOOKS = (elasticsearch, opensearch)


def _elasticsearch(place: Place, **settings: Any) -> dict[str, Any]:
    return {
        "hosts": f"http://{place.netloc}",
        "basic_auth": ("someone", "pass"),
        "request_timeout": place.timeout,
        "max_retries": 0,
        "retry_on_timeout": False,
        **settings,
    }


def _search(place: Place, **settings: Any) -> None:
    import elasticsearch

    with elasticsearch.Elasticsearch(**_elasticsearch(place, **settings)) as client:
        client.info()


async def _search_async(place: Place, **settings: Any) -> None:
    import elasticsearch

    async with elasticsearch.AsyncElasticsearch(**_elasticsearch(place, **settings)) as client:
        await client.info()


@elasticsearch.entry("elasticsearch Elasticsearch urllib3")
def _(place: Place) -> None:
    _search(place, node_class="urllib3")


@elasticsearch.entry("elasticsearch Elasticsearch requests")
def _(place: Place) -> None:
    _search(place, node_class="requests")


@elasticsearch.entry("elasticsearch Elasticsearch httpx", **NO_IPV6)
def _(place: Place) -> None:
    from elastic_transport import HttpxHttpNode

    _search(place, node_class=HttpxHttpNode)


@elasticsearch.entry("elasticsearch Elasticsearch two nodes")
def _(place: Place) -> None:
    _search(place, hosts=[f"http://{place.netloc}/a", f"http://{place.netloc}/b"], max_retries=1)


@elasticsearch.entry("elasticsearch Elasticsearch sniffing")
def _(place: Place) -> None:
    _search(place, sniff_on_start=True, sniff_timeout=place.timeout)


@elasticsearch.entry("elasticsearch AsyncElasticsearch aiohttp")
async def _(place: Place) -> None:
    await _search_async(place, node_class="aiohttp")


@elasticsearch.entry("elasticsearch AsyncElasticsearch httpx", **NO_IPV6)
async def _(place: Place) -> None:
    await _search_async(place, node_class="httpxasync")


@elasticsearch.entry("elasticsearch helpers bulk")
def _(place: Place) -> None:
    import elasticsearch
    from elasticsearch.helpers import bulk

    with elasticsearch.Elasticsearch(**_elasticsearch(place)) as client:
        bulk(client, [{"_index": "things", "_id": 1, "name": "a"}])


@elasticsearch.entry("elastic-transport Transport")
def _(place: Place) -> None:
    from elastic_transport import ApiError, NodeConfig, Transport

    transport = Transport([NodeConfig("http", place.host, int(place.port))], max_retries=0)
    try:
        meta, body = transport.perform_request("GET", "/", request_timeout=place.timeout)
    finally:
        transport.close()
    raise ApiError(f"status {meta.status}", meta, body)  # which it leaves to the clients built on it


def _opensearch(place: Place, **settings: Any) -> dict[str, Any]:
    return {
        "hosts": [{"host": place.host, "port": place.port, "scheme": "http"}],
        "http_auth": ("someone", "pass"),
        "timeout": place.timeout,
        "max_retries": 0,
        **settings,
    }


@opensearch.entry("opensearch-py OpenSearch urllib3")
def _(place: Place) -> None:
    import opensearchpy

    with opensearchpy.OpenSearch(**_opensearch(place)) as client:
        client.info()


@opensearch.entry("opensearch-py OpenSearch requests")
def _(place: Place) -> None:
    import opensearchpy

    with opensearchpy.OpenSearch(**_opensearch(place, connection_class=opensearchpy.RequestsHttpConnection)) as client:
        client.info()


@opensearch.entry("opensearch-py OpenSearch sniffing")
def _(place: Place) -> None:
    import opensearchpy

    with opensearchpy.OpenSearch(**_opensearch(place, sniff_on_start=True)) as client:
        client.info()


@opensearch.entry("opensearch-py helpers bulk")
def _(place: Place) -> None:
    import opensearchpy
    from opensearchpy.helpers import bulk

    with opensearchpy.OpenSearch(**_opensearch(place)) as client:
        bulk(client, [{"_index": "things", "_id": 1, "name": "a"}])


@opensearch.entry("opensearch-py AsyncOpenSearch")
async def _(place: Place) -> None:
    import opensearchpy

    # It forgets the brackets around an address of IPv6.
    hosts = [{"host": place.netloc.rpartition(":")[0], "port": place.port}]
    async with opensearchpy.AsyncOpenSearch(**_opensearch(place, hosts=hosts)) as client:
        await client.info()


@opensearch.entry("opensearch-py AsyncOpenSearch AsyncHttpConnection")
async def _(place: Place) -> None:
    import opensearchpy

    async with opensearchpy.AsyncOpenSearch(
        **_opensearch(place, connection_class=opensearchpy.AsyncHttpConnection)
    ) as client:
        await client.info()
