"""Choice of the tools that a question needs, where all of them would make the prompt too long.

Tools are ranked by BM25 (Robertson and Zaragoza, 2009): a word counts the more, the fewer tools have it, and the more
often it stands in a tool's name, description and parameters. Words are compared without their endings.
"""

from __future__ import annotations

import collections
import functools
import json
import math
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgefc.cache import TextCache
from edgefc.tools.remote import RemoteTool
from edgefc.tools.toolset import ToolSet
from edgefc.types import Tool

MAX_SELECTED = 7  # tools for a question; BFCL's right tool is among 7 of 100 more in 97 of 100 cases: docs/decisions.md
# The choice of an earlier question stays while it has this many of the best tools: the prefix cache is worth more than
# the others.
N_STABLE = 3
MAX_TURNS = 16  # questions of a conversation that are looked at
EARLIER_WEIGHT = 0.25  # of the words of the question before
NAME_WEIGHT = 3  # of words in a tool's name
K1, B = 1.5, 0.75  # BM25's usual constants: repeated words, long descriptions
MAX_QUESTION = 4000  # characters at the beginning and at the end of a question that are looked at
MAX_SCHEMAS, MAX_TEXT = 2000, 40_000  # subschemas and characters of a tool that are looked at

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W\d_]+")
# Scripts that do not divide words by spaces, and Hangul, whose words have many endings: pairs of characters are words.
_UNDIVIDED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff]+")
_STOP_WORDS = frozenset(
    "a an and are as at be by can could do does for from have how i in is it me my of on or please the that this to "
    "was what when where which who will with would you your".split()
)
# What parts of a question are, in a word that descriptions of tools have.
_KINDS = (
    ("url", re.compile(r"\bhttps?://")),
    ("email", re.compile(r"\w@\w[\w-]*\.\w")),
    ("file", re.compile(r"(?<![\w@.])[\w/\\~-]+\.[a-z][a-z\d]{1,4}\b(?![\w/@])")),
)


@dataclass(frozen=True, slots=True)
class ToolSelection:
    """The tools that a model was shown, where it had more.

    tools   their names in the order of the prompt, each with the reason
    total   number of all tools
    tokens  of all tools, as JSON
    budget  the number of tokens above which tools are selected
    """

    tools: Mapping[str, str]
    total: int
    tokens: int
    budget: int

    def describe(self) -> str:
        return f"{len(self.tools)} of {self.total} tools are shown: {', '.join(self.tools)}"


def select_tools(
    tools: ToolSet, questions: Sequence[str], always: Mapping[str, str], sizes: Sequence[int], budget: int
) -> ToolSelection:
    """Select the tools for the last of a conversation's questions. Equal arguments give equal selections.

    always  names of tools that are selected in any case, with the reason
    sizes   tokens of each tool
    budget  tokens that the tools of whole servers may have, and those for questions with hardly a word of any tool
    """
    found = _Chooser(tools, sizes, budget).choose(questions)
    reasons = {name: always.get(name) or found.get(number, "") for number, name in enumerate(tools.names)}
    return ToolSelection({name: why for name, why in reasons.items() if why}, len(tools), sum(sizes), budget)


class _Chooser:
    """Chooses tools by their numbers, question by question."""

    def __init__(self, tools: ToolSet, sizes: Sequence[int], budget: int) -> None:
        self._servers = [_server_of(tools, name) for name in tools.names]
        key = json.dumps([tools.json, self._servers])
        self._index = _indices.get(key, lambda: ToolIndex(tools, self._servers))
        self._sizes, self._budget = sizes, budget

    def choose(self, questions: Sequence[str]) -> Mapping[int, str]:
        """Return the tools for the last question, with their reasons."""
        chosen: dict[int, str] = {}
        certain: dict[int, str] = {}
        before = ""
        for question in questions[-MAX_TURNS:]:
            best = self._index.best(question, before)
            before = question
            if set(best[:N_STABLE]) <= chosen.keys():
                continue
            ranks = {number: f"rank {rank}" for rank, number in enumerate(self._fitting(best), 1)}
            if len(best) >= MAX_SELECTED:
                certain = ranks | self._rest_of_servers(ranks)
            chosen = certain | ranks  # few words say little: the tools of an earlier question may be meant
        return chosen if certain else chosen | dict.fromkeys(self._first(chosen), "few tools fit the question")

    def _fitting(self, best: Sequence[int]) -> Iterator[int]:
        """Yield the best tools, N_STABLE in any case, and more while they fit into the budget."""
        left = self._budget
        for count, number in enumerate(best[:MAX_SELECTED]):
            left -= self._sizes[number]
            if left < 0 and count >= N_STABLE:
                return
            yield number

    def _rest_of_servers(self, chosen: Collection[int]) -> dict[int, str]:
        """Return the other tools of the chosen ones' servers, if all fit: then the prompt changes less often."""
        servers = {self._servers[number] for number in chosen} - {""}
        rest = [number for number, server in enumerate(self._servers) if server in servers and number not in chosen]
        is_small = sum(self._sizes[number] for number in (*chosen, *rest)) <= self._budget
        return {number: f"of the server {self._servers[number]}" for number in rest} if is_small else {}

    def _first(self, chosen: Collection[int]) -> Iterator[int]:
        """Yield the first of the other tools, as many as fit, and enough for MAX_SELECTED."""
        left = self._budget - sum(self._sizes[number] for number in chosen)
        others = [number for number in range(len(self._sizes)) if number not in chosen]
        for count, number in enumerate(others, len(chosen) + 1):
            left -= self._sizes[number]
            if left < 0 and count > MAX_SELECTED:
                return
            yield number


