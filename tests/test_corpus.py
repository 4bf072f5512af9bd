"""The corpus of clients, as far as it goes in a moment: those that are installed here, and the manual's table of all.

`make corpus` lets every client meet every case, in an environment of its own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from corpus import page
from corpus.entry import FILES, ONLY_WORDS, Book, Client, books

from resilient import signatures

HERE = Path(__file__).resolve().parent

ALL: tuple[tuple[str, Book, Client], ...] = tuple(
    (file, book, client) for file in FILES for book in books(file) for client in book.entries
)
TEXT = page.PAGE.read_text(encoding="utf-8")


def rows(title: str) -> list[list[str]]:
    """The rows of the first table below a heading of the manual's page."""
    part = TEXT.split(f"## {title}\n", 1)[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in part.splitlines() if line[:1] == "|"][
        2:
    ]


def test_no_entry_point_stands_twice() -> None:
    names = [client.name for _, _, client in ALL]
    assert sorted(names) == sorted(set(names))


def test_every_entry_point_is_in_the_manual_and_no_other() -> None:
    """Run `make corpus` after a change: it writes the page."""
    there = {
        line.strip("| ").split(" | ")[0] for line in TEXT.split("## Signatures")[0].splitlines() if line[:2] == "| "
    }
    assert there - {"entry point"} == {client.name for _, _, client in ALL}


def test_the_manual_claims_what_was_promised() -> None:
    """Everything that carries evidence is recognised, what hides it is with `target=`, and there is no false alarm.

    Seven are not: five leave words in an error of no class of their own, or nothing; and gRPC's two calls that wait for
    the channel say what calls say that were sent and came back late.
    """
    told, held_out = ({name: int(row[column]) for name, *row in rows("Figures")} for column in (0, 1))
    assert told["entry points"] + held_out["entry points"] == len(ALL)
    lost = [client for _, book, client in ALL if not book.held_out and client.but.items() >= ONLY_WORDS.items()]
    assert told["not recognised"] == len(lost) <= 7
    assert told["false alarms"] == held_out["false alarms"] == 0
    assert told["negative cases"] + held_out["negative cases"] >= 1_500


def test_every_signature_is_a_row_of_the_manuals_table() -> None:
    lines = page.signatures()
    assert "\n".join(lines) in TEXT
    assert len(lines) - 2 == len(signatures.TABLE)


@pytest.mark.parametrize("package", signatures.TABLE)
def test_every_signature_would_pass_as_one_that_is_taught(package: str) -> None:
    """So its patterns compile, its kinds exist, and no rule holds for everything."""
    signatures.teach(signatures._load(package).signature)
    signatures.forget(package)


def test_the_table_is_in_order() -> None:
    assert list(signatures.TABLE) == sorted(signatures.TABLE)


INSTALLED = {
    library: package
    for library, package in {
        "python": "socket",
        "aio-pika": "aio_pika",
        "aiohttp": "aiohttp",
        "aiomysql": "aiomysql",
        "amqp": "amqp",
        "asyncmy": "asyncmy",
        "boto3": "boto3",
        "elasticsearch": "elasticsearch",
        "grpcio": "grpc",
        "httpx": "httpx",
        "kombu": "kombu",
        "nats-py": "nats",
        "paho-mqtt": "paho",
        "pika": "pika",
        "psycopg-pool": "psycopg_pool",
        "pymemcache": "pymemcache",
        "pymongo": "pymongo",
        "redis": "redis",
        "requests": "requests",
        "urllib3": "urllib3",
        "valkey": "valkey",
    }.items()
    if package in sys.modules or importlib.util.find_spec(package) is not None
}


def test_the_clients_that_are_installed_here_are_judged_right() -> None:
    """Refused, hung up on, and lied to; what they hide is asked for. All of it is `make corpus`."""
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "corpus", "--only", f"^({'|'.join(map(re.escape, INSTALLED))})$"),
            *("--cases", r"^(127\.0\.0\.1|hang up|a text that lies)$"),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert len(INSTALLED) >= 15
    for library in INSTALLED:
        assert re.search(rf"^{re.escape(library)} \S+: [1-9]\d* entry points$", answer.stdout, re.M), library
