"""The grammars of string formats, and the reader of their file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgefc import paths
from edgefc.errors import GrammarError
from edgefc.grammar import compile_schema
from edgefc.grammar.automata import automaton
from edgefc.grammar.derivatives import matches
from edgefc.grammar.gbnf_reader import GbnfRules
from edgefc.grammar.json_schema.string_formats import FORMATS, format_node
from tests.grammar.executors import accepts

SUITE = Path(__file__).parents[3] / "shared" / "data" / "jsonschema" / "suite.jsonl"
CASES: dict[str, tuple[list[str], list[str]]] = {
    "date": (["2024-02-29", "2000-02-29", "1999-12-31", "2023-04-30"], ["2023-02-29", "1900-02-29", "2023-04-31", "2023-13-01", "2023-1-1", "2023-00-10", "2023-01-00"]),
    "time": (["00:00:00Z", "23:59:60Z", "12:30:45.123456+23:59", "08:30:06z"], ["24:00:00Z", "12:60:00Z", "22:59:60Z", "12:30:45", "12:30Z", "12:00:00+24:00"]),
    "date-time": (["2024-02-29T12:00:00Z", "1985-04-12t23:20:50.52z"], ["2024-02-30T12:00:00Z", "2024-02-29 12:00:00Z", "2024-02-29T12:00:00"]),
    "duration": (["P1Y2M3DT4H5M6S", "PT36H", "P4W", "P1M"], ["P", "PT", "P1D2W", "1D", "P1H", "P2S", "P1YT"]),
    "email": (["a@b.co", "first.last+tag@example.org", '"a b"@c.de', "x@[127.0.0.1]", "x@[IPv6:::1]"], ["a", "@b", "a@", ".a@b.co", "a..b@c.de", "a@-b.co", "a@b_c.de", "a" * 65 + "@b.co"]),
    "hostname": (["localhost", "a-b.example.com", "1.example", "a" * 63], ["-a", "a-", "a..b", "a_b", "", "a" * 64, "ab--c"]),
    "ipv4": (["0.0.0.0", "255.255.255.255", "1.20.249.250"], ["256.0.0.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.4 "]),
    "ipv6": (["::", "::1", "1::", "1:2:3:4:5:6:7:8", "fe80::1:2", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4"], ["1::2::3", "1:2:3:4:5:6:7", "12345::", "1:2:3:4:5:6:7:8:9", ":::", "::1%eth0", "1:2:3:4:5:6:7::8::"]),
    "uuid": (["123e4567-e89b-12d3-a456-426614174000", "00000000-0000-0000-0000-000000000000"], ["123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400g"]),
    "uri": (["http://a.b/c?d=e#f", "urn:isbn:1", "mailto:a@b.co", "file:///a%20b", "http://[::1]:80/"], ["a/b", "//a.b", "http://a b", "http://a/%zz", ":a", "http://[a]/"]),
    "uri-reference": (["", "a/b", "//a.b", "#f", "?q", "http://a.b"], ["\\\\a", "a b", "http://a^b", "1:2%"]),
    "iri": (["http://é.example/ü?ö"], ["é/ü", "http://é /"]),
    "iri-reference": (["é/ü", "#é"], ["é ü", "\\"]),
    "uri-template": (["a/{b}/{+c,d*}{?e:3}", "", "x"], ["{", "a}", "{a b}", "{}"]),
    "json-pointer": (["", "/a/~0~1", "/é"], ["a", "/~2", "/~"]),
    "relative-json-pointer": (["0", "1/a", "2#", "0-1/a"], ["/a", "01", "-1", "#"]),
    "regex": (["^a+b?$", "[a-z]{2,3}|(x|y)*", "\\d\\."], ["(", "[", "a**", "*a", "\\"]),
    "idn-email": (["é@example.com", "a@bücher.de"], ["é@", "@é"]),
    "idn-hostname": (["bücher.de", "例子"], ["-ü", "ü..a"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_accepts_what_its_rfc_does(name: str) -> None:
    node, (good, bad) = format_node(name), CASES[name]
    assert node is not None
    assert [text for text in good if not matches(node, text)] == []
    assert [text for text in bad if matches(node, text)] == []


@pytest.mark.parametrize("name", FORMATS)
def test_both_executors_accept_the_same_formats(name: str) -> None:
    grammar = compile_schema({"type": "string", "format": name})
    good, bad = CASES[name]
    assert [text for text in good if not accepts(grammar, json.dumps(text, ensure_ascii=False))] == []
    assert [text for text in bad if accepts(grammar, json.dumps(text, ensure_ascii=False))] == []


@pytest.mark.skipif(
    not SUITE.is_file(), reason="needs the official test suite of JSON Schema, which is not part of the project"
)
def test_nothing_that_the_official_suite_calls_invalid_is_accepted() -> None:
    seen = 0
    for row in map(json.loads, filter(None, SUITE.read_text(encoding="utf-8").split("\n"))):
        schema = row["schema"]
        node = format_node(schema["format"]) if isinstance(schema, dict) and "format" in schema else None
        for test in row["tests"] if node is not None and row["assert_format"] else ():
            if isinstance(test["data"], str) and not test["valid"] and test["data"].isprintable():
                seen += 1
                assert not matches(node, test["data"]), (schema, test["data"])
    assert seen > 50


def test_other_formats_assert_nothing() -> None:
    assert format_node("phone") is None
    assert format_node("octet") is None, "helper rules are not formats"


def test_every_rule_of_the_file_can_be_read() -> None:
    rules = GbnfRules((paths.root() / "grammars" / "formats.gbnf").read_text(encoding="utf-8"))
    assert set(FORMATS) <= set(rules)
    for name in rules:
        assert automaton(rules[name]).accepts


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('a ::= "b', "line 1"),
        ("a ::= b", "unknown rule 'b'"),
        ("a ::= b\nb ::= a", "refers to itself"),
        ("a ::= (b\nb ::= [c]", "unclosed"),
        ("a ::= [c])", "unmatched"),
        ("a ::= [z-a]", "out of order"),
        ('a ::= "b"\na ::= "c"', "duplicate"),
        ('"b"', "missing rule name"),
    ],
)
def test_an_invalid_grammar_is_refused_with_its_line(text: str, reason: str) -> None:
    with pytest.raises(GrammarError, match="line") as caught:
        _ = [GbnfRules(text)[name] for name in GbnfRules(text)]
    assert reason in str(caught.value)
