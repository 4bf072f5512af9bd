"""SQL Server's numbers, for every client that passes them on. Source: `sys.messages`, SQL Server 2012 to 2022."""

from __future__ import annotations

from typing import Final

HOPELESS: Final = frozenset({18456, 4060})
"""Login failed; cannot open the database that was asked for."""

NOT_READY: Final = frozenset({921, 922, 6005, 17142, 18401})
"""The database has not been recovered yet, is being recovered; shutdown is in progress, the service is paused, the
server is in script upgrade mode."""
