"""valkey-py, a fork of redis-py that shows everything as it does."""

from __future__ import annotations

from typing import Final

from .redis import signature

SIGNATURE: Final = signature("valkey")
