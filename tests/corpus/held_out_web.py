"""More clients of HTTP and WebSocket, that nobody looked at while the rules were written: queries, tokens, files."""

from __future__ import annotations

from dataclasses import replace

from .entry import Answer, Book, Place
from .held_out import host_in_url, in_time, ipv4, one_address, url
from .servers import LIE, _http, says

book = Book("web", held_out=True)


@book.entry("gql AIOHTTPTransport")
async def _gql_aiohttp(place: Place) -> None:
    from gql import Client, gql
    from gql.transport.aiohttp import AIOHTTPTransport

    async with Client(transport=AIOHTTPTransport(url(place), timeout=place.seconds)) as session:
        await session.execute(gql("{ things }"))


@book.entry("gql RequestsHTTPTransport")
def _gql_requests(place: Place) -> None:
    from gql import Client, gql
    from gql.transport.requests import RequestsHTTPTransport

    with Client(transport=RequestsHTTPTransport(url(place), timeout=place.seconds)) as session:
        session.execute(gql("{ things }"))


@book.entry("gql HTTPXTransport")
def _gql_httpx(place: Place) -> None:
    from gql import Client, gql
    from gql.transport.httpx import HTTPXTransport

    with Client(transport=HTTPXTransport(url(place), timeout=place.timeout)) as session:
        session.execute(gql("{ things }"))


@book.entry("gql WebsocketsTransport")
async def _gql_websockets(place: Place) -> None:
    from gql import Client, gql
    from gql.transport.websockets import WebsocketsTransport

    transport = WebsocketsTransport(url(place, "ws"), connect_timeout=place.seconds, ack_timeout=place.seconds)
    async with Client(transport=transport) as session:
        await session.execute(gql("{ things }"))


@book.entry("sgqlc HTTPEndpoint")
def _sgqlc(place: Place) -> None:
    from sgqlc.endpoint.http import HTTPEndpoint

    answer = HTTPEndpoint(url(place), timeout=place.timeout)("{ things }")
    if "errors" in answer:
        raise answer["errors"][0].get("exception") or RuntimeError("an error of GraphQL's")


@book.entry("hishel CacheClient")
def _hishel(place: Place) -> None:
    from hishel.httpx import CacheClient

    with CacheClient(timeout=place.timeout) as client:
        client.get(url(place)).raise_for_status()


@book.entry("SPARQLWrapper query")
def _sparqlwrapper(place: Place) -> None:
    from SPARQLWrapper import JSON, SPARQLWrapper

    wrapper = SPARQLWrapper(f"{url(place)}/sparql", returnFormat=JSON)
    wrapper.setTimeout(place.seconds)
    wrapper.setQuery("SELECT * WHERE { ?s ?p ?o }")
    wrapper.queryAndConvert()


@book.entry("rdflib SPARQLStore")
def _rdflib(place: Place) -> None:
    from rdflib.plugins.stores.sparqlstore import SPARQLStore

    store = SPARQLStore(f"{url(place)}/sparql")
    in_time(place, lambda: list(store.query("SELECT * WHERE { ?s ?p ?o }")))


@book.entry("gremlinpython Client")
def _gremlin(place: Place) -> None:
    from gremlin_python.driver.client import Client

    client = Client(url(place, "ws") + "/gremlin", "g", pool_size=1)
    in_time(place, lambda: client.submit("1").all().result(place.timeout))
    client.close()


@book.entry("surrealdb Surreal over HTTP")
def _surreal(place: Place) -> None:
    from surrealdb import Surreal

    Surreal(url(place)).version()


@book.entry("surrealdb Surreal over WebSocket")
def _surreal_websocket(place: Place) -> None:
    from surrealdb import Surreal

    with Surreal(url(place, "ws")) as client:
        client.version()


@book.entry("surrealdb AsyncSurreal over WebSocket")
async def _surreal_async(place: Place) -> None:
    from surrealdb import AsyncSurreal

    async with AsyncSurreal(url(place, "ws")) as client:
        await client.version()