def _server_of(tools: ToolSet, name: str) -> str:
    runner = tools.runners.get(name)
    return runner.source.server if isinstance(runner, RemoteTool) else ""


class ToolIndex:
    """The words of some tools, with their weights.

    size  number of weights
    """

    def __init__(self, tools: Sequence[Tool], servers: Sequence[str] | None = None) -> None:
        """Index the tools; `servers` are the names of those they are from, "" for none."""
        servers = [""] * len(tools) if servers is None else servers
        documents = [_words_of_tool(tool, server) for tool, server in zip(tools, servers, strict=True)]
        lengths = [max(document.total(), 1) for document in documents]
        mean = sum(lengths) / max(len(lengths), 1)
        having = collections.Counter(word for document in documents for word in document)
        self._weights: dict[str, list[tuple[int, float]]] = {word: [] for word in having}
        for number, (document, length) in enumerate(zip(documents, lengths, strict=True)):
            for word, count in document.items():
                rarity = math.log(1 + (len(documents) - having[word] + 0.5) / (having[word] + 0.5))
                share = count * (K1 + 1) / (count + K1 * (1 - B + B * length / mean))
                self._weights[word].append((number, rarity * share))
        self.size = sum(map(len, documents))

    def best(self, question: str, before: str = "") -> list[int]:
        """Return the numbers of the tools that have words of the question, the best first.

        before  the question before it, whose words count less: they find no further tools
        """
        words = _words_of_question(question)
        scores = self._scores(words)
        earlier = self._scores(_words_of_question(before) - words)
        weights = {number: score + EARLIER_WEIGHT * earlier.get(number, 0.0) for number, score in scores.items()}
        return sorted(weights, key=lambda number: (-weights[number], number))

    def _scores(self, words: Collection[str]) -> Mapping[int, float]:
        scores: collections.defaultdict[int, float] = collections.defaultdict(float)
        for word in sorted(words):  # in a fixed order, since sums of floats depend on it
            for number, weight in self._weights.get(word, ()):
                scores[number] += weight
        return scores


_indices: TextCache[ToolIndex] = TextCache(lambda index: 100 * index.size, 32 << 20)


def _words_of_question(text: str) -> set[str]:
    is_long = len(text) > 2 * MAX_QUESTION
    text = f"{text[:MAX_QUESTION]}\n{text[-MAX_QUESTION:]}" if is_long else text
    return {*_words(text), *(_stem(kind) for kind, pattern in _KINDS if pattern.search(text))}


def _words_of_tool(tool: Tool, server: str) -> collections.Counter[str]:
    """Count the words of a tool: names of it and its server, its description, and the texts of its parameters."""
    function = tool["function"]
    counts: collections.Counter[str] = collections.Counter()
    for word in _words(function["name"]):
        counts[word] += NAME_WEIGHT
    texts = [server, function.get("description", ""), *_texts_of_schema(function.get("parameters"))]
    counts.update(_words("\n".join(texts)[:MAX_TEXT]))
    return counts


def _texts_of_schema(schema: object) -> Iterator[str]:
    """Yield the names, descriptions and enum values of parameters at any depth."""
    waiting: collections.deque[object] = collections.deque([schema])
    for _ in range(MAX_SCHEMAS):
        if not waiting:
            return
        part = waiting.popleft()
        if isinstance(part, list):
            waiting.extend(part)
        if not isinstance(part, Mapping):
            continue
        if isinstance(part.get("description"), str):
            yield part["description"]
        if isinstance(values := part.get("enum"), list):
            yield from (value for value in values if isinstance(value, str))
        if isinstance(properties := part.get("properties"), Mapping):
            yield from map(str, properties)
            waiting.extend(properties.values())
        waiting.extend(part[key] for key in ("items", "anyOf", "oneOf", "allOf") if key in part)


def _words(text: str) -> Iterator[str]:
    """Yield the words of a text without their endings; those of a name are divided at _ - . and camelCase."""
    for part in _UNDIVIDED.findall(text):
        yield from (part[at : at + 2] for at in range(max(len(part) - 1, 1)))
    for word in _WORD.findall(_CAMEL.sub(" ", _UNDIVIDED.sub(" ", text))):
        lower = word.lower()
        if lower not in _STOP_WORDS:
            yield _stem(lower)


_stemmer_lock = threading.Lock()  # it has the word that it works on as a field


@functools.lru_cache(maxsize=1 << 14)
def _stem(word: str) -> str:
    with _stemmer_lock:
        stem: str = _stemmer().stemWord(word)
    return stem


@functools.cache
def _stemmer() -> Any:
    import snowballstemmer  # imports 30 languages

    return snowballstemmer.stemmer("english")
