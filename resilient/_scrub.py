"""Text from a client, made fit to show: without secrets, without characters that forge a line, never too long.

Pure, and bounded: what a hostile server put into an error costs no more than a few milliseconds.
In doubt too much is hidden rather than too little. Every rule marks its spans in the text as it came, and all spans are
replaced together, so that no rule undoes another's work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

_MASK: Final = "***"
_ROOM: Final = 2_048
"""Characters that are looked at, beyond four times those that may be shown: secrets take room and are then hidden."""

_SPACES: Final = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_CLOSERS: Final = "\"'`)]}>,;.:"
_AFTER_QUOTED: Final = _CLOSERS + " \t\n\v\f\r&?\\"
_BRACKETS: Final = {"(": ")", "[": "]", "{": "}"}

# Regular expressions, compiled when first needed. White space is ASCII's: a password may well have a no-break space.

_CHUNK: Final = r"[^ \t-\r]+"

_WORDS: Final = ("pass", "pw", "secret", "token", "cred", "key", "auth", "cookie", "identified", "bearer", "basic")
"""A text without any of these has no named secret. Looking for them costs a tenth of what `_NAME` does."""

_NAME: Final = (
    r"(pass(?:w(?:or)?d|phrase|code|key)|pwd|secret|token|credential|api[_-]?key|access[_-]?key|account[_-]?key"
    r"|private[_-]?key|shared[_-]?key|authorization|cookie|identified by"
    r"|pass(?![a-z])|auth(?![a-z])|authentication_string|pw(?![a-z]))[\w-]{0,40}"
)
"""What secrets are called, in lower case. Every branch begins with a letter: three times as quick."""
_WEAK: Final = frozenset({"auth", "pass", "pw"})  # parts of common words: these count only as "auth=" or "'auth':"
_HEADERS: Final = frozenset({"authorization", "cookie"})

_SIGN: Final = r"""(?P<close>\\{0,3}["'`]?\]?)[ \t]{0,8}(?P<sign>=>|:=|==?|:(?!:)|%(?:25){0,3}3[DdAa])[ \t]{0,8}"""
_OPTION: Final = r"""--[\w-]{1,80}["'`]?,?[ \t]{1,8}"""  # --password x, ['--password', 'x']
_PAIR: Final = r"""[bB]?["'`][\w-]{1,80}["'`],[ \t]{0,8}"""  # ('password', 'x')
_SQL: Final = r"""(?i)(?:password|identified by)[ \t]{1,8}(?=')"""  # ALTER ROLE x PASSWORD 'y'
_NO_SECRET: Final = r"(?:YES|NO|None|NULL|null)(?![^ \t-\r,;)\]}])"  # (using password: YES)

_OPENING: Final = r"""[bBfFrRuU]{0,2}(\\{0,3}["'`])"""
_BARE: Final = r"(?s)(?:[^ \t-\r\\]|\\.?)*"  # libpq: a backslash keeps a space in the value
_LINE: Final = r"[^\r\n]*"
_SCHEME_AND_TOKEN: Final = r"[A-Za-z][\w-]*[ \t]{1,8}[^ \t-\r]+"  # Authorization: Bearer x
_MANY_PARTS: Final = ("digest", "aws4-", "oauth", "hawk")  # these go on to the end of the line

_BEARER: Final = r"""(?x)\b(?:
        [Bb](?:earer|EARER)[ \t]{1,8}(?!
            (?:tokens?|auth\w*|realm|errors?|schemes?|headers?|credentials?|is|was|not|required|missing|of|and|or|for|in
                |format|type|challenge)
            (?:[ \t-\r]|$|[,.;:)](?:[ \t-\r]|$)|=["']))
      | [Bb]asic[ \t]{1,8}(?=[A-Za-z0-9+/_-][A-Za-z+/_-]*[A-Z0-9=])(?=[\w+/=-]{6,})
    )([^ \t-\r]+)"""

_PHRASES: Final = ("integer ", "nvalid ", "missing ", "spaces ", "base 10: ", "bad query ", "args ", "does not appear ")
_PHRASE: Final = (
    r"(?P<value>base 10: |cast to integer value as |integer between 0 and 65535: |bad query field: "
    r"|nvalid port:? (?=[\"']))"
    r'|(?P<line>args beginning with: |invalid integer value "|invalid percent-encoded token: "'
    r'|invalid connection option "|URI query parameter: "|missing "=" after "|unexpected spaces found in ")'
    r"|(?P<before>does not appear to be an IPv)"
)
"""Where URL and connection-string readers (Python, httpx, PyMongo, asyncpg, libpq) quote the piece they cannot read:
it may be half of a password with a "/" in it. Redis quotes a command, which may be AUTH."""

_MISREAD: Final = r"""(?:host(?:\ name)?|database|socket)[ ]\(?(["'])((?:(?!\1[\s,;:.)]|\1$)[^\r\n]){0,400})@"""
"""host name "ss@db", host 'ss@db', database "3@db": the end of "p@ss" or "12/3", taken for part of the address."""

_PORT: Final = r"[0-9]{1,5}(?!\w)"
_ENCODED: Final = r"%(?:25){0,3}([0-9A-Fa-f]{2})"
_TYPE: Final[Any] = type.__dict__


def scrub(text: str, limit: int = 200) -> str:
    """Make a text fit to show.

    Hidden as "***" are the user part and the query of URLs, "user:password@host", and what is called a password,
    secret, token or the like, whether in a connection string, a dict, JSON, a header or a command line.
    Then control and format characters become escapes, and what is longer than `limit` characters ends in "…".
    """
    text = str.__str__(text)
    room = _ROOM + 4 * limit
    short = len(text) <= room
    text = text if short else text[:room]
    spans = list(_spans(text, short))
    if spans:
        text = _masked(text, spans)
    if len(text) > limit:
        text, short = text[:limit], False
    text = _escaped(text)
    if short and len(text) <= limit:
        return text
    return f"{text[: limit - 1]}…" if limit > 0 else ""


def describe(exc: BaseException) -> str:
    """Return an exception's own text, scrubbed; "" if it has none to give. No error of its `__str__` gets out."""
    try:
        return scrub(str.__str__(str(exc)))
    except Exception:  # noqa: BLE001  # any error at all can come out of a stranger's __str__
        return ""


def type_name(exc: BaseException) -> str:
    """Return the qualified name of an exception's class, "redis.exceptions.ConnectionError", of a builtin "OSError".

    It is read past the class's own metaclass, so nothing is raised.
    """
    cls = type(exc)
    name = str.__str__(_TYPE["__qualname__"].__get__(cls))
    try:
        module = _TYPE["__module__"].__get__(cls)
    except AttributeError:  # a class made where __name__ was not
        module = None
    if type(module) is str and module != "builtins":
        name = f"{module}.{name}"
    return _escaped(name[:200])[:200]


@cache
def _pattern(source: str) -> re.Pattern[str]:
    return re.compile(source)


def _masked(text: str, spans: list[tuple[int, int]]) -> str:
    spans.sort()
    parts: list[str] = []
    shown = 0
    for start, end in spans:
        if start > shown or not parts:
            parts += (text[shown:start], _MASK)
        shown = max(shown, end)
    return "".join((*parts, text[shown:]))


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    text = text.replace("\n", "\\n").replace("\t", "\\t")  # most often these two are all
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in _SPACES else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


# Each of the following yields spans to hide: (start, end) in the text.


def _spans(text: str, whole: bool) -> Iterator[tuple[int, int]]:
    """Yield what any rule hides. `whole`: the text is not cut off at its end."""
    query = "?" in text and "=" in text
    if query or "@" in text or "://" in text or "%" in text or not whole:
        yield from _in_addresses(text, whole)
    words = text.replace("İ", "I").lower()  # no other letter is longer in lower case
    if any(word in words for word in _WORDS):
        yield from _named(text, words)
        if "bearer" in words or "basic" in words:
            for found in _pattern(_BEARER).finditer(text):
                yield found.start(1), _less_closers(text, found.start(1), found.end())
    if any(phrase in text for phrase in _PHRASES):
        yield from _quoted_pieces(text)
    if "@" in text:
        for found in _pattern(_MISREAD).finditer(text):
            yield found.span(2)


def _quoted_pieces(text: str) -> Iterator[tuple[int, int]]:
    """Yield the pieces of addresses that certain errors quote."""
    done = 0
    for found in _pattern(_PHRASE).finditer(text):
        start = found.end()
        if start < done:
            continue
        if found["before"] is not None:
            span = max(text.rfind("\n", 0, found.start()) + 1, done), found.start() - 1
        else:
            span = _value(text, start) if found["line"] is None else _line(text, start)
        done = span[1]
        if span[0] < span[1]:
            yield span


def _named(text: str, words: str) -> Iterator[tuple[int, int]]:
    """Yield the values of names like "password"."""
    done = 0
    for found in _pattern(_NAME).finditer(words):
        if found.start() < done:
            continue  # inside a value that is hidden already
        name = found[1]
        sign = _pattern(_SIGN).match(text, found.end())
        if sign is None:
            start = _without_sign(text, found.start(), found.end())
        else:
            start = -1 if name in _WEAK and sign[0].strip() == ":" else sign.end()
        if start < 0 or start == len(text) or _pattern(_NO_SECRET).match(text, start):
            continue
        is_header = name in _HEADERS and _pattern(_OPENING).match(text, start) is None
        span = _header(text, start, name) if is_header else _value(text, start)
        if span[0] < span[1]:
            done = span[1]
            yield span


def _without_sign(text: str, start: int, end: int) -> int:
    """Return where the value begins of a name that no "=" or ":" follows, or -1."""
    first = start
    while first > 0 and start - first < 40 and (text[first - 1].isalnum() or text[first - 1] in "_-"):
        first -= 1
    if text.startswith("--", first) and (found := _pattern(_OPTION).match(text, first)):
        return found.end()
    for opening in (first - 1, first - 2):
        if opening > 0 and text[opening - 1] == "(" and (found := _pattern(_PAIR).match(text, opening)):
            return found.end()
    found = _pattern(_SQL).match(text, start)
    return -1 if found is None or found.end() < end else found.end()


def _value(text: str, start: int) -> tuple[int, int]:
    """Mark the value that begins here: quoted, bracketed, or up to white space."""
    opening = _pattern(_OPENING).match(text, start)
    if opening is None:
        bracket = _BRACKETS.get(text[start : start + 1])
        closing = text.find(bracket, start) if bracket else start
        if closing < 0:
            return start, len(text)
        return start, _less_closers(text, start, _end_of_bare(text, closing))
    return opening.end(), _end_of_quoted(text, opening.end(), opening[1])


def _end_of_quoted(text: str, start: int, quote: str) -> int:
    r"""Find the closing quote, or else the end. In nested JSON a \" is closed by a \", and \\\" is a quote within."""
    depth, mark = len(quote) - 1, quote[-1]
    doubled = -1
    for found in _pattern(rf"(?<!\\)\\*{mark}").finditer(text, start):
        end = found.end()
        if (end - 1 - found.start()) % (2 * depth + 2) != depth or end == doubled:
            continue
        after = text[end : end + 1]
        if after == mark and not depth:
            doubled = end + 1  # SQL's '' within '...'
        elif not after or after in _AFTER_QUOTED:  # before anything else it stands within the secret
            return end - 1 - depth
    return len(text)


def _header(text: str, start: int, name: str) -> tuple[int, int]:
    """Mark the value of an "Authorization" or "Cookie" header."""
    if name == "cookie" or text[start : start + 8].lower().startswith(_MANY_PARTS):
        return _line(text, start)
    both = _pattern(_SCHEME_AND_TOKEN).match(text, start)
    return start, _less_closers(text, start, _end_of_bare(text, start) if both is None else both.end())


def _line(text: str, start: int) -> tuple[int, int]:
    found = _pattern(_LINE).match(text, start)
    return start, len(text) if found is None else found.end()


def _end_of_bare(text: str, start: int) -> int:
    found = _pattern(_BARE).match(text, start)
    return len(text) if found is None else found.end()


def _less_closers(text: str, start: int, end: int) -> int:
    """Leave up to four brackets and stops at the end of a bare value to the sentence that it stands in."""
    for _ in range(4):
        if end - 1 > start and text[end - 1] in _CLOSERS:
            end -= 1
    return end


def _in_addresses(text: str, whole: bool) -> Iterator[tuple[int, int]]:
    """Yield user parts and queries. They have no white space, so the text is looked at chunk by chunk."""
    for found in _pattern(_CHUNK).finditer(text):
        chunk, start = found[0], found.start()
        cut = not whole and found.end() == len(text)  # its "@" may have been cut off
        if not cut and "@" not in chunk and "?" not in chunk and "://" not in chunk and "%" not in chunk:
            continue
        yield from ((start + first, start + last) for first, last in _in_chunk(chunk, cut))
        at = chunk.rfind("@")
        if at < 0 and "://" in chunk and (colon := _password(chunk)) >= 0:
            at = text.find("@", found.end(), found.end() + 200)
            between = text[found.end() : at] if at > 0 else "\n"
            if chunk[-1] not in _CLOSERS and "\n" not in between and "://" not in between:
                yield start + chunk.index("://") + 3, at  # a password with a space
            else:
                yield start + colon, _less_closers(text, start + colon, found.end()) if whole else len(text)
            at = -1
        if "%" in chunk:
            path = chunk[at + 1 :].partition("?")[0]  # a query is hidden already
            decoded, places = _decoded(path)
            first = start + at + 1
            yield from ((first + places[begin], first + places[end]) for begin, end in _in_chunk(decoded, cut))


def _in_chunk(chunk: str, cut: bool) -> Iterator[tuple[int, int]]:
    """Yield the user part and the query of an address, in a chunk without white space."""
    size = len(chunk)
    url = chunk.find("://")
    head = chunk if url < 0 else chunk[:url]
    at = size if cut and url < 0 else head.rfind("@")
    login = _login(head, at) if at > 0 else -1
    if login >= 0:
        yield login, at
    begin = url + 3 if url >= 0 else 0
    query = chunk.find("?", begin)
    if url >= 0:
        at = chunk.rfind("@", begin)
        if cut or at > query >= 0:  # is it "user:pass?word@host" or "host?mail=bob@example.com"?
            yield begin, size
        elif at > begin:
            yield begin, at
    elif "=" not in chunk[query:]:
        query = -1
    if 0 <= query < len(chunk.rstrip(_CLOSERS)) - 1:
        yield query + 1, _less_closers(chunk, query + 1, size)


def _login(chunk: str, at: int) -> int:
    """Return where "user:password@" begins, or -1. The colon of `{"mail":"bob@example.com"}` is none of it."""
    colon = chunk.find(":")
    while 0 <= colon < at - 1:
        first = colon
        while first > 0 and (chunk[first - 1].isalnum() or chunk[first - 1] in "_.%+~-"):
            first -= 1
        before = chunk[first - 1 : first]
        quoted = before in "\"'`" and not chunk[first - 2 : first - 1].isalnum()
        if first < colon or ((before in "([{<=," or quoted) and chunk[colon + 1 : colon + 2] not in "\"'`"):
            return first
        colon = chunk.find(":", colon + 1)
    return -1


def _password(chunk: str) -> int:
    """Return where the password of "scheme://user:password" begins, which no "@" follows, or -1 if it is a port."""
    user = re.split(r"[/?#]", chunk[chunk.index("://") + 3 :], maxsplit=1)[0]
    colon = user.find(":")
    after = user[colon + 1 :]
    if colon < 0 or user[0] == "[" or _pattern(_PORT).match(after) or not after.strip(_CLOSERS):
        return -1
    return chunk.index("://") + 3 + colon + 1


def _decoded(chunk: str) -> tuple[str, list[int]]:
    """Decode "%40", also "%2540"; return with it where each character stood, and where the last one ended."""
    chars: list[str] = []
    places: list[int] = []
    shown = 0
    for found in _pattern(_ENCODED).finditer(chunk):
        chars += chunk[shown : found.start()]
        places += range(shown, found.start())
        chars.append(chr(int(found[1], 16)))
        places.append(found.start())
        shown = found.end()
    chars += chunk[shown:]
    places += range(shown, len(chunk) + 1)
    return "".join(chars), places
