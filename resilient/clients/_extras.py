"""Which extra of this distribution brings a driver: for messages that say that none is installed."""

from __future__ import annotations

from typing import Final

__all__ = ["EXTRAS", "how_to_install"]

EXTRAS: Final = {
    "amqp": "amqp",
    "amqps": "amqp",
    "elasticsearch": "elasticsearch",
    "http": "http",
    "https": "http",
    "mariadb": "mysql",
    "memcached": "memcached",
    "mongodb": "mongodb",
    "mysql": "mysql",
    "nats": "nats",
    "postgresql": "postgresql",
    "redis": "redis",
    "rediss": "redis",
    "valkey": "valkey",
    "valkeys": "valkey",
}
"""By the scheme of a URL: the extra, as pyproject.toml names it. One for each scheme that a driver is known for."""


def how_to_install(scheme: str) -> str:
    """Return the command that brings a driver for URLs of this scheme, or "" where none is known."""
    return f'pip install "resilient-connect[{EXTRAS[scheme]}]"' if scheme in EXTRAS else ""
