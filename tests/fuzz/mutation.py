"""Random changes of texts, JSON values and bytes, all from one seeded generator."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

MAX_DEPTH = 150  # of a JSON value; texts can be nested deeper
MAX_REPEATS = 20_000
MAX_TEXT = 500_000  # characters
MAX_LONG = 20  # texts of a case that may be long, so that thousands of values do not make hundreds of megabytes
TEXTS = (
    "", " ", "a", "\0", "\n", "\r\n", "\x1b]0;title\x07\x1b[2J", "\u202e", "\u2028", "\ufeff", "\ud800", "é", "日本語",
    "🙂👩‍👩‍👧", "e\u0301", "../../x", "/etc/passwd", "C:\\x", "con", ".", "..", "a/b", "~", "%s%n", "{}", "{0.__class__}",
    "{{ 1 }}", "{% for x in y %}", "<|im_start|>", "<|im_end|>", "</s>", "<tool_call>", "[INST]", "```json", "null",
    "true", "0", "-1", "1e999", "NaN", "Infinity", "0x10", "1" * 400, "\\", '"', "'", "\\u0000", "(a+)+$", "[", "(?<=x)",
    "a{1,100000}", "^(?:a|b)*c", "--", "#/$defs/a", "#", "http://127.0.0.1:1/", "file:///etc/passwd", "type", "object",
    "string", "name", "__proto__", "__class__", "$ref", "model", "demo", "x" * 64, "x" * 5000,
)  # fmt: skip
NUMBERS: tuple[int | float, ...] = (
    0, 1, -1, 2, 3, 7, 8, 31, 32, 63, 64, 127, 128, 255, 256, 1000, 32767, 65535, 65536, 10**6, 2**31 - 1, 2**31, -(2**31),
    2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 2**64, 10**30, 0.0, -0.0, 0.5, -0.5, 1e-9, 1e9, 1e300,
    5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip


class Mutator:
    """Makes and changes values; equal seeds make equal values."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self._n_long = 0

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    # -- new values -------------------------------------------------------------------------------------------

    def text(self) -> str:
        text = self.rng.choice(TEXTS)
        while self.chance(0.3):
            text += self.rng.choice(TEXTS)
        if self._n_long == MAX_LONG or not self.chance(0.05):
            return text
        self._n_long += 1
        return text * min(self._repeats(), MAX_TEXT // (len(text) + 1) + 1)

    def number(self) -> int | float:
        number = self.rng.choice(NUMBERS)
        return number + self.rng.choice((-1, 1)) if self.chance(0.2) else number

    def value(self, depth: int = 3) -> Any:
        """Make any JSON value, and some that are none: infinities, NaN, lone surrogates."""
        kind = self.rng.randrange(8 if depth else 6)
        if kind < 2:
            return self.text()
        if kind < 4:
            return self.number()
        if kind < 6:
            return self.rng.choice((None, True, False))
        items = [self.value(depth - 1) for _ in range(self.rng.randrange(4))]
        return items if kind == 6 else {self.text()[:100]: item for item in items}

    def _repeats(self) -> int:
        return self.rng.choice((2, 3, 10, 100, 1000, MAX_REPEATS))

    # -- changes ----------------------------------------------------------------------------------------------

    def change_json(self, value: Any, donors: Sequence[Any] = ()) -> Any:
        """Return a copy with one part changed; `donors` are values whose parts may take its place."""
        # Unlike a deep copy, it has no part in several places, which would all grow together.
        root = [json.loads(json.dumps(value))]
        parent, key = self._choose_part(root)
        parts: list[Callable[[Any], Any]] = [self._replace, self._replace, self._wrap, self._repeat, self._scalar]
        if donors:
            parts += [lambda _: self._part_of(self.rng.choice(donors))] * 3
        if parent is not root and self.chance(0.2):
            del parent[key]
        elif isinstance(parent, dict) and self.chance(0.15):
            parent[self.text()[:200]] = parent.pop(key) if self.chance(0.5) else parent[key]
        else:
            parent[key] = self.rng.choice(parts)(parent[key])
        return root[0]

    def _choose_part(self, root: list[Any]) -> tuple[Any, Any]:
        """Walk down from the root; returns a container and the key of a part in it."""
        parent, key = root, 0
        while isinstance(child := parent[key], dict | list) and child and self.chance(0.8):
            parent = child
            key = self.rng.randrange(len(child)) if isinstance(child, list) else self.rng.choice(list(child))
        return parent, key

    def _part_of(self, donor: Any) -> Any:
        parent, key = self._choose_part([donor])
        return copy.deepcopy(parent[key])

    def _replace(self, _: Any) -> Any:
        return self.value()

    def _wrap(self, value: Any) -> Any:
        for _ in range(self.rng.choice((1, 1, 2, 10, MAX_DEPTH))):
            value = [value] if self.chance(0.5) else {self.rng.choice(("a", "items", "properties", "anyOf")): value}
        return value

    def _repeat(self, value: Any) -> Any:
        count = min(self._repeats(), 2_000_000 // (len(json.dumps(value)) + 1) + 1)
        if isinstance(value, str):
            return value * count
        if isinstance(value, list):
            return value * count
        if isinstance(value, dict):
            return value | {f"{key}{number}": item for key, item in list(value.items())[:1] for number in range(count)}
        return [value] * count

    def _scalar(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.change_text(value)
        if isinstance(value, bool) or value is None:
            return self.rng.choice((True, False, None, 0, 1, "", "true"))
        if isinstance(value, int | float):
            return self.rng.choice((self.number(), -value, value + 1, value - 1, str(value), float(value)))
        return self.value()

    def change_text(self, text: str) -> str:
        """Return a text with a piece put in, left out, doubled, or moved."""
        begin, end = sorted(self.rng.randrange(len(text) + 1) for _ in range(2))
        if self.chance(0.7):
            end = min(end, begin + self.rng.choice((0, 1, 2, 8)))
        piece = text[begin:end]
        new = self.rng.choice((self.text(), self.text(), "", piece * 2, piece[::-1], piece.upper()))
        if self.chance(0.05):
            new = piece * min(self._repeats(), 500_000 // (len(piece) + 1) + 1)
        return text[:begin] + new + text[end:]

    def write_json(self, value: Any) -> str:
        """Write JSON, at times malformed as only a text can be."""
        text = json.dumps(value, ensure_ascii=self.chance(0.5))
        if self.chance(0.85):
            return text
        depth = self.rng.choice((100, 1000, 100_000))
        return self.rng.choice((
            self.change_text(text), text[: self.rng.randrange(len(text) + 1)], text + text, "\ufeff" + text, text + "\0",
            "[" * depth + "]" * depth, '{"a":' * depth + text + "}" * depth, "9" * depth, text.replace(":", ":1e999,\"x\":", 1),
            "{" + text[1:-1] + "," + text[1:] if text.startswith('{"') else text + ",",
        ))  # fmt: skip

    def change_bytes(self, size: int) -> list[Any]:
        """Make an edit of `size` bytes: [offset, bytes to leave out, bytes to put in as hex]."""
        offset = self.rng.randrange(size + 1)
        number = self.rng.choice([number for number in NUMBERS if isinstance(number, int)])
        new = self.rng.choice((
            bytes([self.rng.randrange(256)]), (number % (1 << 64)).to_bytes(8, "little"),
            (number % (1 << 32)).to_bytes(4, "little"), self.rng.randbytes(self.rng.randrange(16)), b"",
            bytes(self.rng.choice((1, 16, 600))),
        ))  # fmt: skip
        return [offset, self.rng.choice((len(new), len(new), 0, 1, 512)), new.hex()]


def edit_bytes(data: bytes, edits: Sequence[Sequence[Any]]) -> bytes:
    """Apply edits of `Mutator.change_bytes`."""
    for offset, left_out, new in edits:
        data = data[:offset] + bytes.fromhex(new) + data[offset + left_out :]
    return data


def as_bytes(text: str) -> bytes:
    """Encode a text of a case; lone surrogates become invalid UTF-8."""
    return text.encode("utf-8", "surrogatepass")
