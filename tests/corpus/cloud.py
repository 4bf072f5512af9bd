"""Clients of clouds and of what runs in them: they speak HTTP, and show its status each in their own way."""

from __future__ import annotations

import base64
import json
import socket
from typing import Any

from fake_servers import Handler, silence

from .entry import Answer, Book, Place

book = Book("cloud")


def _url(place: Place) -> str:
    return f"http://{place.netloc}"


# AWS.


def _aws(place: Place) -> dict[str, Any]:
    from botocore.config import Config

    return {
        "endpoint_url": _url(place),
        "region_name": "eu-west-1",
        "aws_access_key_id": place.user,
        "aws_secret_access_key": place.password,
        "config": Config(connect_timeout=place.timeout, read_timeout=place.timeout, retries={"total_max_attempts": 1}),
    }


@book.entry("boto3 s3")
def boto3_s3(place: Place) -> None:
    import boto3

    boto3.session.Session().client("s3", **_aws(place)).list_buckets()


@book.entry("boto3 s3 resource")
def boto3_resource(place: Place) -> None:
    import boto3

    list(boto3.session.Session().resource("s3", **_aws(place)).buckets.all())


@book.entry("boto3 sqs")
def boto3_sqs(place: Place) -> None:
    import boto3

    boto3.session.Session().client("sqs", **_aws(place)).list_queues()


@book.entry("boto3 dynamodb")
def boto3_dynamodb(place: Place) -> None:
    import boto3

    boto3.session.Session().client("dynamodb", **_aws(place)).list_tables()


@book.entry("botocore session")
def botocore_session(place: Place) -> None:
    import botocore.session

    botocore.session.Session().create_client("sns", **_aws(place)).list_topics()


@book.entry("aiobotocore s3")
async def aiobotocore_s3(place: Place) -> None:
    from aiobotocore.session import get_session

    async with get_session().create_client("s3", **_aws(place)) as client:
        await client.list_buckets()


@book.entry("aiobotocore sqs")
async def aiobotocore_sqs(place: Place) -> None:
    from aiobotocore.session import get_session

    async with get_session().create_client("sqs", **_aws(place)) as client:
        await client.list_queues()


@book.entry("s3fs S3FileSystem")
def s3fs_ls(place: Place) -> None:
    import s3fs

    class Once(s3fs.S3FileSystem):  # type: ignore[misc]
        retries = 1

    system = Once(
        key=place.user,
        secret=place.password,
        endpoint_url=_url(place),
        skip_instance_cache=True,
        config_kwargs={
            "connect_timeout": place.timeout,
            "read_timeout": place.timeout,
            "retries": {"total_max_attempts": 1},
        },
    )
    system.ls("things")


def _minio(place: Place) -> Any:
    import minio
    import urllib3

    pool = urllib3.PoolManager(timeout=place.timeout, retries=False)
    login = {"access_key": place.user, "secret_key": place.password}
    return minio.Minio(place.netloc, **login, secure=False, region="eu-west-1", http_client=pool)


@book.entry("minio bucket_exists")
def minio_exists(place: Place) -> None:
    _minio(place).bucket_exists("things")


@book.entry("minio list_buckets")
def minio_list(place: Place) -> None:
    _minio(place).list_buckets()


# Azure and Google.

_KEY = base64.b64encode(b"a key").decode()


def _azure(place: Place) -> dict[str, Any]:
    return {
        "account_url": f"{_url(place)}/things",
        "credential": {"account_name": "things", "account_key": _KEY},
        "retry_total": 0,
        "connection_timeout": place.timeout,
        "read_timeout": place.timeout,
    }


@book.entry("azure-storage-blob BlobServiceClient")
def azure_blob(place: Place) -> None:
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient(**_azure(place)) as client:
        client.get_service_properties()


@book.entry("azure-storage-blob ContainerClient")
def azure_container(place: Place) -> None:
    from azure.storage.blob import ContainerClient

    with ContainerClient(container_name="people", **_azure(place)) as client:
        list(client.list_blobs())


@book.entry("azure-storage-blob aio BlobServiceClient")
async def azure_blob_aio(place: Place) -> None:
    from azure.storage.blob.aio import BlobServiceClient

    async with BlobServiceClient(**_azure(place)) as client:
        await client.get_service_properties()


@book.entry("google-cloud-storage list_buckets")
def google_list(place: Place) -> None:
    list(_google(place).list_buckets(retry=None, timeout=place.timeout))


@book.entry("google-cloud-storage download_as_bytes")
def google_download(place: Place) -> None:
    _google(place).bucket("things").blob("thing").download_as_bytes(retry=None, timeout=place.timeout)


def _google(place: Place) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    options = {"api_endpoint": _url(place)}
    return storage.Client(project="things", credentials=AnonymousCredentials(), client_options=options)


# Docker and Kubernetes.


@book.entry("docker DockerClient.ping")
def docker_ping(place: Place) -> None:
    import docker

    docker.DockerClient(f"tcp://{place.netloc}", version="1.41", timeout=place.timeout).ping()


@book.entry("docker DockerClient with its version asked for")
def docker_auto(place: Place) -> None:
    import docker

    docker.DockerClient(f"tcp://{place.netloc}", timeout=place.timeout).close()


@book.entry("docker APIClient.containers")
def docker_containers(place: Place) -> None:
    import docker

    docker.APIClient(f"tcp://{place.netloc}", version="1.41", timeout=place.timeout).containers()


@book.entry("kubernetes CoreV1Api")
def kubernetes_list(place: Place) -> None:
    import kubernetes.client as kubernetes

    with kubernetes.ApiClient(_kubernetes(place)) as client:
        kubernetes.CoreV1Api(client).list_namespace(_request_timeout=place.timeout)


