"""SQLAlchemy: the driver's error in `orig` and as the explicit cause; the row only vouches for the package."""

from __future__ import annotations

from typing import Final

from ._signature import Signature

SIGNATURE: Final = Signature(package="sqlalchemy")
