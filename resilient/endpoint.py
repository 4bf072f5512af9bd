"""What is connected to: one address, read from the many ways in which people write one.

Pure, but for `env:NAME`, which reads that variable. Nothing is resolved or dialled.
Targets carry passwords: what is not scheme, host, port or path is never kept, and no error repeats a target.
Where a text can be read in two ways it is refused: a wrong host is worse than none.
"""

from __future__ import annotations

import os
import re
from typing import Final, NoReturn

from ._values import Frozen, frozen
from .errors import TargetError

DEFAULT_PORTS: Final = {
    "amqp": 5672,
    "amqps": 5671,
    "beanstalk": 11300,
    "bolt": 7687,
    "cassandra": 9042,
    "clickhouse": 9000,
    "clickhouses": 9440,
    "cockroachdb": 26257,
    "consul": 8500,
    "couchdb": 5984,
    "elasticsearch": 9200,
    "etcd": 2379,
    "ftp": 21,
    "http": 80,
    "https": 443,
    "imap": 143,
    "imaps": 993,
    "influxdb": 8086,
    "kafka": 9092,
    "ldap": 389,
    "ldaps": 636,
    "mariadb": 3306,
    "memcached": 11211,
    "mongodb": 27017,
    "mqtt": 1883,
    "mqtts": 8883,
    "mssql": 1433,
    "mysql": 3306,
    "nats": 4222,
    "neo4j": 7687,
    "opensearch": 9200,
    "oracle": 1521,
    "postgresql": 5432,
    "pulsar": 6650,
    "redis": 6379,
    "rediss": 6379,
    "redshift": 5439,
    "sftp": 22,
    "smtp": 25,
    "smtps": 465,
    "ssh": 22,
    "stomp": 61613,
    "trino": 8080,
    "valkey": 6379,
    "valkeys": 6379,
    "vault": 8200,
    "ws": 80,
    "wss": 443,
    "zookeeper": 2181,
}
"""The port that clients take when a URL of this scheme names none; from the services' own manuals."""

_OTHER_NAMES: Final = {
    "memcache": "memcached",
    "mysql2": "mysql",
    "pgsql": "postgresql",
    "postgis": "postgresql",
    "postgres": "postgresql",
    "psql": "postgresql",
    "pyamqp": "amqp",
}
_FILES: Final = frozenset({"duckdb", "file", "sqlite", "sqlite3"})
_LIBPQ: Final = frozenset({"cockroachdb", "postgresql", "redshift"})
_MYSQL: Final = frozenset({"mariadb", "mysql"})
WEB: Final = frozenset({"http", "https", "ws", "wss"})

_LONGEST_TARGET: Final = 16_384
_LONGEST_SCHEME: Final = 32
_LONGEST_HOST: Final = 253  # RFC 1035, without a trailing dot
_LONGEST_LABEL: Final = 63
_LONGEST_ZONE: Final = 32
_LONGEST_PATH: Final = 107  # bytes: Linux's sun_path less its NUL; macOS takes 103

# Regular expressions, compiled when first needed: `import resilient` is measured.

_SCHEME: Final = r"([A-Za-z][A-Za-z0-9.+-]*)://"
_VARIABLE: Final = r"[A-Za-z_][A-Za-z0-9_]{0,254}"
_BAD_PERCENT: Final = r"%(?![0-9A-Fa-f]{2})"
_ANOTHER_URL: Final = r"[,;] *[A-Za-z][A-Za-z0-9.+-]{0,31}://"
_NUMBERS: Final = r"(?:0x[0-9a-f]*|[0-9]{1,10})(?:\.(?:0x[0-9a-f]*|[0-9]*))*"  # what inet_aton() may read
_OCTETS: Final = frozenset(map(str, range(256)))
_LABELS: Final = r"(?!-)[a-z0-9_-]+(?:\.(?!-)[a-z0-9_-]+)*\.?"
_ZONE: Final = r"[A-Za-z0-9._~-]+"
# `\s` of (?a) is C's isspace(), by which libpq separates words.
_WORD: Final = r"(?as)([^=\s]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(?!')((?:[^\\\s]|\\.?)*))\s*"
_ESCAPED: Final = r"(?s)\\(.?)"
_BLANK: Final = " \t\n\v\f\r"