@book.entry("kubernetes Watch.stream")
def kubernetes_watch(place: Place) -> None:
    import kubernetes.client as kubernetes
    from kubernetes import watch

    with kubernetes.ApiClient(_kubernetes(place)) as client:
        calls = kubernetes.CoreV1Api(client)
        for _ in watch.Watch().stream(calls.list_namespace, _request_timeout=place.timeout, timeout_seconds=1):
            pass
        raise RuntimeError("nothing was said")


def _kubernetes(place: Place) -> Any:
    import kubernetes.client

    settings = kubernetes.client.Configuration(host=_url(place))
    settings.retries = 0
    return settings


@book.entry("kubernetes_asyncio CoreV1Api")
async def kubernetes_asyncio_list(place: Place) -> None:
    from kubernetes_asyncio import client as kubernetes

    settings = kubernetes.Configuration(host=_url(place))
    async with kubernetes.ApiClient(settings) as client:
        await kubernetes.CoreV1Api(client).list_namespace(_request_timeout=place.timeout)


# Consul, Vault and etcd.


@book.entry("python-consul kv.get")
def consul_get(place: Place) -> None:
    import functools

    import consul

    client = consul.Consul(f"[{place.host}]" if ":" in place.host else place.host, int(place.port))
    session = client.http.session
    session.request = functools.partial(session.request, timeout=place.timeout)
    client.kv.get("thing")


@book.entry("hvac read_secret")
def hvac_read(place: Place) -> None:
    import hvac

    client = hvac.Client(_url(place), token=place.password, timeout=place.timeout)
    client.secrets.kv.v2.read_secret_version("thing", raise_on_deleted_version=True)


@book.entry("hvac login")
def hvac_login(place: Place) -> None:
    import hvac

    hvac.Client(_url(place), timeout=place.timeout).auth.userpass.login(place.user, place.password)


# What they may answer.


def _says(status: str, body: bytes, kind: str, azure: str = "-") -> Handler:
    """Answer every request with this status."""

    def handler(connection: socket.socket) -> None:
        connection.recv(65_536)
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(f"{head}x-ms-error-code: {azure}\r\nConnection: close\r\n\r\n".encode() + body)
        connection.shutdown(socket.SHUT_WR)
        silence(connection)

    return handler


def _xml(status: str, code: str, message: str) -> Handler:
    """Answer as S3, Azure and the other services of AWS do: an error in XML, or in JSON where that is asked for."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"

    def handler(connection: socket.socket) -> None:
        head = connection.recv(65_536, socket.MSG_PEEK)
        if b"x-amz-json" in head:
            body = json.dumps({"__type": f"com.amazon.coral.service#{code}", "message": message})
            _says(status, body.encode(), "application/x-amz-json-1.0")(connection)
        elif head.startswith(b"POST"):
            _says(status, f"<ErrorResponse>{error}</ErrorResponse>".encode(), "text/xml")(connection)
        else:
            _says(status, error.encode(), "application/xml", code)(connection)

    return handler


def _json(status: str, message: str) -> Handler:
    """Answer as Docker, Kubernetes, Vault and Google do: an error in JSON."""
    number = int(status.split()[0])
    error = {"kind": "Status", "code": number, "reason": "X", "message": message, "errors": [message]}
    return _says(status, json.dumps(error).encode(), "application/json")


_OF_XML = ("boto3", "botocore", "aiobotocore", "s3fs", "minio", "azure-storage-blob")
_OF_JSON = ("google-cloud-storage", "docker", "kubernetes", "kubernetes_asyncio", "python-consul", "hvac")

_NOT_AWS: dict[str, str | None] = dict.fromkeys((*_OF_JSON, "azure-storage-blob"), "skip")
_NOT_AZURE: dict[str, str | None] = dict.fromkeys((*_OF_JSON, *_OF_XML[:-1]), "skip")
_NOT_XML: dict[str, str | None] = dict.fromkeys(_OF_JSON, "skip")
_NOT_JSON: dict[str, str | None] = dict.fromkeys(_OF_XML, "skip")

_HEAD: dict[str, str | None] = {"minio bucket_exists": None}
"""A HEAD: only its status is known."""

_ANONYMOUS: dict[str, str | None] = {"google-cloud-storage": None}
"""It says that its credentials cannot be refreshed."""

_LIE = "dial tcp 10.0.0.1:80: connect: connection refused: [Errno 111] Connection refused"

book.answers += [
    Answer("unknown key", _xml("403 Forbidden", "InvalidAccessKeyId", "no such key"), "hopeless", _NOT_AWS | _HEAD),
    Answer("wrong key", _xml("403 Forbidden", "SignatureDoesNotMatch", "no"), "hopeless", _NOT_AWS | _HEAD),
    Answer("wrong Azure key", _xml("403 Forbidden", "AuthenticationFailed", "no"), "hopeless", _NOT_AZURE),
    Answer("throttled", _xml("503 Service Unavailable", "ServiceUnavailable", "later"), "not_ready", _NOT_XML),
    Answer("an error that lies", _xml("500 Internal Server Error", "InternalError", _LIE), None, _NOT_XML),
    Answer("wrong token", _json("401 Unauthorized", "Unauthorized"), "hopeless", _NOT_JSON | _ANONYMOUS),
    Answer("unavailable", _json("503 Service Unavailable", "starting"), "not_ready", _NOT_JSON),
    Answer("a status that lies", _json("500 Internal Server Error", _LIE), None, _NOT_JSON),
    Answer("a gateway that lies", _json("502 Bad Gateway", _LIE), None, _NOT_JSON),
]
