"""Clients of many other protocols that nobody looked at while the rules were written."""

from __future__ import annotations

import contextlib
from typing import Any

from .entry import Book, Place
from .held_out import in_the_reactor, in_time, ipv4

_mail = Book("mail and files", held_out=True)
_queues = Book("queues", held_out=True)
_devices = Book("devices and chats", held_out=True)
_calls = Book("calls and logs", held_out=True)

BOOKS = (_mail, _queues, _devices, _calls)


@_mail.entry("aiosmtplib SMTP")
async def _aiosmtplib(place: Place) -> None:
    import aiosmtplib

    async with aiosmtplib.SMTP(hostname=place.host, port=int(place.port), timeout=place.timeout):
        pass


@_mail.entry("aiosmtplib send")
async def _aiosmtplib_send(place: Place) -> None:
    import aiosmtplib

    await aiosmtplib.send(
        "Subject: things\r\n\r\nthings",
        sender="a@example.org",
        recipients=["b@example.org"],
        hostname=place.host,
        port=int(place.port),
        timeout=place.timeout,
    )


@_mail.entry("aioftp Client")
async def _aioftp(place: Place) -> None:
    import aioftp

    async with aioftp.Client.context(
        place.host,
        int(place.port),
        place.user,
        place.password,
        connection_timeout=place.timeout,
        socket_timeout=place.timeout,
    ):
        pass


@_mail.entry("aioimaplib IMAP4")
async def _aioimaplib(place: Place) -> None:
    import aioimaplib

    client = aioimaplib.IMAP4(host=place.host, port=int(place.port), timeout=place.timeout)
    await client.wait_hello_from_server()
    await client.login(place.user, place.password)


@_mail.entry("IMAPClient IMAPClient")
def _imapclient(place: Place) -> None:
    from imapclient import IMAPClient

    with IMAPClient(place.host, int(place.port), ssl=False, timeout=place.timeout) as client:
        client.login(place.user, place.password)


@_mail.entry("ftputil FTPHost")
def _ftputil(place: Place) -> None:
    import ftplib

    import ftputil

    class Session(ftplib.FTP):
        def __init__(self, host: str, user: str, password: str) -> None:
            super().__init__()
            self.connect(host, int(place.port), timeout=place.timeout)
            self.login(user, password)

    with ftputil.FTPHost(place.host, place.user, place.password, session_factory=Session):
        pass


@_mail.entry("dnspython query.tcp")
def _dns(place: Place) -> None:
    import socket

    import dns.message
    import dns.query

    host = place.host if ":" in place.host else socket.gethostbyname(place.host)
    dns.query.tcp(dns.message.make_query("example.org", "A"), host, timeout=place.timeout, port=int(place.port))


@_mail.entry("dnspython Resolver")
def _dns_resolver(place: Place) -> None:
    import socket

    import dns.nameserver
    import dns.resolver

    host = place.host if ":" in place.host else socket.gethostbyname(place.host)
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [dns.nameserver.Do53Nameserver(host, int(place.port))]
    resolver.timeout = resolver.lifetime = place.timeout
    resolver.resolve("example.org", "A", tcp=True)


def _proxied(place: Place) -> dict[str, Any]:
    return {"dest_host": "192.0.2.1", "dest_port": 80, "timeout": place.timeout}


@_mail.entry("python-socks Proxy")
def _python_socks(place: Place) -> None:
    from python_socks.sync import Proxy

    Proxy.from_url(f"socks5://{place.netloc}").connect(**_proxied(place)).close()


@_mail.entry("python-socks asyncio Proxy")
async def _python_socks_asyncio(place: Place) -> None:
    from python_socks.async_.asyncio import Proxy

    (await Proxy.from_url(f"http://{place.netloc}").connect(**_proxied(place))).close()


@_mail.entry("PySocks create_connection")
def _pysocks(place: Place) -> None:
    import socks

    socks.create_connection(
        ("192.0.2.1", 80),
        timeout=place.timeout,
        proxy_type=socks.SOCKS5,
        proxy_addr=place.host,
        proxy_port=int(place.port),
    ).close()


