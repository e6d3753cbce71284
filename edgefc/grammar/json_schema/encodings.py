"""Layouts of the encodings of arguments besides JSON: Python's literals, tags, and Gemma's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from edgefc.grammar import strings
from edgefc.grammar.automata import is_empty
from edgefc.grammar.json_schema.keywords import to_json
from edgefc.grammar.json_schema.layout import JsonLayout, Scalar
from edgefc.grammar.quoting import QUOTINGS
from edgefc.grammar.raw_text import CdataText, RawText
from edgefc.grammar.rules import (
    ANY_TEXT,
    EMPTY,
    NOTHING,
    And,
    Chars,
    ControlToken,
    Lexeme,
    Literal,
    Node,
    QuoteStyle,
    Repeat,
    choice,
    lexeme,
    one_of,
    optional,
    sequence,
)
from edgefc.grammar.tags import Tags, lexemes, tags_of
from edgefc.types import OutputSyntax

_PYTHON_STYLES: tuple[QuoteStyle, ...] = ("single", "double")
_PYTHON_WORDS = {True: "True", False: "False", None: "None"}
_WORD_START, _WORD = Chars(((65, 90), (95, 95), (97, 122))), Chars(((48, 57), (65, 90), (95, 95), (97, 122)))
_IDENTIFIER = sequence(_WORD_START, Repeat(_WORD, 0, None))
# Names that end at the mark behind them and begin like nothing else that may stand there.
_KEYWORD = re.compile(r"[^\s=),'\"\x00-\x1f][^=\x00-\x1f]*(?<! )|[^\s=),'\"\x00-\x1f]")
_BARE_KEY = re.compile(r"[^\s:{}\[\],<\x00-\x1f][^:<\x00-\x1f]*")


def arguments_layout(syntax: OutputSyntax, control: Mapping[str, int]) -> JsonLayout:
    """Return the layout of the arguments of a call; `control` are control tokens, text and id."""
    match syntax.arguments:
        case "json":
            return JsonLayout("json" if syntax.spaced else "compact")
        case "pythonic":
            return KeywordLayout()
        case "tagged":
            values = PythonLayout() if syntax.literals == "repr" else JsonLayout("json")
            return TaggedLayout(tags_of(syntax), values, control)
        case "gemma":
            return GemmaLayout(syntax.quote, control, is_call=True)


class PythonLayout(JsonLayout):
    """Python's literals, spaced as repr does; strings in either quote, words as JSON spells them, too."""

    name = "Python"

    def __init__(self) -> None:
        super().__init__("json")

    def key(self, name: str) -> Node:
        return sequence(self.scalars([name]), self.colon)

    def free_key(self, names: Node | None) -> Node:
        key = self.string(ANY_TEXT if names is None else names, 0, None)
        return NOTHING if key == NOTHING else sequence(key, self.colon)

    def string(self, text: Node, low: int, high: int | None) -> Node:
        texts = [strings.quoted(text, low, high, style) for style in _PYTHON_STYLES]
        return NOTHING if NOTHING in texts else Lexeme(choice(*texts))

    def words(self, values: Iterable[bool | None]) -> Node:
        return self.plain(choice(*(Literal(text) for value in values for text in _python_texts(value))))

    def scalars(self, values: Iterable[Scalar]) -> Node:
        return self.plain(one_of(text for value in values for text in _python_texts(value)))


def _python_texts(value: Scalar) -> list[str]:
    if isinstance(value, str):
        return [] if _has_surrogate(value) else [QUOTINGS[style].quote(value) for style in _PYTHON_STYLES]
    # LFM2 writes lists and dicts as JSON does.
    return [_PYTHON_WORDS[value], to_json(value)] if value is None or isinstance(value, bool) else [to_json(value)]


def _has_surrogate(text: str) -> bool:
    return any(0xD800 <= ord(char) < 0xE000 for char in text)


class _BareKeys(JsonLayout):
    """Names without quotes; where any name may stand, an identifier."""

    def key(self, name: str) -> Node:
        return sequence(lexeme(name), self.colon)

    def free_key(self, names: Node | None) -> Node:
        return _bare_key(names, _IDENTIFIER, self.colon)


class KeywordLayout(_BareKeys, PythonLayout):
    """Keyword arguments between the parentheses of a call."""

    has_braces = False
    legal_name = _KEYWORD

    def __init__(self) -> None:
        super().__init__()
        self.colon = lexeme("=")
        self._values = PythonLayout()


def _bare_key(names: Node | None, legal: Node, colon: Node) -> Node:
    key = legal if names is None else And((names, legal))
    return NOTHING if is_empty(key) else sequence(Lexeme(key), colon)


# -- tags ---------------------------------------------------------------------------------------------------------


class TaggedLayout(JsonLayout):
    """Parameters in tags, one after another."""

    has_braces = False

    def __init__(self, tags: Tags, values: JsonLayout, control: Mapping[str, int]) -> None:
        super().__init__("json")
        self.comma, self._values = EMPTY, TaggedValueLayout(tags, values, control)
        self._head, self._between = (lexemes(text, control) for text in (tags.head, tags.between))
        self._name_end = tags.between[0]
        self.legal_name = re.compile(rf"[^{re.escape(self._name_end)}\x00-\x1f]+")

    def key(self, name: str) -> Node:
        return sequence(*self._head, lexeme(name), *self._between)

    def free_key(self, names: Node | None) -> Node:
        end = ord(self._name_end)
        legal = Repeat(Chars(((0, 31), (end, end)), negated=True), 1, None)
        key = _bare_key(names, legal, sequence(*self._between))
        return NOTHING if key == NOTHING else sequence(*self._head, key)


