"""Clients of directories and of remote machines: LDAP, SSH, SMB."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import uuid
from typing import Any

from fake_servers import Handler, says, silence

from .entry import Answer, Book, Place

# LDAP.

ldap = Book("ldap")

_NAME = "cn=someone,dc=things"


def _ldap3(place: Place, **settings: Any) -> None:
    import ldap3

    server = ldap3.Server(place.host, int(place.port), connect_timeout=place.seconds, get_info=ldap3.NONE)
    login = {"user": _NAME, "password": place.password, "receive_timeout": place.seconds}
    ldap3.Connection(server, **login, auto_bind=True, **settings).unbind()


@ldap.entry("ldap3 Connection")
def ldap3_connection(place: Place) -> None:
    _ldap3(place)


@ldap.entry("ldap3 Connection with raise_exceptions")
def ldap3_raising(place: Place) -> None:
    _ldap3(place, raise_exceptions=True)


@ldap.entry("ldap3 Connection of ServerPool")
def ldap3_pool(place: Place) -> None:
    import ldap3

    ldap3.set_config_parameter("POOLING_LOOP_TIMEOUT", 0.1)
    server = ldap3.Server(place.host, int(place.port), connect_timeout=place.seconds, get_info=ldap3.NONE)
    pool = ldap3.ServerPool([server], ldap3.FIRST, active=1, exhaust=False)
    login = {"user": _NAME, "password": place.password, "receive_timeout": place.seconds}
    ldap3.Connection(pool, **login, auto_bind=True).unbind()


@ldap.entry("ldap3 SAFE_SYNC")
def ldap3_safe(place: Place) -> None:
    import ldap3

    _ldap3(place, client_strategy=ldap3.SAFE_SYNC)


@ldap.entry("ldap3 Connection over TLS")
def ldap3_tls(place: Place) -> None:
    import ldap3

    patience = {"connect_timeout": place.seconds, "get_info": ldap3.NONE}
    server = ldap3.Server(place.host, int(place.port), use_ssl=True, **patience)
    ldap3.Connection(server, auto_bind=True, receive_timeout=place.seconds).unbind()


def _python_ldap(connection: Any, place: Place) -> None:
    import ldap

    connection.set_option(ldap.OPT_NETWORK_TIMEOUT, place.timeout)
    connection.set_option(ldap.OPT_TIMEOUT, place.timeout)
    try:
        connection.simple_bind_s(_NAME, place.password)
    finally:
        with contextlib.suppress(ldap.LDAPError, AttributeError):
            connection.unbind_s()


@ldap.entry("python-ldap simple_bind_s")
def python_ldap_bind(place: Place) -> None:
    import ldap

    _python_ldap(ldap.initialize(f"ldap://{place.netloc}"), place)


@ldap.entry("python-ldap ReconnectLDAPObject")
def python_ldap_reconnect(place: Place) -> None:
    from ldap.ldapobject import ReconnectLDAPObject

    _python_ldap(ReconnectLDAPObject(f"ldap://{place.netloc}", retry_max=1, retry_delay=0), place)


@ldap.entry("python-ldap simple_bind_s over TLS")
def python_ldap_tls(place: Place) -> None:
    import ldap

    _python_ldap(ldap.initialize(f"ldaps://{place.netloc}"), place)


@ldap.entry("python-ldap search_s")
def python_ldap_search(place: Place) -> None:
    import ldap

    connection = ldap.initialize(f"ldap://{place.netloc}")
    connection.set_option(ldap.OPT_NETWORK_TIMEOUT, place.timeout)
    connection.set_option(ldap.OPT_TIMEOUT, place.timeout)
    connection.search_s("dc=things", ldap.SCOPE_BASE)


def _ldap_says(code: int, text: bytes = b"") -> Handler:
    """Answer a bind, or a search, with this result code."""

    def handler(connection: socket.socket) -> None:
        request = connection.recv(65_536)
        if len(request) < 6:
            return
        answer = 0x61 if request[5] == 0x60 else 0x65
        result = b"\x0a\x01" + bytes([code]) + b"\x04\0" + b"\x04" + bytes([len(text)]) + text
        message = request[2:5] + bytes([answer, len(result)]) + result
        connection.sendall(b"\x30" + bytes([len(message)]) + message)
        silence(connection)

    return handler


_TLS: dict[str, str | None] = {client.name: "any" for client in ldap.entries if "TLS" in client.name}

ldap.answers += [
    Answer("wrong password", _ldap_says(49), "hopeless", _TLS),
    Answer("busy", _ldap_says(51), "not_ready", _TLS),
    Answer("unavailable", _ldap_says(52, b"not started yet"), "not_ready", _TLS),
    Answer("unwilling", _ldap_says(53, b"[Errno 111] Connection refused"), None, _TLS),
]

# SSH.

ssh = Book("ssh")


@ssh.entry("paramiko SSHClient")
def paramiko_client(place: Place) -> None:
    import paramiko

    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(place.host, int(place.port), **_paramiko(place))


def _paramiko(place: Place) -> dict[str, Any]:
    return {
        "username": place.user,
        "password": place.password,
        "timeout": place.timeout,
        "banner_timeout": place.timeout,
        "auth_timeout": 5 * place.timeout,
        "allow_agent": False,
        "look_for_keys": False,
    }


@ssh.entry("paramiko Transport")
def paramiko_transport(place: Place) -> None:
    import paramiko

    socket.setdefaulttimeout(place.timeout)  # it has no other for its connect
    try:
        transport = paramiko.Transport((place.host, int(place.port)))
    finally:
        socket.setdefaulttimeout(None)
    transport.banner_timeout = place.timeout
    try:
        transport.connect(username=place.user, password=place.password)
    finally:
        transport.close()


@ssh.entry("paramiko SFTPClient")
def paramiko_sftp(place: Place) -> None:
    import paramiko

    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(place.host, int(place.port), **_paramiko(place))
        client.open_sftp()


def _asyncssh(place: Place) -> dict[str, Any]:
    login = {"username": place.user, "password": place.password, "known_hosts": None, "client_keys": None}
    return {**login, "config": None, "connect_timeout": place.timeout, "login_timeout": 5 * place.timeout}


@ssh.entry("asyncssh connect")
async def asyncssh_connect(place: Place) -> None:
    import asyncssh

    async with asyncssh.connect(place.host, int(place.port), **_asyncssh(place)):
        pass


@ssh.entry("asyncssh create_connection")
async def asyncssh_create(place: Place) -> None:
    import asyncssh

    connection, _ = await asyncssh.create_connection(
        asyncssh.SSHClient, place.host, int(place.port), **_asyncssh(place)
    )
    connection.close()


@ssh.entry("asyncssh get_server_host_key")
async def asyncssh_key(place: Place) -> None:
    import asyncssh

    asking = asyncssh.get_server_host_key(place.host, int(place.port), config=None)
    await asyncio.wait_for(asking, 2 * place.timeout)


@ssh.entry("fabric Connection.open")
def fabric_open(place: Place) -> None:
    _fabric(place).open()


@ssh.entry("fabric Connection.run")
def fabric_run(place: Place) -> None:
    _fabric(place).run("true", hide=True)


def _fabric(place: Place) -> Any:
    import fabric

    settings = _paramiko(place)
    login = {"user": settings.pop("username"), "connect_timeout": settings.pop("timeout")}
    nothing = fabric.Config(overrides={"load_ssh_configs": False})
    return fabric.Connection(place.host, port=int(place.port), **login, connect_kwargs=settings, config=nothing)


@ssh.entry("netmiko ConnectHandler")
def netmiko_connect(place: Place) -> None:
    import netmiko

    login = {"username": place.user, "password": place.password}
    patience = {"conn_timeout": place.timeout, "banner_timeout": place.timeout, "auth_timeout": 5 * place.timeout}
    netmiko.ConnectHandler(device_type="linux", host=place.host, port=int(place.port), **login, **patience).disconnect()


@ssh.entry("ncclient manager.connect")
def ncclient_connect(place: Place) -> None:
    from ncclient import manager

    login = {"username": place.user, "password": place.password, "hostkey_verify": False}
    manager.connect(
        host=place.host,
        port=int(place.port),
        timeout=place.timeout,
        allow_agent=False,
        look_for_keys=False,
        **login,
    ).close_session()


@ssh.entry("plumbum ParamikoMachine")
def plumbum_machine(place: Place) -> None:
    from paramiko import AutoAddPolicy
    from plumbum.machines.paramiko_machine import ParamikoMachine

    ParamikoMachine(
        place.host,
        port=int(place.port),
        user=place.user,
        password=place.password,
        connect_timeout=place.timeout,
        missing_host_policy=AutoAddPolicy(),
        look_for_keys=False,
        load_system_host_keys=False,
    ).close()


@functools.cache
def _host_key() -> Any:
    import paramiko

    return paramiko.RSAKey.generate(2048)


def _ssh_refuses(connection: socket.socket) -> None:
    """Shake hands, and let nobody in."""
    import paramiko

    class Nobody(paramiko.ServerInterface):  # type: ignore[misc]
        def get_allowed_auths(self, username: str) -> str:
            return "password"

    with contextlib.suppress(paramiko.SSHException, EOFError, OSError), paramiko.Transport(connection) as transport:
        transport.add_server_key(_host_key())
        transport.start_server(server=Nobody())
        transport.join(10)


_TOO_MANY = b"Exceeded MaxStartups\r\n"
_NO_CHECK: dict[str, str | None] = {"asyncssh get_server_host_key": "skip"}

ssh.answers += [
    Answer("wrong password", _ssh_refuses, "hopeless", _NO_CHECK),
    Answer("too many at once", says(_TOO_MANY), None),
]

# SMB.

smb = Book("smb")


@smb.entry("smbprotocol Connection")
def smb_connection(place: Place) -> None:
    from smbprotocol.connection import Connection

    connection = Connection(uuid.uuid4(), place.host, int(place.port))
    try:
        connection.connect(timeout=place.timeout)
    finally:
        with contextlib.suppress(Exception):
            connection.disconnect(close=False)


@smb.entry("smbprotocol smbclient.register_session")
def smb_session(place: Place) -> None:
    import smbclient

    login = {"username": place.user, "password": place.password}
    smbclient.register_session(place.host, port=int(place.port), **login, connection_timeout=place.timeout)


BOOKS = (ldap, ssh, smb)