@_mail.entry("aiohttp-socks ProxyConnector")
async def _aiohttp_socks(place: Place) -> None:
    import aiohttp
    from aiohttp_socks import ProxyConnector

    async with (
        aiohttp.ClientSession(
            connector=ProxyConnector.from_url(f"socks5://{place.netloc}"),
            timeout=aiohttp.ClientTimeout(place.timeout),
        ) as session,
        session.get("http://192.0.2.1/"),
    ):
        pass


@_calls.entry("Twisted TCP4ClientEndpoint")
def _twisted_endpoint(place: Place) -> None:
    from twisted.internet import reactor
    from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
    from twisted.internet.protocol import Protocol

    kind = TCP6ClientEndpoint if ":" in place.host else TCP4ClientEndpoint
    endpoint = kind(reactor, place.host, int(place.port), timeout=place.timeout)
    in_the_reactor(connectProtocol, endpoint, Protocol()).transport.abortConnection()


@_calls.entry("Twisted HostnameEndpoint")
def _twisted_hostname(place: Place) -> None:
    from twisted.internet import reactor
    from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
    from twisted.internet.protocol import Protocol

    endpoint = HostnameEndpoint(reactor, place.host, int(place.port), timeout=place.timeout)
    in_the_reactor(connectProtocol, endpoint, Protocol()).transport.abortConnection()


@_calls.entry("treq get")
def _treq(place: Place) -> None:
    import treq

    def get() -> Any:
        return treq.get(f"http://{place.netloc}/", timeout=place.timeout, persistent=False)

    in_the_reactor(get)


@_queues.entry("kazoo KazooClient")
def _kazoo(place: Place) -> None:
    from kazoo.client import KazooClient

    client = KazooClient(hosts=place.netloc, timeout=place.timeout, connection_retry={"max_tries": 0})
    try:
        client.start(timeout=place.timeout)
    finally:
        client.stop()
        client.close()


@_queues.entry("greenstalk Client")
def _greenstalk(place: Place) -> None:
    import socket

    import greenstalk

    socket.setdefaulttimeout(place.timeout)  # it has none of its own
    try:
        with greenstalk.Client((place.host, int(place.port))) as client:
            client.stats()
    finally:
        socket.setdefaulttimeout(None)


@_queues.entry("gnsq NsqdTCPClient")
def _gnsq(place: Place) -> None:
    import gnsq

    client = gnsq.NsqdTCPClient(place.host, int(place.port), timeout=place.timeout)
    client.connect()
    client.close_stream()


@_queues.entry("pyfaktory Client")
def _pyfaktory(place: Place) -> None:
    import pyfaktory

    with pyfaktory.Client(f"tcp://{ipv4(place)}:{place.port}", timeout=place.seconds):
        pass


@_queues.entry("faktory connection")
def _faktory_connection(place: Place) -> None:
    import faktory

    with faktory.connection(f"tcp://:{place.password}@{ipv4(place)}:{place.port}"):
        pass


@_queues.entry("gmqtt Client")
async def _gmqtt(place: Place) -> None:
    import asyncio

    import gmqtt

    client = gmqtt.Client("things")
    client.set_config({"reconnect_retries": 0})
    await asyncio.wait_for(client.connect(place.host, int(place.port)), place.timeout)
    await client.disconnect()


@_queues.entry("amqtt MQTTClient")
async def _amqtt(place: Place) -> None:
    from amqtt.client import MQTTClient

    client = MQTTClient(config={"auto_reconnect": False, "connection_timeout": place.seconds})
    await client.connect(f"mqtt://{place.netloc}/")
    await client.disconnect()


@_queues.entry("python-qpid-proton BlockingConnection")
def _proton(place: Place) -> None:
    from proton.utils import BlockingConnection

    BlockingConnection(f"amqp://{place.netloc}", timeout=place.timeout, reconnect=False).close()


@_queues.entry("amqpstorm Connection")
def _amqpstorm(place: Place) -> None:
    import amqpstorm

    in_time(
        place,
        lambda: amqpstorm.Connection(
            place.host, place.user, place.password, port=int(place.port), timeout=place.seconds, heartbeat=0
        ).close(),
    )


@_queues.entry("rabbitpy Connection")
def _rabbitpy(place: Place) -> None:
    import rabbitpy

    with rabbitpy.Connection(f"amqp://{place.user}:{place.password}@{place.netloc}/%2f?timeout=1"):
        pass


