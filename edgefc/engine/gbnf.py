"""GBNF, llama.cpp's notation of grammars, as a user writes it → the grammar that llguidance executes."""

from __future__ import annotations

from edgefc.errors import GrammarError
from edgefc.grammar import CompiledGrammar
from edgefc.grammar.forced import MAX_FORCED, longest_forced
from edgefc.grammar.gbnf_reader import read_rules
from edgefc.grammar.lexemes import divided_lark
from edgefc.grammar.rules import Rules, references

MAX_TEXT = 256 << 10  # characters


def gbnf_grammar(text: str) -> CompiledGrammar:
    """Compile a grammar in GBNF. Raises GrammarError."""
    if len(text) > MAX_TEXT:
        raise GrammarError(f"the grammar has {len(text):,} characters; at most {MAX_TEXT:,} are supported")
    try:
        rules = _checked(read_rules(text))
        forced = longest_forced(rules)
        if forced <= MAX_FORCED:
            return CompiledGrammar(divided_lark(rules), source=text)
    except GrammarError as error:
        raise GrammarError(f"invalid GBNF grammar: {error.reason}", error.hint) from None
    except RecursionError:
        raise GrammarError("the GBNF grammar is nested too deeply", "Use rules in place of parentheses.") from None
    reason = f"the grammar forces {forced:,} bytes of constant text in a row; at most {MAX_FORCED:,} are supported"
    raise GrammarError(reason, "Lower the counts of its repetitions.")


def _checked(rules: Rules) -> Rules:
    """Return the rules if all that they use exist. Raises GrammarError."""
    if "root" not in rules:
        raise GrammarError("it has no rule root", "Call the rule of whole answers root.")
    for name, node in rules.items():
        if unknown := next((other for other in references(node) if other not in rules), None):
            raise GrammarError(f"the rule {name} uses {unknown}, which does not exist")
    return rules
