"""SQL as text: its tokens, its statements, and the query in a model's answer. Pure.

The scanner knows what PostgreSQL takes for a literal or a comment and nothing more. No safety rests on it:
the server alone decides what runs (`codecard.sql.database`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from codecard.model import PromptStyle

_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<string>  [eE]'(?:[^'\\]|\\.|'')*(?:'|\Z) | '(?:[^']|'')*(?:'|\Z) )
    | (?P<quoted>  "(?:[^"]|"")*(?:"|\Z) )
    | (?P<dollar>  (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?:(?P=tag)|\Z) )
    | (?P<word>    [^\W\d][\w$]* )
    | (?P<other>   \d[\w.]* | \s+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)

_FENCE = re.compile(r"```[ \t]*(?P<tag>[\w+-]*)[^\n]*\n(?P<body>.*?)(?:```|\Z)", re.DOTALL)
_MARKED = re.compile(r"\[SQL\](?P<body>(?:(?!\[SQL\]).)*?)(?:\[/SQL\]|```|\Z)", re.DOTALL | re.IGNORECASE)
_START = re.compile(r"^[ \t>*-]*(?P<query>(?:SELECT|WITH|VALUES|TABLE)\b.*)", re.DOTALL | re.IGNORECASE | re.MULTILINE)
_SPECIAL = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?s>|\[/SQL\]|\[/?INST\]", re.IGNORECASE)
_SQL_TAGS = frozenset(("sql", "postgres", "postgresql", "pgsql", "psql"))


def tokens(sql: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of every token; the texts joined are `sql`. Kinds: the group names of the scanner."""
    for match in _TOKEN.finditer(sql):
        yield match.lastgroup if match.lastgroup != "tag" else "dollar", match.group(0)  # type: ignore[misc]


def statements(sql: str) -> list[str]:
    """The statements between semicolons that stand outside literals and comments, without the empty ones."""
    parts, solid = [""], [False]
    for kind, text in tokens(sql):
        if kind == "other" and text == ";":
            parts.append("")
            solid.append(False)
        else:
            parts[-1] += text
            solid[-1] |= kind != "comment" and not text.isspace()
    return [part.strip() for part, kept in zip(parts, solid, strict=True) if kept]


def extract_sql(text: str, style: PromptStyle = PromptStyle.RAW) -> str:
    """The one query a completion stands for: its first statement; empty where there is none.

    Raw: what precedes the first fence, as sql-eval's runners cut it (`split("```")[0].split(";")[0]` at
    563a9c85), but for two kindnesses: a completion that opens its own block, or says `[SQL]` first, is read
    from there, and a semicolon inside a literal does not end the query. Chat: the first block marked as SQL,
    else the first that looks like a query, else what follows `[SQL]`, else the first line that starts one.
    """
    body = _from_chat(text) if style is PromptStyle.CHAT else _from_raw(text)
    special = _SPECIAL.search(body)
    found = statements(body[: special.start()] if special else body)
    return found[0] if found else ""


def _from_raw(text: str) -> str:
    if marked := _MARKED.search(text):
        text = marked.group("body")
    before, fence, _ = text.partition("```")
    if fence and not before.strip() and (block := _FENCE.search(text)):
        return block.group("body")
    return before


def _from_chat(text: str) -> str:
    blocks = [(match.group("tag").lower(), match.group("body")) for match in _FENCE.finditer(text)]
    marked = [body for tag, body in blocks if tag in _SQL_TAGS]
    queries = [body for _, body in blocks if _START.search(body)]
    for candidates in ([body for body in marked if _START.search(body)], marked, queries):
        if candidates:
            return candidates[0]
    if sign := _MARKED.search(text):
        return sign.group("body")
    if start := _START.search(text):
        query = start.group("query")
        return statements(query)[0] if ";" in query else query.split("\n\n")[0].split("```")[0]
    return ""