class TaggedValueLayout(JsonLayout):
    """The value of a parameter with the end of its tag: a string as it is, anything else as JSON or Python's literal.

    Words are taken as Python spells them, too. Where a string may stand, the text of any other value is one as well;
    the reader decides by the schema.
    """

    def __init__(self, tags: Tags, values: JsonLayout, control: Mapping[str, int]) -> None:
        super().__init__("json")
        self._values = values
        self._raw = CdataText(tags.special) if tags.special else RawText(tags.mark, (tags.tag,))
        self.text_lists = TextListLayout(tags, control) if tags.separator else None
        self._end = lexemes(tags.end, control)
        # Strings with marks of their own do not cover the text of all other values.
        self.any_text = None if tags.special else self.string(ANY_TEXT, 0, None)

    def enclose(self, left: str, body: Node, right: str) -> Node:
        return sequence(self.values.enclose(left, body, right), *self._end)

    def key(self, name: str) -> Node:
        return self.values.key(name)

    def free_key(self, names: Node | None) -> Node:
        return self.values.free_key(names)

    def string(self, text: Node, low: int, high: int | None) -> Node:
        return _ended(self._raw.not_empty(text, low, high), self._end, has_empty=self._raw.has_empty(text, low))

    def plain(self, node: Node) -> Node:
        return _ended(node, self._end)

    def words(self, values: Iterable[bool | None]) -> Node:
        texts = (text for value in values for text in (to_json(value), _PYTHON_WORDS[value]))
        return self.plain(choice(*map(Literal, texts)))

    def scalars(self, values: Iterable[Scalar]) -> Node:
        texts: list[str] = []
        for value in values:
            if isinstance(value, str):
                texts += self._raw.texts([value])
            else:
                texts += dict.fromkeys([to_json(value), *_python_texts(value)])
        return _ended(one_of(filter(None, texts)), self._end, has_empty="" in texts)


class TextListLayout(JsonLayout):
    """An array of strings, each of which ends as a value in tags does. It has at least one."""

    has_brackets = False

    def __init__(self, tags: Tags, control: Mapping[str, int]) -> None:
        super().__init__("json")
        self.comma, self._values = lexeme(tags.separator), _ListedTextLayout(tags, control)


class _ListedTextLayout(JsonLayout):
    """One of these strings; no other value can be listed."""

    only_strings = True

    def __init__(self, tags: Tags, control: Mapping[str, int]) -> None:
        super().__init__("json")
        self._raw, self._end = RawText(tags.mark, tags.item_heads), lexemes(tags.end, control)

    def string(self, text: Node, low: int, high: int | None) -> Node:
        return _ended(self._raw.not_empty(text, low, high), self._end)

    def scalars(self, values: Iterable[Scalar]) -> Node:
        texts = self._raw.texts(value for value in values if isinstance(value, str))
        return _ended(one_of(filter(None, texts)), self._end)


def _ended(node: Node, end: list[Node], *, has_empty: bool = False) -> Node:
    """Return a value, which may be empty, with the end of its tag."""
    if node == NOTHING:
        return sequence(*end) if has_empty else NOTHING
    first, *rest = end
    if not isinstance(first, Lexeme):
        return sequence(optional(Lexeme(node)) if has_empty else Lexeme(node), *end)
    # Text and its end are one lexeme: no lexer could tell where between them it ends.
    return sequence(Lexeme(sequence(optional(node) if has_empty else node, first.item)), *rest)


# -- Gemma --------------------------------------------------------------------------------------------------------


class GemmaLayout(_BareKeys):
    """Gemma's objects: bare keys in their order, strings between two tokens.

    is_call  without braces around the arguments, which the family's syntax has
    """

    name = "Gemma"
    sorts_keys = True
    legal_name = _BARE_KEY

    def __init__(self, quote: str, control: Mapping[str, int], *, is_call: bool = False) -> None:
        super().__init__("compact")
        self._raw, self._is_control, self.has_braces = RawText(quote), quote in control, not is_call
        self._mark: Node = ControlToken(quote, control[quote]) if quote in control else Literal(quote)
        self._values = GemmaLayout(quote, control) if is_call else None

    def string(self, text: Node, low: int, high: int | None) -> Node:
        if not self._is_control:
            node = self._raw.node(text, low, high)
            return NOTHING if node == NOTHING else self._between_marks(node)
        body, has_empty = self._raw.not_empty(text, low, high), self._raw.has_empty(text, low)
        if body == NOTHING:
            return self._between_marks(EMPTY) if has_empty else NOTHING
        return self._between_marks(optional(Lexeme(body)) if has_empty else Lexeme(body))

    def _between_marks(self, body: Node) -> Node:
        node = sequence(self._mark, body, self._mark)
        return node if self._is_control else Lexeme(node)

    def scalars(self, values: Iterable[Any]) -> Node:
        values = list(values)
        texts = self._raw.texts(value for value in values if isinstance(value, str))
        others = [value for value in values if not isinstance(value, str)]
        nodes: list[Node] = [super().scalars(others)] if others else []
        if any(texts):
            body = one_of(filter(None, texts))
            body = Lexeme(body) if self._is_control else body
            nodes.append(self._between_marks(optional(body) if "" in texts else body))
        elif texts:
            nodes.append(self._between_marks(EMPTY))
        return choice(*nodes)