_ENCODE: Final = 'percent-encode "/", "?", "#" and "@" in a user name, password, path or query (%2F, %3F, %23, %40)'
_SEVERAL: Final = "names several hosts, and an endpoint is one: name the one that is connected to, or give targets="
_BRACKETS: Final = 'has more than one colon; write "host:port", or an IPv6 address in brackets, "[::1]:5432"'
_NO_PORT: Final = 'has no port; write "host:port"'
_NO_HOST: Final = "has no host; say which one, none is assumed"
_UNFIT: Final = "has a control, invisible or undecodable character; remove it (in a password: percent-encode it)"


@frozen
class Endpoint(Frozen):
    """One address to connect to: `host` and `port`, or the `path` of a unix socket.

    Compares and hashes by value, pickles, and holds no secret. `Endpoint.parse(str(endpoint)) == endpoint`.
    The host is kept in lower case, an IPv6 address in its shortest form; otherwise it stays as it was written.

    Attributes:
        scheme: "tcp" for a plain host and port, "unix" for a unix socket, else the service:
            a URL's scheme in lower case without "+driver", and "postgres" written out as "postgresql".
        host: name or IP address, IPv6 without brackets; None for a unix socket.
        port: 1 to 65535; None for a unix socket.
        path: absolute path of a unix socket, else None.

    Raises:
        TargetError: the values do not make an endpoint.
        TypeError: a value is of the wrong type.
    """

    scheme: str = "tcp"
    host: str | None = None
    port: int | None = None
    path: str | None = None

    def __init__(
        self, *, scheme: str = "tcp", host: str | None = None, port: int | None = None, path: str | None = None
    ) -> None:
        scheme = _fit_scheme(_exact("scheme", scheme))
        if scheme == "unix":
            if path is None or host is not None or port is not None:
                _refuse("is a unix socket; that has a path, and neither host nor port")
            path = _fit_path(_exact("path", path))
        else:
            if path is not None:
                _refuse('has a path; that is for a unix socket, scheme="unix"')
            host = _fit_host(_exact("host", "" if host is None else host))
            port = _fit_port(port)
        self._put(scheme=scheme, host=host, port=port, path=path)

    @classmethod
    def parse(cls, text: str | Endpoint) -> Endpoint:
        """Read a target. An `Endpoint` is returned as it is.

        A target is one of
        "db:5432", "10.0.0.7:5432", "[::1]:5432" or "[fe80::1%eth0]:5432";
        a URL, without a port the one that is usual for its scheme: "postgresql+psycopg://user:password@db/app";
        a libpq connection string: "host=db port=5432 password='a b'", "postgresql:///app?host=/run/postgresql";
        a unix socket: "unix:///run/x.sock", "redis+socket:///run/x.sock", "http+unix://%2Frun%2Fx.sock",
        "mysql://user@/app?unix_socket=/run/x.sock";
        "env:NAME", for an environment variable that holds one of these and is read now.

        Raises:
            TargetError: the text is none of these; says why and what to do, and repeats nothing but the scheme
                and the variable's name.
            TypeError: it is not a text at all.
        """
        if isinstance(text, Endpoint):
            return text
        return _read(_exact("target", text))

    # By hand: a dataclass compiles each of these at every import.
    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Endpoint) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Endpoint(scheme={self.scheme!r}, host={self.host!r}, port={self.port!r}, path={self.path!r})"

    def _key(self) -> tuple[str, str | None, int | None, str | None]:
        return self.scheme, self.host, self.port, self.path

    def __str__(self) -> str:
        if self.path is not None:
            return "unix://" + "".join(f"%{ord(char):02X}" if char in "%?#@" else char for char in self.path)
        host = str(self.host)
        if self.scheme == "tcp":
            return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        if ":" in host:
            host = "[" + host.replace("%", "%25") + "]"  # RFC 6874: in a URL, a zone's percent sign is encoded
        return f"{self.scheme}://{host}:{self.port}"


def _refuse(problem: str) -> NoReturn:
    raise TargetError(f"the target {problem}") from None


