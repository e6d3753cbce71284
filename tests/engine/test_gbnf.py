"""Users' grammars in GBNF: llguidance executes them as llama.cpp's own sampler does, byte by byte."""

from __future__ import annotations

import random

import pytest

from edgefc.engine import gbnf_grammar
from edgefc.errors import GrammarError
from tests.grammar.executors import END, Guidance, LlamaCpp, reach

JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws # with escapes
number ::= "-"? ([0-9] | [1-9] [0-9]{0,15}) ("." [0-9]+)? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""
FENCE = 'root ::= "```py\\n" line* "```"\nline ::= ([^`\\n] [^\\n]* | "`" [^`\\n] [^\\n]* | "") "\\n"'

# A text that the grammar allows, where a lexer that takes the longest lexeme would have gone wrong.
GREEDY = {
    "a repetition before the same": ('root ::= "a"* "ab"', "aaab"),
    "an alternative that goes on": ('root ::= ("a" | "ab") ("bc" | "c") root?', "abcabc"),
    "a marker behind lines": (FENCE, "```py\na `b`\n\n`c` d\n```"),
    "keywords and names": ('root ::= ("if " name | name) ";" root?\nname ::= [a-z]+', "if x;ifs;i;"),
    "any text before a marker": ('root ::= part+\npart ::= [^;]* "end" ";"?', "weekend end;bend"),
    "recursion behind any text": ('root ::= text\ntext ::= [a-z ]* "(" text ")" [a-z ]* | [a-z]+ "x"', "ab (xx) c"),
    "quotes in quotes": ('root ::= "<" .* ">" (root | "")', "<a>b><c>"),
}
OTHERS = {
    "JSON": JSON,
    "left recursion": 'root ::= sum\nsum ::= [0-9]+ ("+" sum)? | "(" sum ")"',
    "counts": 'root ::= ("ab"{2} | [a-c]{3,} | "x"{1,3}){1,2} "-"?',
    "counts of counts": 'root ::= ("a" | "ab") ("c"{1,2}){2} ("b"?){2} root?',
    "escapes": 'root ::= "\\"\\x41\\u00e9\\U0001F600\\\\" [\\]\\[\\-^\\t]+ "\\n" # a "comment"',
    "names": 'root ::= a-1 2nd\na-1 ::= [a-z]\n2nd ::= a-1 | "é"',
}


def alike(text: str, seed: int) -> None:
    """Compare the two executors on a random way through a grammar."""
    grammar, rng = gbnf_grammar(text), random.Random(seed)
    ours, theirs = Guidance(grammar.lark), LlamaCpp(grammar.gbnf)
    for _ in range(60):
        allowed = {byte for byte in range(0x20, 0x7F) if ours.allowed(byte)} | ({10} if ours.allowed(10) else set())
        assert allowed == {byte for byte in (*range(0x20, 0x7F), 10) if theirs.allowed(byte)}
        assert ours.allowed(END) == theirs.allowed(END)
        if not allowed:
            break
        byte = rng.choice(sorted(allowed))
        ours.accept(byte)
        theirs.accept(byte)


@pytest.mark.parametrize("name", GREEDY)
def test_a_text_is_allowed_where_a_longer_lexeme_begins(name: str) -> None:
    gbnf, text = GREEDY[name]
    grammar = gbnf_grammar(gbnf)
    assert reach(LlamaCpp(gbnf), text) == reach(Guidance(grammar.lark), text) == -1
    for seed in range(5):
        alike(gbnf, seed)


@pytest.mark.parametrize("name", OTHERS)
def test_other_grammars_allow_the_same_bytes_as_in_llama_cpp(name: str) -> None:
    for seed in range(5):
        alike(OTHERS[name], seed)


def test_strings_of_json_are_one_lexeme() -> None:
    """Masks of single characters take a hundred times as long."""
    assert any("bfnrt" in line and "a-f" in line for line in gbnf_grammar(JSON).lark.splitlines())
    assert all(len(line) < 20 for line in gbnf_grammar('root ::= "a"* "ab" root?').lark.splitlines())


@pytest.mark.parametrize(
    ("gbnf", "reason"),
    [
        ('start ::= "a"', "no rule root"),
        ('root ::= "a" b', "uses b, which does not exist"),
        ("root ::= [\\d]+", r"line 1: unknown escape \\d"),
        ('root ::= "\\x4"', "unknown escape"),
        ('root ::= "a\nb ::= "c"', "line"),
        ('root ::= ("a"', "unclosed"),
        ('root ::= "a")', "unmatched"),
        ('root ::= "a"\nroot ::= "b"', "line 2: duplicate rule 'root'"),
        ("root ::= [z-a]", "out of order"),
        ('root ::= "a"{2,1}', "out of order"),
        ('root ::= "\\U00110000"', "is no character"),
        ("root ::= <[12]>", "line 1: invalid GBNF at"),
    ],
)
def test_an_error_names_the_line_or_the_rule(gbnf: str, reason: str) -> None:
    with pytest.raises(GrammarError, match=reason):
        gbnf_grammar(gbnf)


def test_a_grammar_without_an_end_can_be_followed() -> None:
    """llama.cpp takes it, too: `max_tokens` ends the answer."""
    endless = Guidance(gbnf_grammar('root ::= "a" | "b" endless\nendless ::= [cd] endless').lark)
    assert endless.advance(b"b" + b"cd" * 200) == 401
    assert endless.mask() == {ord("c"), ord("d")}


@pytest.mark.parametrize(
    "rules",
    [
        'root ::= line root | "end"\nline ::= "\\n" | [^e\\n] rest\nrest ::= "\\n" | [^\\n] rest',
        'root ::= lines "end"\nlines ::= lines line | ""\nline ::= rest "\\n"\nrest ::= rest [^e\\n] | ""',
        'root ::= line root? | "end"\nline ::= [^e\\n]* "\\n" | "\\n"',
    ],
)
def test_recursion_at_an_end_is_a_repetition(rules: str) -> None:
    """As recursion it would take memory for each character: llguidance gives up after some thousands."""
    grammar, text = gbnf_grammar(rules), "a line of this\n".replace("e", "i") * 500
    walk = Guidance(grammar.lark)
    assert walk.advance(text.encode()) == len(text)
    assert {ord("a"), ord("\n")} <= walk.mask()
    for seed in range(3) if "lines line" not in rules else ():  # llama.cpp refuses recursion at the beginning
        alike(rules, seed)


def test_an_underscore_is_part_of_a_name() -> None:
    """llama.cpp has none in names; llguidance's converter has."""
    assert reach(Guidance(gbnf_grammar('root ::= a_b "c"\na_b ::= "d"').lark), "dc") == -1