@_queues.entry("aioamqp connect")
async def _aioamqp(place: Place) -> None:
    import asyncio

    import aioamqp

    _, protocol = await asyncio.wait_for(aioamqp.connect(place.host, int(place.port)), place.timeout)
    await protocol.close()


@_queues.entry("stompest Stomp")
def _stompest(place: Place) -> None:
    from stompest.config import StompConfig
    from stompest.sync import Stomp

    config = StompConfig(f"failover:(tcp://{place.netloc})?maxReconnectAttempts=0,startupMaxReconnectAttempts=0")
    Stomp(config).connect(connectTimeout=place.timeout, connectedTimeout=place.timeout)


@_devices.entry("pymodbus ModbusTcpClient")
def _pymodbus(place: Place) -> None:
    from pymodbus.client import ModbusTcpClient

    with ModbusTcpClient(place.host, port=int(place.port), timeout=place.timeout, retries=0) as client:
        client.read_coils(1)


@_devices.entry("pymodbus AsyncModbusTcpClient")
async def _pymodbus_async(place: Place) -> None:
    from pymodbus.client import AsyncModbusTcpClient

    async with AsyncModbusTcpClient(
        place.host, port=int(place.port), timeout=place.timeout, retries=0, reconnect_delay=0
    ) as client:
        await client.read_coils(1)


@_devices.entry("uModbus send_message")
def _umodbus(place: Place) -> None:
    import socket

    from umodbus.client import tcp

    with socket.create_connection((place.host, int(place.port)), place.timeout) as connection:
        tcp.send_message(tcp.read_coils(slave_id=1, starting_address=1, quantity=1), connection)


@_devices.entry("asyncua Client")
async def _asyncua(place: Place) -> None:
    from asyncua import Client

    async with Client(f"opc.tcp://{place.netloc}", timeout=place.timeout):
        pass


@_devices.entry("asyncua sync Client")
def _asyncua_sync(place: Place) -> None:
    from asyncua.sync import Client

    with Client(f"opc.tcp://{place.netloc}", timeout=place.seconds):
        pass


@_devices.entry("opcua Client")
def _opcua(place: Place) -> None:
    from opcua import Client

    with Client(f"opc.tcp://{place.netloc}", timeout=place.timeout):
        pass


@_devices.entry("telnetlib3 open_connection")
async def _telnetlib3(place: Place) -> None:
    import asyncio

    import telnetlib3

    reader, writer = await asyncio.wait_for(
        telnetlib3.open_connection(place.host, int(place.port), connect_maxwait=0.2), place.timeout
    )
    try:
        if not await asyncio.wait_for(reader.read(1), place.timeout):
            raise EOFError("the server hung up")
    finally:
        writer.close()


@_devices.entry("python-mpd2 MPDClient")
def _mpd(place: Place) -> None:
    from mpd import MPDClient

    client = MPDClient()
    client.timeout = place.timeout
    client.connect(place.host, int(place.port))
    client.disconnect()


@_devices.entry("python-mpd2 asyncio MPDClient")
async def _mpd_asyncio(place: Place) -> None:
    import asyncio

    from mpd.asyncio import MPDClient

    client = MPDClient()
    await asyncio.wait_for(client.connect(place.host, int(place.port)), place.timeout)
    client.disconnect()


@_devices.entry("irc Reactor")
def _irc(place: Place) -> None:
    import irc.client

    server = irc.client.Reactor().server()
    in_time(place, lambda: server.connect(ipv4(place), int(place.port), "things"))
    server.disconnect()


@_devices.entry("irc AioReactor")
async def _irc_asyncio(place: Place) -> None:
    import asyncio

    import irc.client_aio

    server = irc.client_aio.AioReactor(loop=asyncio.get_running_loop()).server()
    await asyncio.wait_for(server.connect(place.host, int(place.port), "things"), place.timeout)
    server.disconnect()