def _exact(name: str, value: object) -> str:
    """Return a text as an exact `str`: no subclass takes part in what follows."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    return str.__str__(value)


# Reading


def variable(text: str) -> tuple[str | None, str]:
    """Return the environment variable that a target names and its value, or None and the text itself.

    Raises:
        TargetError: it names none, or one that is not set.
    """
    name = text[4:]
    if text[:4].lower() != "env:" or _is_digits(name):  # "env:5432" is a host that is called env
        return None, text
    if re.fullmatch(_VARIABLE, name) is None:
        _refuse('starts with "env:", but no name of an environment variable follows; write "env:DATABASE_URL"')
    value = os.environ.get(name)
    if value is None:
        _refuse(f"is the environment variable {name}, which is not set; set it to a target")
    return name, value


def _read(text: str) -> Endpoint:
    name, value = variable(text)
    if name is None:
        return _read_direct(text)
    try:
        return _read_direct(value)
    except TargetError as error:
        problem = str(error)
    raise TargetError(f"environment variable {name}: {problem}") from None


def _read_direct(text: str) -> Endpoint:
    """Read any form but `env:`."""
    if not text:
        _refuse('is empty; write "host:port" or a URL')
    if len(text) > _LONGEST_TARGET:
        _refuse(f"is longer than {_LONGEST_TARGET} characters; give one address")
    if text[:4].lower() == "env:" and not _is_digits(text[4:]):
        _refuse('names another environment variable; "env:" is followed once')
    if text[:5].lower() == "unix:" and text[5:7] != "//" and not _is_digits(text[5:]):
        if text[5:6] != "/":
            _refuse('is a unix socket without an absolute path; write "unix:///run/x.sock"')
        text = f"unix://{text[5:]}"
    found = re.match(_SCHEME, text.lstrip())
    if found is None and "=" in text:
        fields = read_words(text)
        return _read_libpq("postgresql", fields.get("host"), fields.get("hostaddr"), fields.get("port"))
    if not text.isprintable():
        _refuse(_UNFIT)
    if text[0] == " " or text[-1] == " ":
        _refuse("begins or ends with a space; remove it")
    if found is not None:
        return _read_url(found[1].lower(), text[found.end() :])
    if "://" in text:
        _refuse('has no readable scheme before "://"; write, for instance, "postgresql://host:port"')
    return _read_plain(text)


def _read_plain(text: str) -> Endpoint:
    """Read "host:port"."""
    if "@" in text:
        _refuse('has a user or password but no scheme; write "scheme://user:password@host:port"')
    if text[0] == "/":
        _refuse('is a path; a unix socket is written "unix:///run/x.sock"')
    if "/" in text:
        _refuse('looks like a URL without its scheme; write "scheme://host:port"')
    host, port = _split(text)
    if port is None:
        _refuse(_NO_PORT)
    return Endpoint(scheme="tcp", host=host, port=_read_port(port))


def _read_url(scheme: str, rest: str) -> Endpoint:
    """Read what follows "scheme://"."""
    name, *drivers = scheme.split("+")
    name = _fit_scheme(name, scheme)
    if "srv" in drivers:
        _refuse(f'("{scheme}") names its servers through DNS SRV; give one of them, "{name}://host:port"')
    if "sentinel" in drivers:
        _refuse(f'("{scheme}") asks Sentinel for its server; give one server, "{name}://host:port"')
    end = min((place for place in map(rest.find, "/?#") if place >= 0), default=len(rest))
    authority, tail = rest[:end], rest[end:].partition("#")[0]
    path, _, query = tail.partition("?")
    if "@" in rest[end:]:
        # "user:12/3@host": the authority ends at the first slash, so "user" would be the host and 12 its port.
        _refuse(f'("{scheme}") has an "@" after the first "/", "?" or "#"; {_ENCODE}')
    if "#" in rest and name not in WEB:  # libpq and SQLAlchemy take it for a letter, others for the end of the URL
        _refuse(f'("{scheme}") has a "#"; {_ENCODE}')
    if " " in authority:
        _refuse(f'("{scheme}") has a space before its path; percent-encode it (%20)')
    if re.search(_ANOTHER_URL, path):
        _refuse(_SEVERAL)
    host, port = _split(authority.rpartition("@")[2], in_url=True)
    if name == "unix" or "unix" in drivers or "socket" in drivers:
        if port is not None or (host and host[0] != "/"):
            _refuse(f'("{scheme}") is a unix socket whose path begins without "/"; write "{scheme}:///run/x.sock"')
        return Endpoint(scheme="unix", path=host or _decode(path))
    if name in _LIBPQ:
        fields = _read_query(query, "host", "hostaddr", "port")
        return _read_libpq(name, _one(host, fields["host"]), fields["hostaddr"], _one(port, fields["port"]))
    if name in _MYSQL and (socket := _read_query(query, "unix_socket")["unix_socket"]):
        return Endpoint(scheme="unix", path=socket)
    if name not in WEB:
        fields = _read_query(query, "host", "port")  # of redis-py, PyMySQL and others
        host, port = _one(host, fields["host"]) or "", _one(port, fields["port"]) or None
    if not host:
        _refuse(_NO_HOST)
    default = DEFAULT_PORTS.get(name)
    if "ssl" in drivers or "tls" in drivers:
        default = DEFAULT_PORTS.get(f"{name}s")
        name = name if default is None else f"{name}s"
    if port is None and default is None:
        _refuse(f'("{scheme}") has no port, and none is usual for this scheme; write "{scheme}://host:port"')
    return Endpoint(scheme=name, host=host, port=default if port is None else _read_port(port))


def _read_libpq(scheme: str, host: str | None, address: str | None, port: str | None) -> Endpoint:
    """Choose as libpq does: the address, else a host that is a directory, else the host."""
    if any("," in field for field in (host, address, port) if field):
        _refuse(_SEVERAL)
    number = _read_port(port) if port else DEFAULT_PORTS[scheme]
    if address:
        if ":" not in address and not _is_ipv4(address):
            _refuse("has a hostaddr that is no IP address; give a name as host")
        return Endpoint(scheme=scheme, host=address, port=number)
    if not host:
        _refuse(_NO_HOST)
    if host[0] == "@":
        _refuse("is a socket in the abstract namespace; give one that has a path")
    if host[0] == "/":
        return Endpoint(scheme="unix", path=f"{host.rstrip('/')}/.s.PGSQL.{number}")
    return Endpoint(scheme=scheme, host=host, port=number)


def read_words(text: str) -> dict[str, str]:
    """Read "key = value" words by libpq's rules (PostgreSQL manual, 32.1.1.1); of equal keys the last one counts."""
    if "\0" in text:
        _refuse(_UNFIT)
    words: dict[str, str] = {}
    text = text.lstrip(_BLANK)  # not its end: a backslash may keep a space there
    pattern = re.compile(_WORD)
    place = 0
    while place < len(text):
        word = pattern.match(text, place)
        if word is None:
            _refuse("is read as \"key=value\" words and cannot be; quote a value that has spaces, key='a b'")
        key, quoted, bare = word.groups()
        words[key] = re.sub(_ESCAPED, r"\1", bare if quoted is None else quoted)
        place = word.end()
    return words


