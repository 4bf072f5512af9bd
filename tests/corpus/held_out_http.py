"""Clients of HTTP services: models, search, stores of vectors. Nobody looked at them while the rules were written."""

from __future__ import annotations

from typing import Any

from .entry import Answer, Book, Place
from .held_out import host_in_url, in_time, url
from .servers import LIE, _http, says

book = Book("http", held_out=True)


@book.entry("pysolr search")
def _pysolr(place: Place) -> None:
    import pysolr

    pysolr.Solr(f"{url(place)}/solr/things", timeout=place.timeout).search("*:*")


@book.entry("qdrant-client QdrantClient")
def _qdrant(place: Place) -> None:
    from qdrant_client import QdrantClient

    client = QdrantClient(
        url=url(place), port=int(place.port), timeout=place.seconds, check_compatibility=False, trust_env=False
    )
    client.get_collections()


@book.entry("qdrant-client AsyncQdrantClient")
async def _qdrant_async(place: Place) -> None:
    from qdrant_client import AsyncQdrantClient

    client = AsyncQdrantClient(
        url=url(place), port=int(place.port), timeout=place.seconds, check_compatibility=False, trust_env=False
    )
    await client.get_collections()


@book.entry("qdrant-client over gRPC")
def _qdrant_grpc(place: Place) -> None:
    from qdrant_client import QdrantClient

    client = QdrantClient(
        host=host_in_url(place),
        grpc_port=int(place.port),
        prefer_grpc=True,
        timeout=place.seconds,
        check_compatibility=False,
    )
    client.get_collections()


def _weaviate_options(place: Place) -> dict[str, Any]:
    from weaviate.classes.init import AdditionalConfig, Timeout

    return {
        "http_host": host_in_url(place),
        "http_port": int(place.port),
        "http_secure": False,
        "grpc_host": "localhost" if place.host == "127.0.0.1" else "127.0.0.1",  # not twice the same place
        "grpc_port": int(place.port),
        "grpc_secure": False,
        "additional_config": AdditionalConfig(
            timeout=Timeout(init=place.timeout, query=place.timeout, insert=place.timeout)
        ),
    }


@book.entry("weaviate-client connect_to_custom")
def _weaviate(place: Place) -> None:
    import weaviate

    weaviate.connect_to_custom(**_weaviate_options(place)).close()


@book.entry("weaviate-client use_async_with_custom")
async def _weaviate_async(place: Place) -> None:
    import weaviate

    async with weaviate.use_async_with_custom(**_weaviate_options(place)):
        pass


@book.entry("chromadb-client HttpClient")
def _chroma(place: Place) -> None:
    import chromadb
    from chromadb.config import Settings

    settings = Settings(anonymized_telemetry=False)
    in_time(place, lambda: chromadb.HttpClient(host=url(place), port=int(place.port), settings=settings))


@book.entry("chromadb-client AsyncHttpClient")
async def _chroma_async(place: Place) -> None:
    import chromadb
    from chromadb.config import Settings

    await chromadb.AsyncHttpClient(host=url(place), port=int(place.port), settings=Settings(anonymized_telemetry=False))


@book.entry("openai OpenAI")
def _openai(place: Place) -> None:
    import openai

    with openai.OpenAI(base_url=url(place), api_key=place.password, max_retries=0, timeout=place.timeout) as client:
        client.models.list()


@book.entry("openai AsyncOpenAI")
async def _openai_async(place: Place) -> None:
    import openai

    async with openai.AsyncOpenAI(
        base_url=url(place), api_key=place.password, max_retries=0, timeout=place.timeout
    ) as client:
        await client.models.list()


@book.entry("anthropic Anthropic")
def _anthropic(place: Place) -> None:
    import anthropic

    with anthropic.Anthropic(
        base_url=url(place), api_key=place.password, max_retries=0, timeout=place.timeout
    ) as client:
        client.models.list()


@book.entry("anthropic AsyncAnthropic")
async def _anthropic_async(place: Place) -> None:
    import anthropic

    async with anthropic.AsyncAnthropic(
        base_url=url(place), api_key=place.password, max_retries=0, timeout=place.timeout
    ) as client:
        await client.models.list()


