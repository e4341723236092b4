"""Stop strings found while a row is being generated, by its bytes.

Searching bytes equals searching characters, because UTF-8 is self-synchronising: a stop string is found
where it is, whether it straddles tokens, ends inside one, or a token holds half a character. Only generated
bytes are searched, so the prompt can never take part in a match.
"""

from __future__ import annotations

import json
import re
from typing import Any

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Tail:
    """The bytes a row has generated so far, and whether one of its own stop strings is among them."""

    __slots__ = ("_reach", "_stops", "data")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = tuple(stop.encode("utf-8", "surrogatepass") for stop in stops if stop)
        self._reach = max((len(stop) for stop in self._stops), default=1) - 1
        self.data = bytearray()

    def feed(self, piece: bytes) -> bool:
        """Append a token's bytes; True as soon as a stop string is complete."""
        start = max(0, len(self.data) - self._reach)
        self.data += piece
        return any(self.data.find(stop, start) >= 0 for stop in self._stops)

    @property
    def text(self) -> str:
        """Everything generated, matched stop string included; bytes that are no UTF-8 become U+FFFD."""
        return self.data.decode("utf-8", "replace")


def token_bytes(tokenizer: Any) -> list[bytes]:
    """Bytes of every token id of a transformers tokenizer, index = id.

    Exact for byte-level BPE and for sentencepiece-style vocabularies with byte fallback (a leading space is
    kept: these bytes continue a text, they do not begin one). Any other decoder is asked token by token,
    which is right except where one character is split over tokens.
    """
    kind = _decoder_kind(tokenizer)
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    added = {token.content for token in getattr(tokenizer, "added_tokens_decoder", {}).values()}
    if kind == "byte_level":
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        table = {char: byte for byte, char in bytes_to_unicode().items()}  # type: ignore[no-untyped-call]
        return [_from_byte_level(token or "", table) for token in tokens]
    if kind == "sentencepiece":
        return [_from_sentencepiece(token or "", token in added) for token in tokens]
    return _by_decoding(tokenizer, len(tokens))


def _decoder_kind(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = json.loads(backend.to_str()).get("decoder") if backend is not None else None
    if decoder is None:
        return "sentencepiece" if hasattr(tokenizer, "sp_model") else "other"
    kinds = {decoder["type"], *(part["type"] for part in decoder.get("decoders", ()))}
    if "ByteLevel" in kinds:
        return "byte_level"
    replaces_mark = any(part.get("pattern") == {"String": "▁"} for part in decoder.get("decoders", ()))
    return "sentencepiece" if "Metaspace" in kinds or replaces_mark else "other"


def _from_byte_level(token: str, table: dict[str, int]) -> bytes:
    try:
        return bytes(table[char] for char in token)
    except KeyError:  # an added token, stored as plain text
        return token.encode("utf-8", "replace")


def _from_sentencepiece(token: str, added: bool) -> bytes:
    if added:
        return token.encode("utf-8", "replace")
    if match := _BYTE_TOKEN.fullmatch(token):
        return bytes([int(match[1], 16)])
    return token.replace("▁", " ").encode("utf-8", "replace")


def _by_decoding(tokenizer: Any, size: int) -> list[bytes]:
    """What each token adds to the text of an anchor before it (a decoder may drop a leading space)."""
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"]
    before = len(tokenizer.decode(anchor, clean_up_tokenization_spaces=False))
    texts = tokenizer.batch_decode([[*anchor, token] for token in range(size)], clean_up_tokenization_spaces=False)
    return [text[before:].encode("utf-8", "replace") for text in texts]