def _read_query(query: str, *names: str) -> dict[str, str | None]:
    """Read these parameters of a URL's query; a repeated one names several hosts."""
    found: dict[str, str | None] = dict.fromkeys(names)
    for parameter in query.split("&"):
        key, _, value = parameter.partition("=")
        key = _decode(key)
        if key in found:
            if found[key] is not None:
                _refuse(_SEVERAL)
            found[key] = _decode(value)
    return found


def _one(before: str | None, after: str | None) -> str | None:
    """Return what the authority or the query says; libpq prefers the query and asyncpg the authority."""
    if before and after is not None and before != after:
        _refuse('says two things, one before the "?" and one after it, and drivers differ in which they take; give one')
    return before if after is None else after


def _split(text: str, *, in_url: bool = False) -> tuple[str, str | None]:
    """Split "host:port" into its host, without brackets and percent signs decoded, and its port."""
    if "," in text:
        _refuse(_SEVERAL)
    if text[:1] == "[":
        host, bracket, after = text[1:].partition("]")
        if not bracket or ":" not in host or after[:1] not in {"", ":"}:
            _refuse('has brackets that are not round an IPv6 address; write "[::1]:5432"')
        address, percent, zone = host.partition("%")
        if in_url and zone[:2] == "25":  # RFC 6874
            host = f"{address}{percent}{zone[2:]}"
        colon, port = after[:1], after[1:]
    else:
        host, colon, port = text.partition(":")
        if ":" in port:
            _refuse(_BRACKETS)
        host = _decode(host) if in_url else host
        if ":" in host:
            _refuse(_BRACKETS)
    if colon and not port:
        _refuse(_NO_PORT)
    return host, port if colon else None


def _read_port(text: str) -> int:
    if not _is_digits(text):
        _refuse("has a port that is not a plain decimal number; write 1 to 65535")
    if text[0] == "0" or len(text) > 5:
        _refuse("has a port that begins with 0 or is too long; write 1 to 65535")
    return int(text)


def _decode(text: str) -> str:
    """Decode "%2F"; bytes that are no UTF-8 become surrogates, which no host and no path may have."""
    if "%" not in text:
        return text
    if re.search(_BAD_PERCENT, text):
        _refuse('has a "%" that two hexadecimal digits do not follow; write %25 for a percent sign')
    first, *others = text.encode("utf-8", "surrogatepass").split(b"%")
    decoded = first + b"".join(bytes.fromhex(part[:2].decode("ascii")) + part[2:] for part in others)
    return decoded.decode("utf-8", "surrogateescape")


