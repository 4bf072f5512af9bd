"""Real servers out of wheels: Valkey and PostgreSQL, started, killed and restarted on a port that stays theirs.

For the demo and for the tests; not a public interface, and it imports nothing of the house.
Whatever ends the program (an exception, Ctrl-C, even SIGKILL), no process, no temporary folder
and no shared memory is left behind.
"""

from ._local import LOOPBACK, LocalServer
from ._postgres import PostgresServer
from ._valkey import ValkeyServer
from ._wheel import ServerError

__all__ = ["LOOPBACK", "LocalServer", "PostgresServer", "ServerError", "ValkeyServer"]
