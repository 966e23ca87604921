"""Takes secrets out of text that the driver writes into evidence, by the rules of the nodes (`include/scripts/node/lib/redact.pl`).

Better a harmless value lost than a secret kept; but what explains a failure has to stay: names, paths of files, and
sentences about tokens. Both are tested with the same planted secrets (tests/unit/redaction_plants.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

_REDACTED = "[REDACTED]"
_LONGEST = 4_096  # characters of a line; a longer one is cut: rules that look around take the square of it
_KEY_LINES = 250  # of a private key without its end; RSA with 16384 bits has 200

# What a name ends with when its value is secret.
_WORD = (
    r"""(?i:passw(?:or)?d|passphrase|[_-]pass|[_-]pwd|secret|tokens?(?!["']?[:=]\s*\d{1,9}\b)|creds|credentials?"""
    r"""|api[-_]?key|access[-_]?key(?:[-_]?id)?|secret[-_]?key|private[-_]?key|encryption[-_]?key|certificate[-_]?key"""
    r"""|signing[-_]?key|client[-_]?key[-_]?data|requirepass|masterauth)"""
)
_ENV_WORD = rf"(?i:{_WORD}|_key|apikey)"  # in the name of an environment variable

# Values: in double quotes, in escaped ones (JSON inside of JSON), in single ones, bare. A quote or a comma in the middle
# of a bare value is part of it. Atomic groups and no "++": of an alternative that begins and then fails Python before 3.11.5
# keeps with the latter what it has read (cpython#106052).
_BARE = (
    r"""(?!(?:true|false|null)\b)(?>(?:[^\s"'`;&{}<>,\\]|\\[^"'\s]|,(?=[^\s"'])|["'](?![\],}:;\s]|\Z))+)"""
)
_VALUE = (
    r"""(?:"(?:[^"\\]|\\.)*+(?:"|\Z)|(?P<esc>\\++)"(?:(?!(?<!\\)(?P=esc)").)*(?:(?P=esc)"|\Z)"""
    rf"""|'(?>(?:[^']|'')*)(?:'|\Z)|{_BARE})"""
)
_QUOTE = r"""(?:\\*["'])?"""
_MARKER = r"[ ]*(?:-[ ]+)*"  # indentation and list markers before a key
_ARCHITECTURE = r"(?:all|amd64|arm64|armhf|i386|ppc64el|riscv64|s390x)\b"  # dpkg: base-passwd:amd64
_SECRET_KEY = rf"""\A{_MARKER}["']?[\w.-]*{_WORD}["']?[ ]*:"""


def _re(pattern: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(pattern, flags | re.ASCII)


# What a line in lower case must have to be worth a look at all; nearly all have nothing of it.
_SUSPECT = _re(
    "pass|pwd|secret|token|creds|credential|_key|-key|apikey|accesskey|privatekey|encryptionkey|certificatekey|signingkey|keydata"
    "|masterauth|--auth|authorization|bearer |basic |digest |negotiate |hmac|cookie|eyj|ls0t|tls0| -u|\"-u|'-u|-user|sig="
    '|signature=|code=|-----|"auth|akia|gh[opsru]_|glpat-|xox[abprs]-|hvs\\.'
)
# The beginning of a line as the kubelet's log files and journald write it.
_PREFIX = _re(
    r"\A(?:\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-][\d:]+)[ ](?:(?:stdout|stderr)[ ][FP][ ]|\S+[ ]\S+:[ ]))"
)
_STARTS = _re(r"""\A\s*["']?(?:---|kind|data|stringData|name|value)""")
_BOOTSTRAP = _re(r"(?<![\w.])[a-z0-9]{6}\.[a-z0-9]{16}(?!\w)")
_CHANGE = _re(r"\A([+]|-(?!-| \S))")  # of a line of a diff; "- x" is an item of a list
_ENV_NAME = _re(_ENV_WORD)
_BLANKED_QUOTE = _re(r"""\A(\\*["']|)""")
_KEY_BEGIN = _re(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*", re.DOTALL)
_KEY_WHOLE = _re(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?-----END [A-Z0-9 ]*PRIVATE KEY-----", re.DOTALL)
_KEY_LAST_END = _re(r"\A(.*-----END [A-Z0-9 ]*PRIVATE KEY-----)(.*)\Z", re.DOTALL)
_KEY_REST = _re(r"\A.*?-----END [A-Z0-9 ]*PRIVATE KEY-----")
_KEY_INSIDE = _re(r"""\A[\s"'|>]*[A-Za-z0-9+/=]*[\s"',]*\Z|\A\s*(?:Proc-Type|DEK-Info): """)
_KEY_LINE = _re(r"""\A[\s"'|>]*([A-Za-z0-9+/]{60,76}+={0,2})[\s"',]*\Z""")
_HEX = _re(r"\A[0-9a-f]+\Z")
_DEPTH = _re(rf"\A({_MARKER})")
_BLOCK = _re(r"\A[|>][-+0-9]*\s*(?:#.*)?\Z")
_VALUE_LINE = _re(rf"""\A({_MARKER}["']?\w+["']?\s*:\s*)(.*)\Z""", re.DOTALL)
_VALUE_ALONE = _re(rf"\A({_VALUE}),?\s*\Z")
_VALUE_FOLLOWS = _re(rf"""\A{_MARKER}["']?value["']?\s*:""", re.IGNORECASE)
_HOLDS = _re(r"""\A(?:\s*- +["']?value["']?\s*:|\s*"value"\s*:.*,\s*\Z)""")
_NAME_LINE = _re(
    rf"""\A{_MARKER}["']?name["']?\s*:\s*["']?[\w.-]*?{_ENV_WORD}[\w.-]*["']?\s*,?\s*\Z""", re.IGNORECASE
)
_FLAG_LINE = _re(rf"""\A\s*(?:- +)?["']?--?[\w-]*{_WORD}["']?,?\s*\Z""")
_FLAG_VALUE = _re(r"""\A(\s*(?:- +["']?|["']))(?!["'-]).*?(["']?,?)\s*\Z""")
_KIND_SECRET = _re(r"""\A\s*["']?kind["']?:\s*["']?Secret\b""")
_DATA = _re(r"""\A\s*["']?(stringData|data)["']?:\s*\{?\s*\Z""")
_ENTRY = _re(r"""\A(\s*["']?[\w.-]+["']?:\s+)(\S.*)\Z""")
_BASE64 = _re(r"""\A["']?([A-Za-z0-9+/]+={0,2})["']?,?\s*\Z""")
_OPENS = _re(rf"""({_SECRET_KEY}\s*)([|>"'].*)\Z""", re.DOTALL)


def _blanked(text: str) -> str:
    """The same in its quotes, so that JSON and YAML stay what they are."""
    found = _BLANKED_QUOTE.match(text)
    mark = found[1] if found else ""
    return f"{mark}{_REDACTED}{mark if text.endswith(mark) else ''}"


def _blank_second(match: re.Match[str]) -> str:
    return match[1] + _blanked(match[2])


def _after_first(match: re.Match[str]) -> str:
    return match[1] + _REDACTED


def _after_second(match: re.Match[str]) -> str:
    return match[1] + match[2] + _REDACTED


def _whole(match: re.Match[str]) -> str:
    return _REDACTED


_Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]
_I = re.IGNORECASE


@cache
def _one_line_rules() -> tuple[_Rule, ...]:
    """What is secret on a single line."""
    # PEM inside base64, as kubeconfigs and Secrets carry it ("-----BEGIN" at its three possible
    # offsets); JSON web tokens; kubeadm's bootstrap tokens; whoever logs in by an address, and signatures in it; HTTP;
    # tokens that say themselves whose they are, and a registry's login. "authorization: RBAC: …" is a sentence of the API
    # server; schemes are followed by one word that no language has.
    return (
        (_re(r"(?:LS0tLS1CRUdJT|0tLS1CRUdJTi|tLS0tQkVHSU4)[A-Za-z0-9+/=_-]*+"), _whole),
        (_re(r"\beyJ[\w-]{5,}+(?:\.[\w-]*+)++"), _whole),
        (_BOOTSTRAP, _whole),
        (_re(r"""(://)[^/\s"'<>]*@"""), lambda m: f"{m[1]}{_REDACTED}@"),
        (
            _re(
                r"([?&](?:x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|sig|signature|code|key|auth"
                r"|(?:[\w-]*+(?:(?<=token)|(?<=ecret)|(?<=sword)|(?<=i_key)|(?<=apikey))))=)[^&\s\"'<>#]++",
                _I,
            ),
            _after_first,
        ),
        (
            _re(
                r"\b(?:AKIA[0-9A-Z]{16}|gh[opsru]_\w{20,}+|glpat-[\w-]{16,}+|xox[abprs]-[\w-]{10,}+|hvs\.[\w-]{16,}+)"
            ),
            _whole,
        ),
        (_re(rf"""(\\*"auth\\*" *: *)({_VALUE})"""), _blank_second),
        (
            _re(
                r"""(\b(?:bearer|basic|digest|negotiate|aws4-hmac-sha256)[ ]++)"""
                r"""(?=(?-i:[^\s"',]*[0-9A-Z_~+/=])|[^\s"',]{16})[\w.~+/=-]{6,}+""",
                _I,
            ),
            _after_first,
        ),
        (
            _re(
                r"""(\b(?:proxy-)?authorization["']?[ ]?[:=][ ]?(?:bearer|basic|digest|negotiate)[ ]++)[^\s"',]++""",
                _I,
            ),
            _after_first,
        ),
        (
            _re(
                rf"(\b(?:proxy-)?authorization{_QUOTE}[ ]?[:=][ ]?)(?!{_QUOTE}(?:bearer|basic|digest|negotiate|rbac)\b)({_QUOTE})"
                r"(?=[\w.~+/=-]*\d)[\w.~+/=-]{16,}+",
                _I,
            ),
            _after_second,
        ),
        (_re(rf"""(\b(?:set-)?cookie{_QUOTE}: *)[^"']++""", _I), _after_first),
        # A user counts only when a password follows; numbers are a user's and a group's.
        (
            _re(r"""((?<![\w-])(?:-u|--(?:proxy-)?user)[ =]["']?)(?!\d+:\d+\b)([^\s:"']++:[^\s"']++)"""),
            _after_first,
        ),
        (_re(rf"(-pass(?:in|out)?[ =]pass:|\bsshpass -p ?)({_VALUE})"), _blank_second),
    )


_SECRET_OBJECT = _re(r"""\\*"kind\\*" *: *\\*"Secret\\*\"""")


@cache
def _named_rules() -> tuple[_Rule, ...]:
    """Values whose name says that they are secret."""
    return (
        # {name: X_TOKEN, value: y}, in both orders, also as JSON.
        (
            _re(
                rf"(\bname{_QUOTE} *: *{_QUOTE}[\w.-]*?{_ENV_WORD}[\w.-]*{_QUOTE} *, *{_QUOTE}value{_QUOTE} *: *)({_VALUE}|[^,}}]++)",
                _I,
            ),
            _blank_second,
        ),
        (
            _re(
                rf"(\bvalue{_QUOTE} *: *)({_VALUE})(?= *, *{_QUOTE}name{_QUOTE} *: *{_QUOTE}[\w.-]*?{_ENV_WORD})",
                _I,
            ),
            _blank_second,
        ),
        # ["--name","value"] and --name value.
        (
            _re(rf"""(--?[\w-]*(?:{_WORD}|auth)["']? *, *)(["'])(?!-)({_VALUE}|[^"']*+)""", _I),
            _after_second,
        ),
        (
            _re(rf"((?<![\w-])--?[\w-]*{_WORD}\b(?:[ ]++|{_QUOTE},[ ]*))(?![-\[])({_VALUE})", _I),
            _blank_second,
        ),
        (_re(rf"((?<![\w-])(?:requirepass|masterauth)[ ]++)({_VALUE})", _I), _blank_second),
        # name=value, "name":"value", name:value.
        (
            _re(
                rf"""({_WORD}{_QUOTE}(?: *=|:(?! |{_ARCHITECTURE}|\Z)|{_QUOTE} *: *(?=\\*["'])) *)(?!\[REDACTED)({_VALUE})""",
                _I,
            ),
            _blank_second,
        ),
        (_re(rf"(\b[A-Z0-9_]+_KEY{_QUOTE}(?: *=|: *) *)({_VALUE})"), _blank_second),
        # name: value. As a key of YAML all that follows; in a sentence only what looks like no word ("verify token: expired").
        (
            _re(rf"""({_SECRET_KEY} +)(?![>|"'&*]|[\[{{]\s*\Z|(?:true|false|null)\s*\Z|\[REDACTED)(\S.*+)"""),
            _after_first,
        ),
        (_re(rf"""([{{,("'] *[\w.-]*{_WORD}: +)(?![\[{{"'])([^,}}"']++)""", _I), _after_first),
        (
            _re(
                rf"""(passw(?:or)?d: +|passphrase: +|{_WORD}: +(?=[^\s"',]*\d)(?=[^\s"',]{{6}}))(?!["']?\[REDACTED)({_BARE})""",
                _I,
            ),
            _after_first,
        ),
    )


_SECRET_DATA = _re(r"""(\\*"(?:stringData|data)\\*" *: *\{)[^{}]*+""")


def redact(text: str) -> str:
    """Return the text without what looks like a secret."""
    return _Lines().all_of(text)


def redact_texts(value: Any) -> Any:
    """Return the same plain value with all its texts without secrets; the keys stay, and what is no text."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redact_texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [redact_texts(item) for item in value]
    return tuple(redact_texts(item) for item in value) if type(value) is tuple else value


def without_secrets(error: BaseException, seen: tuple[int, ...] = ()) -> BaseException:
    """Return the error with nothing secret in its whole chain, which a traceback prints.

    A library's error whose text has a secret (the answer of an API, a piece of a kubeconfig) is replaced by one that says
    of which type it was, with the same traceback.
    """
    is_suppressed, seen = error.__suppress_context__, (*seen, id(error))

    def link(other: BaseException | None) -> BaseException | None:
        return None if other is None or id(other) in seen else without_secrets(other, seen)

    error.__context__, error.__cause__ = link(error.__context__), link(error.__cause__)
    error.__suppress_context__ = is_suppressed
    text = str(error)
    said = redact(text)
    if said == text:
        return error
    instead = RuntimeError(f"{type(error).__name__}: {said}").with_traceback(error.__traceback__)
    instead.__context__, instead.__cause__ = error.__context__, error.__cause__
    instead.__suppress_context__ = is_suppressed
    return instead


def _one_line(text: str, low: str) -> str:
    for pattern, replacement in _one_line_rules():
        text = pattern.sub(replacement, text)
    return _named(text) if _ENV_NAME.search(low) or "masterauth" in low or "--auth" in low else text


def _named(text: str) -> str:
    if _SECRET_OBJECT.search(text):
        text = _SECRET_DATA.sub(r"\1", text)
    for pattern, replacement in _named_rules():
        text = pattern.sub(replacement, text)
    return text


def _is_plain(text: str, low: str) -> bool:
    """Nothing in it can be secret, nor begin or end anything. `low` is the text in lower case."""
    if _SUSPECT.search(low) or ("@" in text and "://" in text) or _BOOTSTRAP.search(text):
        return False
    return not (60 <= len(text) < 100 and _is_key_line(text)) and not _STARTS.match(text)


def _is_key_line(text: str) -> bool:
    """Nothing but base64 as in PEM. 64 hexadecimal digits are a hash, and stay."""
    found = _KEY_LINE.match(text)
    return found is not None and not _HEX.match(found[1])


def _depth(text: str) -> int:
    found = _DEPTH.match(text)
    return len(found[1]) if found else 0


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip(" "))


def _without_escapes(text: str) -> str:
    return re.sub(r"\\.", "", text)


class _Lines:
    """Reads line by line, and remembers what the lines before have left open."""

    def __init__(self) -> None:
        self.held: tuple[str, str] | None = None  # a line `value: …` (prefix, text), whose name may come next
        self.armed = False  # a line `name: X_TOKEN` was just there: its value may come
        self.flag = False  # a list item `--token` was just there
        self.key_lines = 0  # how many lines the private key that began may still have
        self.block: tuple[int, str] | None = None  # a value of several lines that we are in: depth, quote
        self.data: tuple[int, bool] | None = None  # the Secret's data that we are in: depth, all of it
        self.is_secret = False  # this YAML document is a Secret
        self.said: list[str] = []

    def all_of(self, text: str) -> str:
        """The same text without its secrets."""
        for line in text.split("\n"):
            self._read(line if len(line) <= _LONGEST else f"{line[:_LONGEST]} [cut]")
        self._say_held(without_value=False)
        return "\n".join(self.said)

    def _read(self, line: str) -> None:
        head = _PREFIX.match(line)
        before = head[0] if head else ""
        text = line[len(before) :]
        change = ""
        if found := _CHANGE.match(text):  # so that its neighbours stand at the same depth
            change, text = found[1], f" {text[1:]}"
        low = text.lower()
        said = text
        is_open = self.key_lines or self.block or self.data or self.armed or self.flag
        if is_open or not _is_plain(text, low):
            seen = self._several_lines(text, low)
            if seen is None:
                return
            said = seen
        if change:
            said = change + (said[1:] if said.startswith(" ") else said)
        # A value may stand before its name: as the first key of a list's item, or with a comma behind it in JSON.
        if self.held and self.armed and not text.lstrip().startswith("-"):
            self._say_held(without_value=True)
            self.armed = False
        self._say_held(without_value=False)
        if not change and said == text and _HOLDS.match(said):
            self.held = (before, said)
        else:
            self.said.append(before + said)

    def _say_held(self, *, without_value: bool) -> None:
        if self.held:
            before, text = self.held
            self.said.append(before + (self._value_gone(text) if without_value else text))
        self.held = None

    def _several_lines(self, text: str, low: str) -> str | None:
        """The text in the light of those before it; None when nothing of it may be said."""
        if self.key_lines:
            rest = self._in_key(text)
            if rest is None:
                return None
            text = rest
        if self.block and self._in_block(text):
            return None
        if self.armed and text.strip() and not text.lstrip().startswith("#"):
            self.armed = False
            if _VALUE_FOLLOWS.match(text):
                return self._value_gone(text)
        if self.flag:
            self.flag = False
            if found := _FLAG_VALUE.match(text):
                return f"{found[1]}{_REDACTED}{found[2]}"
        if "-----BEGIN" in text:
            text = self._keys_gone(text)
        if _is_key_line(text):
            return _REDACTED
        return self._documents(text, low)

    def _in_key(self, text: str) -> str | None:
        """What is not of the private key that began above; None when nothing is."""
        self.key_lines -= 1
        if rest := _KEY_REST.match(text):
            self.key_lines = 0
            return text[rest.end() :] or None
        return None if _KEY_INSIDE.match(text) else text  # another's line in between; the key may go on

    def _documents(self, text: str, low: str) -> str:
        """Secrets, and what this line opens."""
        if text.startswith("---"):
            self.is_secret = False
        if _KIND_SECRET.match(text):
            self.is_secret = True
        if self.data:
            said = self._of_secret(text)
            if said is not None:
                return said
        if found := _DATA.match(text):
            self.data = (_indent(text), self.is_secret or found[1] == "stringData")
        if _ENV_NAME.search(low):
            self.armed = self.armed or _NAME_LINE.match(text) is not None
            self.flag = self.flag or _FLAG_LINE.match(text) is not None
            if found := _OPENS.match(text):
                self._open_block(text, found[2])
        return _one_line(text, low)

    def _keys_gone(self, text: str) -> str:
        """Private keys; one that does not end on its line is gone on with on the next ones."""
        if found := _KEY_LAST_END.match(
            text
        ):  # else each beginning without an end would look through all the rest
            text = _KEY_WHOLE.sub(_REDACTED, found[1]) + found[2]
        text, count = _KEY_BEGIN.subn(_REDACTED, text)
        if count:
            self.key_lines = _KEY_LINES
        return text

    def _open_block(self, text: str, rest: str) -> None:
        """A value that goes on below: a block scalar, or quotes that do not end here."""
        if _BLOCK.match(rest):
            self.block = (_depth(text), "")
        elif rest[:1] in ('"', "'") and rest[0] not in _without_escapes(rest[1:]):
            self.block = (_depth(text), rest[0])

    def _value_gone(self, text: str) -> str:
        """Of a line `value: …`."""
        found = _VALUE_LINE.match(text)
        if not found:
            return text
        start, rest = found[1], found[2]
        self._open_block(text, rest)
        alone = _VALUE_ALONE.match(rest)
        return start + _blanked(alone[1] if alone else "") + ("," if rest.rstrip().endswith(",") else "")

    def _in_block(self, text: str) -> bool:
        """The text belongs to a value that began above."""
        if not text.strip() or self.block is None:
            return True
        depth, quote = self.block
        if _indent(text) <= depth:
            self.block = None
            return False
        if quote and quote in _without_escapes(text):
            self.block = None
        return True

    def _of_secret(self, text: str) -> str | None:
        """A line below `data:` of a Secret, without its value. Its kind may come only after the data."""
        if self.data is None or not text.strip() or _indent(text) <= self.data[0]:
            self.data = None
            return None
        found = _ENTRY.match(text)
        if not found:
            return None
        coded = _BASE64.match(found[2])
        if not self.data[1] and not (coded and len(coded[1]) % 4 == 0):
            return None
        self._open_block(text, found[2])
        return found[1] + _REDACTED


# -- objects -----------------------------------------------------------------------------------------------

_SECRET_FIELD = _re(rf"[\w.-]*{_WORD}\Z")
_SECRET_VARIABLE = _re(rf"{_ENV_WORD}|(?i:authorization|cookie)")
_SECRET_FLAG = _re(rf"--?[\w-]*(?:{_WORD}|(?i:auth))\Z")
# What says nothing about a failure, and may carry a whole object again, with all that was ever in it.
_LEFT_OUT = ("managedFields", "kubectl.kubernetes.io/last-applied-configuration")


def redact_object(value: Any) -> Any:
    """Return the same of an object of the API, or of a parsed document: also what only its name says to be secret.

    Fields (`token: x`), pairs (`name: X_TOKEN`, `value: x`), arguments (["--token", "x"]), a Secret's data.
    """
    if isinstance(value, Mapping):
        return _redact_fields(value)
    if isinstance(value, list):
        return [
            _REDACTED if _is_flag(before) and _is_argument(item) else redact_object(item)
            for before, item in zip([None, *value], value, strict=False)
        ]
    return redact(value) if isinstance(value, str) else value


def _redact_fields(found: Mapping[Any, Any]) -> dict[Any, Any]:
    is_pair = "name" in found and "value" in found and _SECRET_VARIABLE.search(str(found["name"]))
    is_secret = found.get("kind") == "Secret"
    kept = {}
    for key, value in found.items():
        if key in _LEFT_OUT:
            continue
        if (is_pair and key == "value") or (is_secret and key in ("data", "stringData")):
            kept[key] = _REDACTED
        elif _SECRET_FIELD.fullmatch(str(key)):
            kept[key] = _blanked_field(value)
        else:
            kept[key] = redact_object(value)
    return kept


def _blanked_field(value: Any) -> Any:
    """A field whose name says that it is secret; what is no text has no secret, but may hold one."""
    if isinstance(value, str):
        return _REDACTED if value else value
    if isinstance(value, list):
        return [_REDACTED if isinstance(item, str) else redact_object(item) for item in value]
    return redact_object(value)


def _is_flag(item: Any) -> bool:
    return isinstance(item, str) and _SECRET_FLAG.fullmatch(item) is not None


def _is_argument(item: Any) -> bool:
    return isinstance(item, str) and not item.startswith("-")