# Checking


def _fit_scheme(scheme: str, shown: str | None = None) -> str:
    scheme = scheme.lower()
    shown = shown or scheme
    if len(shown) > _LONGEST_SCHEME:
        _refuse(f"has a scheme longer than {_LONGEST_SCHEME} characters")
    if re.fullmatch(_SCHEME, f"{scheme}://") is None or "+" in scheme:
        _refuse('has an unreadable scheme; a scheme is a letter, then letters, digits, "." and "-"')
    scheme = _OTHER_NAMES.get(scheme, scheme)
    if scheme in _FILES:
        _refuse(f'("{shown}") is a file; there is nothing to connect to')
    if scheme == "env":
        _refuse('has the scheme "env", which is no service; an environment variable is written "env:NAME"')
    return scheme


def _fit_port(port: object) -> int:
    if isinstance(port, bool) or not isinstance(port, int | None):
        raise TypeError(f"port must be an int, not {type(port).__name__}")
    if port is None:
        _refuse(_NO_PORT)
    if not 1 <= port <= 65535:
        _refuse("has a port out of range; write 1 to 65535")
    return int.__index__(port)


def _fit_path(path: str) -> str:
    if path[:1] != "/":
        _refuse('is a unix socket without an absolute path; write "unix:///run/x.sock"')
    if path[-1] == "/":
        _refuse("is a unix socket whose path names a directory; give the socket in it")
    if not path.isprintable() or " " in path:
        _refuse("has a path with a white space, control, invisible or undecodable character; rename the socket")
    if len(path.encode()) > _LONGEST_PATH:
        _refuse(f"has a path longer than {_LONGEST_PATH} bytes, and no socket can have it; move the socket")
    return path


def _fit_host(host: str) -> str:
    if not host:
        _refuse(_NO_HOST)
    if "," in host:
        _refuse(_SEVERAL)
    if len(host) - host.endswith(".") > _LONGEST_HOST:
        _refuse(f"has a host longer than {_LONGEST_HOST} characters")
    if not host.isprintable() or " " in host:
        _refuse("has a host with a white space, control, invisible or undecodable character; remove it")
    if ":" in host:
        return _fit_ipv6(host)
    host = host.lower()
    name = host if host.isascii() else _to_ascii(host)
    if re.fullmatch(_LABELS, name) is None:
        _refuse('has a host with a character no host name has, a label that begins with "-", or an empty label')
    if re.fullmatch(_NUMBERS, name) and not (name == host and _is_ipv4(name)):
        _refuse("has a host that is half an IPv4 address; write four decimal numbers without leading zeros")
    if len(name) - name.endswith(".") > _LONGEST_HOST or max(map(len, name.split("."))) > _LONGEST_LABEL:
        _refuse(f"has a host with a label longer than {_LONGEST_LABEL} characters")
    return host


def _fit_ipv6(host: str) -> str:
    from ipaddress import IPv6Address  # 3 ms, for few

    text, percent, zone = host.partition("%")
    try:
        address = IPv6Address(text)
    except ValueError:
        address = None
    if address is None:
        _refuse('has a host with a colon that is no IPv6 address; write "host:port" or "[::1]:5432"')
    if percent and (len(zone) > _LONGEST_ZONE or re.fullmatch(_ZONE, zone) is None):
        _refuse('has an unreadable zone; write, for instance, "[fe80::1%eth0]:5432"')
    mapped = address.ipv4_mapped
    # str() of a mapped address is "::ffff:102:304" before Python 3.13 and "::ffff:1.2.3.4" since.
    return (str(address) if mapped is None else f"::ffff:{mapped}") + percent + zone


def _to_ascii(host: str) -> str:
    """Return the "xn--" form of a name if there is no doubt which one it is."""
    try:
        name = host.encode("idna").decode("ascii")
        certain = name.encode("ascii").decode("idna") == host
    except UnicodeError:
        name, certain = "", False
    if not certain:
        # "straße" is "strasse" to Python and "xn--strae-oqa" to a browser; full-width digits are digits to both.
        _refuse('has a host with letters that can be read in several ways; write its "xn--" form')
    return name


def _is_ipv4(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and _OCTETS.issuperset(parts)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