@book.entry("prometheus-api-client custom_query")
def _prometheus(place: Place) -> None:
    from prometheus_api_client import PrometheusConnect
    from urllib3 import Retry

    PrometheusConnect(url(place), retry=Retry(0), timeout=place.seconds).custom_query("up")


@book.entry("CouchDB Server")
def _couchdb(place: Place) -> None:
    import couchdb

    couchdb.Server(url(place), session=couchdb.Session(timeout=place.timeout, retry_delays=[])).version()


@book.entry("ibmcloudant get_server_information")
def _cloudant(place: Place) -> None:
    from ibm_cloud_sdk_core.authenticators import NoAuthAuthenticator
    from ibmcloudant.cloudant_v1 import CloudantV1

    client = CloudantV1(authenticator=NoAuthAuthenticator())
    client.set_service_url(url(place))
    client.set_http_config({"timeout": place.timeout})
    client.get_server_information()


@book.entry("python-gitlab version")
def _gitlab(place: Place) -> None:
    import gitlab

    with gitlab.Gitlab(url(place), private_token=place.password, timeout=place.timeout) as client:
        client.projects.list()


@book.entry("python-jenkins get_version")
def _jenkins(place: Place) -> None:
    import jenkins

    jenkins.Jenkins(url(place), timeout=place.timeout).get_version()


@book.entry("python-nomad agent")
def _nomad(place: Place) -> None:
    import nomad

    nomad.Nomad(host=host_in_url(place), port=int(place.port), timeout=place.seconds).agent.get_agent()


@book.entry("aiodocker version")
async def _aiodocker(place: Place) -> None:
    import aiodocker
    import aiohttp

    async with aiodocker.Docker(url=url(place), timeout=aiohttp.ClientTimeout(place.timeout)) as docker:
        await docker.version()


@book.entry("crate connect")
def _crate(place: Place) -> None:
    from crate import client

    with client.connect(url(place), timeout=place.timeout, error_trace=True) as connection:
        connection.cursor().execute("SELECT 1")


@book.entry("pinotdb connect")
def _pinot(place: Place) -> None:
    import pinotdb

    connection = pinotdb.connect(host=host_in_url(place), port=place.port, path="/query/sql", timeout=place.timeout)
    connection.cursor().execute("SELECT 1")


@book.entry("pyexasol connect")
def _exasol(place: Place) -> None:
    import pyexasol

    pyexasol.connect(
        dsn=f"{ipv4(place)}:{place.port}",
        user=place.user,
        password=place.password,
        connection_timeout=place.seconds,
        socket_timeout=place.seconds,
    ).close()


@book.entry("aiochclient ChClient")
async def _aiochclient(place: Place) -> None:
    import aiochclient
    import aiohttp

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(place.timeout)) as session:
        await aiochclient.ChClient(session, url=url(place)).fetch("SELECT 1")


@book.entry("pydruid connect")
def _druid(place: Place) -> None:
    from pydruid.db import connect

    cursor = connect(host=host_in_url(place), port=place.port, path="/druid/v2/sql/", scheme="http").cursor()
    in_time(place, lambda: cursor.execute("SELECT 1"))


@book.entry("hdfs InsecureClient")
def _hdfs(place: Place) -> None:
    import hdfs

    hdfs.InsecureClient(url(place), user=place.user, timeout=place.timeout).status("/")


@book.entry("python-bitcoinrpc AuthServiceProxy")
def _bitcoin(place: Place) -> None:
    from bitcoinrpc.authproxy import AuthServiceProxy

    AuthServiceProxy(f"http://{place.user}:{place.password}@{place.netloc}", timeout=place.timeout).getblockcount()


@book.entry("caldav DAVClient")
def _caldav(place: Place) -> None:
    import caldav

    with caldav.DAVClient(url(place), timeout=place.seconds) as client:
        client.principal()