@book.entry("ollama Client")
def _ollama(place: Place) -> None:
    import ollama

    ollama.Client(host=url(place), timeout=place.timeout).list()


@book.entry("ollama AsyncClient")
async def _ollama_async(place: Place) -> None:
    import ollama

    await ollama.AsyncClient(host=url(place), timeout=place.timeout).list()


@book.entry("groq Groq")
def _groq(place: Place) -> None:
    import groq

    with groq.Groq(base_url=url(place), api_key=place.password, max_retries=0, timeout=place.timeout) as client:
        client.models.list()


@book.entry("cohere ClientV2")
def _cohere(place: Place) -> None:
    import cohere

    cohere.Client(base_url=url(place), api_key=place.password, timeout=place.timeout).models.list(
        request_options={"max_retries": 0}
    )


@book.entry("mcp streamable HTTP")
async def _mcp(place: Place) -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async with (
        streamable_http_client(f"{url(place)}/mcp") as streams,
        ClientSession(streams[0], streams[1]) as session,
    ):
        await session.initialize()


@book.entry("meilisearch health")
def _meilisearch(place: Place) -> None:
    import meilisearch

    meilisearch.Client(url(place), place.password, timeout=place.seconds).health()


@book.entry("typesense collections")
def _typesense(place: Place) -> None:
    import typesense

    client = typesense.Client(
        {
            "nodes": [{"host": place.host, "port": str(place.port), "protocol": "http"}],
            "api_key": place.password,
            "connection_timeout_seconds": place.timeout,
            "num_retries": 1,
            "retry_interval_seconds": 0.01,
        }
    )
    client.collections.retrieve()


@book.entry("slack_sdk WebClient")
def _slack(place: Place) -> None:
    from slack_sdk import WebClient

    WebClient(base_url=f"{url(place)}/api/", timeout=place.seconds, retry_handlers=[]).api_test()


@book.entry("slack_sdk AsyncWebClient")
async def _slack_async(place: Place) -> None:
    from slack_sdk.web.async_client import AsyncWebClient

    await AsyncWebClient(base_url=f"{url(place)}/api/", timeout=place.seconds, retry_handlers=[]).api_test()


@book.entry("python-socketio Client")
def _socketio(place: Place) -> None:
    import socketio

    client = socketio.Client(reconnection=False, request_timeout=place.seconds)
    client.connect(url(place), wait_timeout=place.seconds)
    client.disconnect()


@book.entry("python-socketio Client over WebSocket")
def _socketio_websocket(place: Place) -> None:
    import socketio

    client = socketio.Client(reconnection=False, request_timeout=place.seconds)
    client.connect(url(place), transports=["websocket"], wait_timeout=place.seconds)
    client.disconnect()


@book.entry("python-socketio AsyncClient")
async def _socketio_async(place: Place) -> None:
    import socketio

    client = socketio.AsyncClient(reconnection=False, request_timeout=place.seconds)
    await client.connect(url(place), wait_timeout=place.seconds)
    await client.disconnect()


@book.entry("zeep Client")
def _zeep(place: Place) -> None:
    import zeep

    zeep.Client(f"{url(place)}/?wsdl", transport=zeep.Transport(timeout=place.timeout))


@book.entry("zeep AsyncClient")
async def _zeep_async(place: Place) -> None:
    import httpx
    import zeep
    from zeep.transports import AsyncTransport

    async with httpx.AsyncClient() as client:
        with httpx.Client(timeout=place.timeout) as wsdl_client:
            zeep.AsyncClient(f"{url(place)}/?wsdl", transport=AsyncTransport(client=client, wsdl_client=wsdl_client))


@book.entry("jira JIRA")
def _jira(place: Place) -> None:
    import jira

    jira.JIRA(server=url(place), max_retries=0, timeout=place.timeout, get_server_info=True)


book.answers += [
    Answer("a body that lies", says(_http("500 Internal Server Error", b'{"error": "' + LIE.strip() + b'"}')), "any"),
    Answer("a page that lies", says(_http("200 OK", b'{"errors": [{"message": "' + LIE.strip() + b'"}]}')), "any"),
]
