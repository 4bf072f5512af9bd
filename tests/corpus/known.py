"""The clients that the other tests know as well: PostgreSQL's, Redis's and MySQL's most used ones."""

from __future__ import annotations

from clients import CLIENTS
from fake_servers import mysql, postgres, redis_server

from .entry import Answer, Book, Client

LIBPQ = dict.fromkeys(client.library for client in CLIENTS if client.libpq)


def _book(protocol: str, *answers: Answer) -> Book:
    entries = [
        Client(client.name.replace("-", " ", 1), protocol, client.connect)
        for client in CLIENTS
        if client.protocol == protocol
    ]
    return Book(protocol, entries=entries, answers=list(answers))


BOOKS = (
    _book(
        "postgresql",
        Answer("starting up", postgres("57P03", "the database system is starting up"), "not_ready"),
        Answer("shutting down", postgres("57P03", "the database system is shutting down"), "not_ready"),
        Answer("wrong password", postgres("28P01", 'password authentication failed for user "someone"'), "hopeless"),
        Answer("no such database", postgres("3D000", 'database "things" does not exist'), "hopeless"),
        Answer("a quoted refusal", postgres("XX000", "connection refused by policy"), None),
    ),
    _book(
        "redis",
        Answer("loading", redis_server("-LOADING Redis is loading the dataset in memory"), "not_ready"),
        Answer("wrong password", redis_server("-WRONGPASS invalid username-password pair"), "hopeless"),
        Answer("a quoted refusal", redis_server("-ERR Error 111 connecting to db:6379. Connection refused."), None),
    ),
    _book(
        "mysql",
        Answer("too many connections", mysql(1040, "Too many connections", greets=False), "not_ready"),
        Answer("shutting down", mysql(1053, "Server shutdown in progress", greets=False), "not_ready"),
        Answer("wrong password", mysql(1045, "Access denied for user 'someone'", state="28000"), "hopeless"),
        Answer("no such database", mysql(1049, "Unknown database 'things'", state="42000"), "hopeless"),
    ),
)
