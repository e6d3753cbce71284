r"""GBNF for the engines of other programs, in a spelling that all of them read alike.

In portable GBNF, characters stand for themselves where they can, no digit follows a number, a dash stands at the end of
a class, and no repetition is optional: xgrammar 0.2.9 and llguidance 1.9.1 misread or refuse what else GBNF allows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from edgefc.errors import GrammarError
from edgefc.grammar.gbnf import SHORT_COUNTS, count_text
from edgefc.grammar.gbnf_reader import read_rules
from edgefc.grammar.residual import START, remaining
from edgefc.grammar.rules import Chars, Choice, Literal, Node, Ref, Repeat, Rules, Sequence

ROOT, OLD_ROOT = "root", "whole"
NO_NAMES: Mapping[str, str] = MappingProxyType({})
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"', "[": "\\[", "]": "\\]"}
_CONTROL = re.compile(r"([\x00-\x08\x0b\x0c\x0e-\x1f\x7f])")
_LITERAL = re.compile(r'[\n\r\t"\\]')
_CLASS = re.compile(r"[\x00-\x1f\x7f\\\[\]]")
_NUMBER_END = re.compile(r"\\x..\Z")


def portable(gbnf: str) -> str:
    """Return the same grammar in portable GBNF. Raises GrammarError."""
    return _write(read_rules(gbnf), NO_NAMES)


def portable_rest(gbnf: str, text: str) -> str:
    """Return the grammar of what may follow this text, in portable GBNF.

    Raises ConstraintError if the grammar forbids the text, GrammarError if there are too many ways to read it.
    """
    rules = read_rules(gbnf)
    old_root = OLD_ROOT
    while old_root in rules:
        old_root += "-"
    return _write(remaining(rules, [text]), {START: ROOT, ROOT: old_root})


def _write(rules: Rules, names: Mapping[str, str]) -> str:
    return "".join(
        f"{names.get(name, name)} ::= {_text(node, inner=False, names=names)}\n" for name, node in rules.items()
    )


def _text(node: Node, *, inner: bool = True, names: Mapping[str, str] = NO_NAMES) -> str:
    """Write a node; with `inner`, in parentheses where what stands around it needs them; `names` are changed ones."""
    match node:
        case Literal():
            parts = [
                f"[{_CLASS.sub(_escaped, part)}]" if _CONTROL.fullmatch(part) else f'"{_LITERAL.sub(_escaped, part)}"'
                for part in _CONTROL.split(node.text)
                if part
            ]
            return parts[0] if len(parts) == 1 else f"({' '.join(parts)})"
        case Chars():
            return _class(node)
        case Ref():
            return names.get(node.name, node.name)
        case Repeat():
            if isinstance(node.item, Repeat) and (node.low, node.high) == (0, 1):
                return _optional(node.item, names)
            item = _text(node.item, names=names)
            item = f"({item})" if isinstance(node.item, Repeat) else item
            return item + SHORT_COUNTS.get((node.low, node.high), count_text(node.low, node.high))
        case Sequence() if not node.items:
            return '""'
        case Sequence():
            text = " ".join(_text(item, names=names) for item in node.items)
        case Choice():
            text = " | ".join(_text(item, inner=False, names=names) for item in node.items)
        case _:
            raise GrammarError(f"{type(node).__name__} is not part of GBNF")
    return f"({text})" if inner else text


def _optional(node: Repeat, names: Mapping[str, str]) -> str:
    """Write an optional repetition, which llguidance's reader takes for one with two counts."""
    if node.low <= 1:
        return _text(Repeat(node.item, 0, node.high), names=names)
    return f'({_text(node, names=names)} | "")'


def _class(node: Chars) -> str:
    """Write a class; a caret and a dash stand at its end, where nobody takes them for something else."""
    marks = [mark for mark in "^-" if any(low <= ord(mark) <= high for low, high in node.ranges)]
    ranges = list(node.ranges)
    for mark in map(ord, marks):
        ranges = [part for low, high in ranges for part in ((low, min(high, mark - 1)), (max(low, mark + 1), high))]
        ranges = [(low, high) for low, high in dict.fromkeys(ranges) if low <= high]
    # After a number, no further digit may stand.
    spans = "".join(
        sorted((_span(low, high) for low, high in ranges), key=lambda span: _NUMBER_END.search(span) is not None)
    )
    if spans or node.negated:
        return f"[{'^' if node.negated else ''}{spans}{''.join(marks)}]"
    quoted = [f'"{mark}"' for mark in marks]
    return f"({' | '.join(quoted)})"


def _span(low: int, high: int) -> str:
    first, last = (_CLASS.sub(_escaped, chr(code)) for code in (low, high))
    return first if low == high else f"{first}-{last}"


def _escaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[0]) or f"\\x{ord(found[0]):02X}"
