"""kubernetes_asyncio, which shows everything as kubernetes does."""

from __future__ import annotations

from typing import Final

from .kubernetes import signature

SIGNATURE: Final = signature("kubernetes_asyncio")