@book.entry("webdav4 Client")
def _webdav(place: Place) -> None:
    from webdav4.client import Client

    Client(url(place), timeout=place.timeout).ls("/")


@book.entry("postgrest SyncPostgrestClient")
def _postgrest(place: Place) -> None:
    from postgrest import SyncPostgrestClient

    with SyncPostgrestClient(url(place), timeout=place.timeout) as client:
        client.from_("things").select("*").execute()


@book.entry("jsonrpclib-pelix ServerProxy")
def _jsonrpclib(place: Place) -> None:
    import jsonrpclib

    in_time(place, jsonrpclib.ServerProxy(url(place)).things)


@book.entry("httpx-ws connect_ws")
def _httpx_ws(place: Place) -> None:
    import httpx
    import httpx_ws

    with httpx.Client(timeout=place.timeout) as client, httpx_ws.connect_ws(url(place), client) as session:
        session.receive(timeout=place.timeout)


@book.entry("picows ws_connect")
async def _picows(place: Place) -> None:
    import picows

    transport, _ = await picows.ws_connect(
        picows.WSListener, url(place, "ws"), websocket_handshake_timeout=place.timeout
    )
    transport.disconnect()


@book.entry("ws4py WebSocketClient")
def _ws4py(place: Place) -> None:
    from ws4py.client.threadedclient import WebSocketClient

    client = WebSocketClient(url(replace(place, host=one_address(place)), "ws"))
    client.sock.settimeout(place.timeout)
    client.connect()
    client.close()


@book.entry("requests-futures FuturesSession")
def _requests_futures(place: Place) -> None:
    from requests_futures.sessions import FuturesSession

    with FuturesSession() as session:
        session.get(url(place), timeout=place.timeout).result().raise_for_status()


@book.entry("pyzabbix ZabbixAPI")
def _zabbix(place: Place) -> None:
    from pyzabbix import ZabbixAPI

    ZabbixAPI(url(place), timeout=place.timeout).login(place.user, place.password)


@book.entry("splunk-sdk connect")
def _splunk(place: Place) -> None:
    from splunklib import client

    options = {"host": place.host, "port": place.port, "scheme": "http", "username": place.user}
    in_time(place, lambda: client.connect(**options, password=place.password))


@book.entry("marqo Client")
def _marqo(place: Place) -> None:
    import marqo

    in_time(place, lambda: marqo.Client(url=url(place)).get_indexes())


@book.entry("manticoresearch UtilsApi")
def _manticore(place: Place) -> None:
    import manticoresearch

    with manticoresearch.ApiClient(manticoresearch.Configuration(host=url(place))) as client:
        manticoresearch.UtilsApi(client).sql("SHOW TABLES", _request_timeout=place.timeout)


@book.entry("pylxd Client")
def _pylxd(place: Place) -> None:
    import pylxd

    pylxd.Client(endpoint=url(place), timeout=place.timeout)


@book.entry("proxmoxer ProxmoxAPI")
def _proxmox(place: Place) -> None:
    from proxmoxer import ProxmoxAPI

    ProxmoxAPI(
        place.host,
        port=int(place.port),
        user=f"{place.user}@pam",
        password=place.password,
        verify_ssl=False,
        timeout=place.seconds,
    )


@book.entry("pyvmomi SmartConnect")
def _vmomi(place: Place) -> None:
    from pyVim.connect import SmartConnect

    options = {"protocol": "http", "host": place.host, "port": int(place.port), "user": place.user}
    in_time(place, lambda: SmartConnect(**options, pwd=place.password))


@book.entry("py-eureka-client get_applications")
async def _eureka(place: Place) -> None:
    import py_eureka_client.eureka_client as eureka

    await eureka.get_applications(eureka_server=f"http://{ipv4(place)}:{place.port}/eureka")


@book.entry("PyJWT PyJWKClient")
def _pyjwt(place: Place) -> None:
    import jwt

    jwt.PyJWKClient(f"{url(place)}/keys", timeout=place.seconds).get_signing_keys()