@_devices.entry("slixmpp ClientXMPP")
async def _slixmpp(place: Place) -> None:
    import asyncio

    import slixmpp

    client = slixmpp.ClientXMPP(f"{place.user}@example.org", place.password)
    client.enable_starttls, client.enable_direct_tls, client.enable_plaintext = False, False, True
    failed = asyncio.get_running_loop().create_future()

    def fail(event: object) -> None:
        if not failed.done():
            failed.set_exception(event if isinstance(event, Exception) else EOFError(str(event)))

    client.add_event_handler("connection_failed", fail)
    client.add_event_handler("disconnected", fail)
    client.connect(host=place.host, port=int(place.port))
    try:
        await asyncio.wait_for(failed, place.timeout)
    finally:
        client.abort()


@_devices.entry("stem ControlPort")
def _stem(place: Place) -> None:
    import socket

    import stem.control

    host = socket.gethostbyname(ipv4(place))
    in_time(place, lambda: stem.control.Controller.from_port(host, int(place.port)).authenticate())


@_devices.entry("clamd ClamdNetworkSocket")
def _clamd(place: Place) -> None:
    import clamd

    in_time(place, clamd.ClamdNetworkSocket(ipv4(place), int(place.port), timeout=place.timeout).ping)


@_devices.entry("wyoming AsyncTcpClient")
async def _wyoming(place: Place) -> None:
    import asyncio

    from wyoming.client import AsyncTcpClient
    from wyoming.info import Describe

    async with AsyncTcpClient(place.host, int(place.port)) as client:
        await client.write_event(Describe().event())
        if await asyncio.wait_for(client.read_event(), place.timeout) is None:
            raise EOFError("the server hung up")


@_devices.entry("aioesphomeapi APIClient")
async def _esphome(place: Place) -> None:
    import aioesphomeapi

    client = aioesphomeapi.APIClient(place.host, int(place.port), place.password)
    await client.connect(login=True)
    await client.disconnect()


@_calls.entry("zerorpc Client")
def _zerorpc(place: Place) -> None:
    import zerorpc

    client = zerorpc.Client(timeout=place.timeout, heartbeat=1)
    client.connect(f"tcp://{place.netloc}")
    try:
        client.things()
    finally:
        client.close()


@_calls.entry("aiorpcx connect_rs")
async def _aiorpcx(place: Place) -> None:
    import aiorpcx

    async with aiorpcx.timeout_after(place.timeout), aiorpcx.connect_rs(place.host, int(place.port)) as session:
        await session.send_request("things")


@_calls.entry("statsd TCPStatsClient")
def _statsd(place: Place) -> None:
    from statsd import TCPStatsClient

    client = TCPStatsClient(place.host, int(place.port), timeout=place.timeout, ipv6=":" in place.host)
    client.incr("things")
    client.close()


@_calls.entry("graphyte Sender")
def _graphyte(place: Place) -> None:
    import graphyte

    graphyte.Sender(place.host, int(place.port), timeout=place.timeout, raise_send_errors=True).send("things", 1)


@_calls.entry("fluent-logger FluentSender")
def _fluent(place: Place) -> None:
    from fluent.sender import FluentSender

    sender = FluentSender("things", host=ipv4(place), port=int(place.port), timeout=place.timeout)
    sent = sender.emit("a", {"b": 1})
    error = sender.last_error
    with contextlib.suppress(Exception):
        sender.close()
    if not sent:
        raise error


@_calls.entry("pygelf GelfTcpHandler")
def _pygelf(place: Place) -> None:
    import logging

    from pygelf import GelfTcpHandler

    handler = GelfTcpHandler(host=place.host, port=int(place.port))
    handler.timeout = place.timeout
    handler.makeSocket().close()
    logging.getLogger("things").removeHandler(handler)


@_calls.entry("distributed Client")
def _distributed(place: Place) -> None:
    from distributed import Client

    in_time(place, lambda: Client(f"tcp://{place.netloc}", timeout=place.timeout).close())


@_calls.entry("autobahn connect")
async def _autobahn(place: Place) -> None:
    import asyncio

    from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol

    factory = WebSocketClientFactory(f"ws://{place.netloc}")
    factory.protocol = WebSocketClientProtocol
    transport, _ = await asyncio.wait_for(
        asyncio.get_running_loop().create_connection(factory, place.host, int(place.port)), place.timeout
    )
    transport.close()
