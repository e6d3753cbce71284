"""GBNF, llama.cpp's notation of grammars, as a user writes it → the grammar that llguidance executes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llguidance.gbnf_to_lark import (
    AlternativeNode,
    ASTNode,
    GrammarParser,
    LiteralNode,
    RegexNode,
    RepetitionNode,
    RuleNode,
    RuleRefNode,
    SequenceNode,
    resolve,
)

from edgefc.errors import GrammarError
from edgefc.grammar import CompiledGrammar
from edgefc.grammar.forced import MAX_FORCED, longest_forced
from edgefc.grammar.gbnf_reader import char_class
from edgefc.grammar.rules import ANY_CHAR, EMPTY, Choice, Literal, Node, Ref, Repeat, sequence

MAX_TEXT = 256 << 10  # characters
_CODE = re.compile(r"\\[xuU][0-9a-fA-F]+")


def gbnf_grammar(text: str) -> CompiledGrammar:
    """Compile a grammar in GBNF. Raises GrammarError."""
    if len(text) > MAX_TEXT:
        raise GrammarError(f"the grammar has {len(text):,} characters; at most {MAX_TEXT:,} are supported")
    try:
        rules = GrammarParser().parse(text)
        graph = {name: _node(rule.alternatives) for name, rule in rules.items()}
        lark = _lark(rules)
        forced = longest_forced(graph)
    except Exception as error:  # noqa: BLE001 - the reader raises whatever it meets, even Exception itself
        raise GrammarError(f"invalid GBNF grammar: {error}", "Its first rule must be called root.") from None
    if forced > MAX_FORCED:
        reason = f"the grammar forces {forced:,} bytes of constant text in a row; at most {MAX_FORCED:,} are supported"
        raise GrammarError(reason, "Lower the counts of its repetitions.")
    return CompiledGrammar(lark, source=text)


def _lark(rules: dict[str, RuleNode]) -> str:
    """Write the rules as `gbnf_to_lark` does.

    Its `resolve` visits all rules again and again until nothing changes: one time is enough if each comes after those
    that it uses.
    """
    written = list(rules.values())
    resolve(_ordered(rules))
    return "".join(["%llguidance {}\n\n", *(f"{rule.name}: {rule.alternatives.top_str()}\n" for rule in written)])


def _ordered(rules: dict[str, RuleNode]) -> dict[str, RuleNode]:
    """Return the rules, each after those that it uses, as far as they do not use one another."""
    ordered: dict[str, RuleNode] = {}
    visited: set[str] = set()
    for start, rule in rules.items():
        path = [(start, _used(rule))] if start not in visited else []
        visited.add(start)
        while path:
            name, used = path[-1]
            following = next((other for other in used if other in rules and other not in visited), None)
            if following is None:
                ordered[name] = rules[name]
                path.pop()
            else:
                visited.add(following)
                path.append((following, _used(rules[following])))
    return ordered


def _used(node: ASTNode) -> Iterator[str]:
    if isinstance(node, RuleRefNode):
        yield node.name
    for child in node.children():
        yield from _used(child)


def _node(node: ASTNode) -> Node:
    """Convert a node of llguidance's reader. Escapes in literals stay as they are, which makes them longer."""
    match node:
        case LiteralNode():
            return Literal(node.value) if node.value else EMPTY
        case RegexNode():
            if node.rx == ".":
                return ANY_CHAR
            content = node.rx[1:-1]
            return Literal("?") if _CODE.fullmatch(content) else char_class(content, 0)
        case RuleRefNode():
            return Ref(node.name)
        case RepetitionNode():
            return Repeat(_node(node.node), node.min_times, node.max_times)
        case SequenceNode():
            return sequence(*map(_node, node.nodes))
        case AlternativeNode():
            return Choice(tuple(map(_node, node.alternatives)))
        case _:
            raise GrammarError(f"unknown part {node}")