@book.entry("google-auth Request")
def _google_auth(place: Place) -> None:
    from google.auth.transport.requests import Request

    Request()(url(place), timeout=place.timeout)


@book.entry("google-auth Credentials")
def _google_credentials(place: Place) -> None:
    from google.auth.transport.requests import AuthorizedSession
    from google.oauth2.credentials import Credentials

    credentials = Credentials(
        None, refresh_token="a", token_uri=f"{url(place)}/token", client_id="b", client_secret="c"
    )
    AuthorizedSession(credentials, max_refresh_attempts=0, refresh_timeout=place.timeout).get(
        url(place), timeout=place.timeout, max_allowed_time=place.timeout
    )


@book.entry("requests-oauthlib fetch_token")
def _requests_oauthlib(place: Place) -> None:
    import os

    from oauthlib.oauth2 import BackendApplicationClient
    from requests_oauthlib import OAuth2Session

    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    with OAuth2Session(client=BackendApplicationClient(client_id="a")) as session:
        session.fetch_token(f"{url(place)}/token", client_id="a", client_secret="b", timeout=place.timeout)


@book.entry("Authlib AsyncOAuth2Client")
async def _authlib(place: Place) -> None:
    from authlib.integrations.httpx_client import AsyncOAuth2Client

    async with AsyncOAuth2Client("a", "b", timeout=place.timeout) as client:
        await client.fetch_token(f"{url(place)}/token", grant_type="client_credentials")


@book.entry("fsspec http cat_file")
def _fsspec(place: Place) -> None:
    import aiohttp
    import fsspec

    timeout = aiohttp.ClientTimeout(place.timeout)
    fsspec.filesystem("http", client_kwargs={"timeout": timeout}, skip_instance_cache=True).cat_file(f"{url(place)}/a")


@book.entry("fsspec http info")
def _fsspec_info(place: Place) -> None:
    import aiohttp
    import fsspec

    timeout = aiohttp.ClientTimeout(place.timeout)
    fsspec.filesystem("http", client_kwargs={"timeout": timeout}, skip_instance_cache=True).info(f"{url(place)}/a")


@book.entry("fsspec webhdfs ls")
def _fsspec_webhdfs(place: Place) -> None:
    import fsspec

    files = fsspec.filesystem("webhdfs", host=host_in_url(place), port=place.port, skip_instance_cache=True)
    in_time(place, lambda: files.ls("/"))


@book.entry("pandas read_csv")
def _pandas(place: Place) -> None:
    import socket

    import pandas

    socket.setdefaulttimeout(place.timeout)  # it has none of its own
    try:
        pandas.read_csv(f"{url(place)}/things.csv", on_bad_lines="error")
    finally:
        socket.setdefaulttimeout(None)


@book.entry("xmlschema XMLSchema")
def _xmlschema(place: Place) -> None:
    import xmlschema

    xmlschema.XMLSchema(f"{url(place)}/things.xsd", timeout=place.seconds)


@book.entry("aiohttp-retry RetryClient")
async def _aiohttp_retry(place: Place) -> None:
    import aiohttp
    from aiohttp_retry import ExponentialRetry, RetryClient

    async with (
        RetryClient(
            raise_for_status=True,
            retry_options=ExponentialRetry(attempts=1),
            timeout=aiohttp.ClientTimeout(place.timeout),
        ) as client,
        client.get(url(place)),
    ):
        pass


@book.entry("simple-websocket Client")
def _simple_websocket(place: Place) -> None:
    import simple_websocket

    in_time(place, lambda: simple_websocket.Client(url(replace(place, host=one_address(place)), "ws")).close())


book.answers += [
    Answer("a body that lies", says(_http("500 Internal Server Error", b'{"error": "' + LIE.strip() + b'"}')), "any"),
    Answer("a page that lies", says(_http("200 OK", b'{"errors": [{"message": "' + LIE.strip() + b'"}]}')), "any"),
]
