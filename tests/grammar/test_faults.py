"""Hostile input for the compiler and the executors ends in a grammar or a typed error, never in a crash.

Each batch runs in a child process with a memory limit, where an abort or a hang of llama.cpp is noticed.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.property_settings import NIGHTLY

ROOT = Path(__file__).parents[2]
BENCH = ROOT.parent / "shared" / "data" / "jsonschema" / "bench.jsonl.gz"
S = {"type": "string"}

# Compiles each schema of standard input, loads both texts, and checks the instances that come with it. Files and
# sockets opened meanwhile are recorded.
CHILD = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
sys.path.insert(0, {root!r})
from edgefc.errors import SchemaError
from edgefc.grammar import compile_schema
from tests.grammar.executors import Guidance, LlamaCpp, reach
compile_schema({{"format": "date"}})
LlamaCpp('root ::= "a"'), Guidance('start: "a"')
opened, watching = [], False
def watch(event, arguments):
    if watching and (event in ("open", "urllib.Request") or event.startswith("socket.")):
        opened.append(event)
sys.addaudithook(watch)
answers = []
for line in sys.stdin:
    case = json.loads(line)
    watching = True
    try:
        grammar = compile_schema(case["schema"])
        gbnf = grammar.gbnf
    except SchemaError as error:
        watching = False
        assert error.reason
        answers.append({{"refused": [str(part) for part in error.path]}})
        continue
    watching = False
    texts = case.get("texts", [])
    guidance = [reach(Guidance(grammar.lark), text) == -1 for text in texts]
    llama = [reach(LlamaCpp(gbnf), text) == -1 for text in texts]
    if not texts:
        Guidance(grammar.lark), LlamaCpp(gbnf)
    answers.append({{"accepted": guidance, "agree": guidance == llama, "size": len(gbnf),
                     "unenforced": len(grammar.unenforced)}})
json.dump({{"answers": answers, "opened": opened}}, sys.stdout)
"""


def child(code: str, stdin: str = "", timeout: float = 240) -> str:
    """Run code in a child process and return its output; it must end by itself."""
    process = subprocess.run(
        [sys.executable, "-c", code],
        input=stdin, capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT,
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},
    )  # fmt: skip
    assert process.returncode >= 0, f"ended by signal {-process.returncode}: {process.stderr[-500:]}"
    assert process.returncode == 0, f"{process.stderr[:800]} … {process.stderr[-800:]}"
    return process.stdout


def compiled(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return an answer for each case: the path of a refusal, or the texts accepted. Nothing may be opened meanwhile."""
    stdin = "".join(json.dumps(case) + "\n" for case in cases)
    output = json.loads(child(CHILD.format(root=str(ROOT)), stdin))
    assert output["opened"] == []
    assert len(output["answers"]) == len(cases)
    assert all(answer.get("agree", True) for answer in output["answers"])
    return list(output["answers"])


def test_references_of_every_kind() -> None:
    """Row 25: references to other documents, to nothing or in circles are refused; nothing is downloaded."""
    outside = [
        "http://example.com/a",
        "https://127.0.0.1:9/x#/y",
        "file:///etc/passwd",
        "other.json",
        "../a.json",
        "//h/a",
    ]
    nowhere = ["#/$defs/none", "#none", "#/$defs/a/b/c", "#/$defs/~2", "#/0", "#/$defs/a/properties"]
    bad: list[Any] = [{"$ref": target, "$defs": {"a": S}} for target in outside + nowhere]
    bad += [{"properties": {"p": {"$ref": target}}} for target in outside + nowhere]
    bad += [{"$ref": 5}, {"$ref": ["#"]}, {"$ref": "#"}, {"allOf": [{"$ref": "#"}]}]
    bad += [{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}]
    bad += [{"oneOf": [{"$ref": "#"}, S]}, {"not": {"$ref": "#"}}, {"if": {"$ref": "#"}, "then": S}]
    answers = compiled([{"schema": schema} for schema in bad])
    assert [schema for schema, answer in zip(bad, answers, strict=True) if "refused" not in answer] == []
    node = {"type": "object", "properties": {"n": {"$ref": "#/$defs/a~1b~0c%25"}}}
    chain: dict[str, Any] = {str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(500)}
    good = [
        {
            "schema": {"$ref": "#/$defs/a~1b~0c%25", "$defs": {"a/b~c%": node}},
            "texts": ['{"n": {"n": {}}}', '{"n": 1}'],
        },
        {"schema": {"$ref": "#/$defs/0", "$defs": {**chain, "500": {"type": "null"}}}, "texts": ["null", "1"]},
    ]
    assert [answer["accepted"] for answer in compiled(good)] == [[True, False]] * 2


def test_enums_of_every_size() -> None:
    """Row 26."""
    many = [f"value number {n}" for n in range(40_000)]
    cases: list[dict[str, Any]] = [
        {"schema": {"enum": many}, "texts": ['"value number 39999"', '"value number 40000"', '"value number"']},
        {"schema": {"enum": ["a"] * 5000}, "texts": ['"a"', '"aa"']},
        {"schema": {"enum": [1, 1.0, True, None, "1", [1], {"a": 1}, {"a": 1}]}, "texts": ["1", "true", '{"a": 1}', '"1"', "2"]},
        {"schema": {"enum": []}},
        {"schema": {"enum": list(range(200_000))}},
        {"schema": {"enum": "ab"}},
        {"schema": {"const": {"deep": [[[[[[{"a": None}]]]]]]}}, "texts": ['{"deep": [[[[[[{"a": null}]]]]]]}']},
    ]  # fmt: skip
    answers = compiled(cases)
    assert answers[0]["accepted"] == [True, False, False] if "accepted" in answers[0] else answers[0]["refused"] == []
    assert answers[1]["accepted"] == [True, False]
    assert answers[2]["accepted"] == [True, True, True, True, False]
    assert all("refused" in answer for answer in answers[3:6])
    assert answers[6]["accepted"] == [True]


def test_counts_of_every_size() -> None:
    """Row 27: counted or refused, and small either way."""
    cases = []
    for count in (0, 1, 2, 499, 500, 501, 1999, 2000, 2001, 10**9, 1e30, -1, 1.5, "3", None, True, float(2)):
        for keyword, kind in (
            ("maxLength", "string"),
            ("minLength", "string"),
            ("maxItems", "array"),
            ("minItems", "array"),
        ):
            item = {"items": {"const": 1}} if kind == "array" else {}
            text = json.dumps([1] * 3) if kind == "array" else '"abc"'
            cases.append({"schema": {"type": kind, keyword: count, **item}, "texts": [text], "count": count})
    for keyword, answer in zip((case["schema"] for case in cases), compiled(cases), strict=True):
        assert answer.get("size", 0) < 4000, keyword
        count = next(value for name, value in keyword.items() if name.startswith("m"))
        if count is None:  # not given
            assert answer["accepted"] == [True], keyword
        elif isinstance(count, str | bool) or count < 0 or count != int(count):
            assert "refused" in answer, keyword
        elif "accepted" in answer:
            fits = count >= 3 if any(name.startswith("max") for name in keyword) else count <= 3
            assert answer["accepted"] == [fits], keyword
        else:
            assert count >= 10**9, keyword


def test_depth_of_every_kind() -> None:
    """Row 28."""
    wraps = {
        "not": lambda inner: {"not": inner}, "if": lambda inner: {"if": inner, "then": S},
        "contains": lambda inner: {"type": "array", "contains": inner}, "oneOf": lambda inner: {"oneOf": [inner, S]},
        "patternProperties": lambda inner: {"type": "object", "patternProperties": {"^a": inner}},
        "propertyNames": lambda inner: {"type": "object", "propertyNames": inner},
        "dependentSchemas": lambda inner: {"dependentSchemas": {"a": inner}}, "prefixItems": lambda inner: {"prefixItems": [inner]},
    }  # fmt: skip
    cases = []
    for wrap in wraps.values():
        for depth in (10, 60, 120, 250):
            schema: Any = {"type": "integer"}
            for _ in range(depth):
                schema = wrap(schema)
            cases.append({"schema": schema})
    answers = compiled(cases)
    assert len(answers) == 4 * len(wraps)
    # Deeper than Python reads JSON: a document built in memory.
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from edgefc.errors import SchemaError
from edgefc.grammar import compile_schema
for wrap in (lambda s: {{"not": s}}, lambda s: {{"items": [s]}}, lambda s: [s]):
    schema = {{}}
    for _ in range(100_000):
        schema = wrap(schema)
    try:
        compile_schema(schema)
        raise SystemExit("accepted")
    except SchemaError:
        pass
    while schema:  # taken apart level by level, for Python itself would recurse
        schema = schema[0] if isinstance(schema, list) else schema.popitem()[1]
"""
    child(code)


def test_definitions_that_multiply() -> None:
    """Row 29: a graph of 2^30 combinations is shared, or refused."""
    cases = []
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems", "if"):
        definitions: dict[str, Any] = {"30": {"type": "integer", "minimum": 3}}
        for n in range(30):
            both = [{"$ref": f"#/$defs/{n + 1}"}, {"$ref": f"#/$defs/{n + 1}"}]
            definitions[str(n)] = {"if": both[0], "then": both[1]} if keyword == "if" else {keyword: both}
        cases.append({"schema": {"$ref": "#/$defs/0", "$defs": definitions}})
    for answer in compiled(cases):
        assert "refused" in answer or answer["size"] < 100_000


def test_patterns_of_every_kind() -> None:
    """Row 30: 200 patterns, some of them traps for backtracking or for counting."""
    rng = random.Random(0)
    traps = ["(a+)+b", "(a|a)*c", "^(([a-z])+.)+[A-Z]([a-z])+$", "(a{1,1000}){1,1000}", "(" * 5000, ")" * 50, "[", "[z-a]",
             "a{2,1}", "a{99999999}", "^?x", "x$y", "(?=a)(?!a)b", "(?<!a)b", "\\1(a)", "\\", "\\u12", "\\xZZ", "(?P<n>a)(?P=n)",
             "(?#c)a", "(?i)a", "a++", "a{,5}", "{", "}", "]", "[]]", "[^]", "\\p{Lu}", "\\p{Zzz}", "\\k<a>", "\\cA", "\\0", "\\00"]  # fmt: skip
    atoms = ["a", "b", ".", "[a-c]", "\\d", "\\w", "(ab)", "(a|b)", "^", "$", "(?=a)", "é", "\\.", "[^x]"]
    generated = ["".join(rng.choice(atoms) + rng.choice(["", "", "*", "+", "?", "{2}", "{1,3}", "{2,}"]) for _ in range(rng.randint(1, 8))) for _ in range(170)]  # fmt: skip
    cases: list[dict[str, Any]] = [{"schema": {"type": "string", "pattern": pattern}} for pattern in traps + generated]
    cases += [{"schema": {"type": "string", "pattern": pattern, "maxLength": 40}} for pattern in generated[:40]]
    answers = compiled(cases)
    assert sum("refused" in answer for answer in answers) >= 15
    assert sum("accepted" in answer for answer in answers) >= 60


def test_keys_and_values_of_unusual_characters() -> None:
    """Row 31: accepted exactly, as json.loads reads them."""
    unusual = ['"', "\\", "\0", "\n", "\r\t\b\f", "🙂", "\ud800", "é", "\u2028", "\x7f", "]", "-", "^", "a" * 10_000, "", " ", "'", "${a}", "%s", "\\u0041"]  # fmt: skip
    cases = []
    for text in unusual:
        spelled = json.dumps(text, ensure_ascii=any(0xD800 <= ord(c) < 0xE000 for c in text))
        cases.append({"schema": {"const": text}, "texts": [spelled, '"other"']})
        cases.append({"schema": {"enum": ["x", text]}, "texts": [spelled, '"other"']})
        closed = {
            "type": "object",
            "properties": {text: {"const": 1}},
            "required": [text],
            "additionalProperties": False,
        }
        cases.append({"schema": closed, "texts": [f"{{{spelled}: 1}}", '{"other": 1}']})
    for case, answer in zip(cases, compiled(cases), strict=True):
        assert answer["accepted"] == [True, False], case


def test_keywords_of_the_wrong_type() -> None:
    """Row 32: refused with the path, or without effect where the keyword does not apply to the type."""
    wrong: list[Any] = [5, "x", None, [5], {"a": 5}, 1.5, -1, [], [[]]]
    keywords = [
        "type", "properties", "required", "items", "prefixItems", "enum", "anyOf", "allOf", "oneOf", "not", "if", "pattern",
        "patternProperties", "propertyNames", "minimum", "multipleOf", "minLength", "maxItems", "contains", "minContains",
        "dependentRequired", "dependentSchemas", "$ref", "additionalProperties", "unevaluatedProperties", "minProperties",
    ]  # fmt: skip
    kinds = ["object", "array", "string", "integer"]
    cases = [{"schema": {keyword: value}} for keyword in keywords for value in wrong]
    cases += [{"schema": {"type": kind, keyword: 5}} for kind in kinds for keyword in keywords if keyword != "type"]
    cases += [{"schema": value} for value in (5, "x", [{}], 1.5)]
    answers = compiled(cases)
    assert all("refused" in answer for answer in answers[-4:])
    assert sum("refused" in answer for answer in answers) >= len(keywords) * 3


@pytest.mark.skipif(
    not BENCH.is_file(), reason="needs the schemas of JSONSchemaBench, which are not part of the project"
)
def test_schemas_from_the_wild() -> None:
    """Row 33: every tenth schema; nothing invalid is accepted without a finding."""
    cases = []
    with gzip.open(BENCH, "rt", encoding="utf-8") as lines:
        for line in itertools.islice(lines, 0, None, 10):
            row = json.loads(line)
            texts = [json.dumps(test["data"], ensure_ascii=False) for test in row["tests"] if not test["valid"]]
            cases.append({"schema": row["schema"], "texts": [text for text in texts if len(text) < 3000]})
    answers = compiled(cases)
    wrong = [
        case
        for case, answer in zip(cases, answers, strict=True)
        if any(answer.get("accepted", ())) and not answer["unenforced"]
    ]
    assert wrong == []
    assert sum("accepted" in answer for answer in answers) >= len(answers) * 0.9


def test_tokens_that_are_not_allowed(demo_path: Path) -> None:
    """Rows 34 and 35: any token at any time, and logits that are not numbers, are errors of one request."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import random
import numpy as np
from edgefc.engine import Engine, SamplingOptions
from edgefc.engine.choice import Choice
from edgefc.engine.sampler import Sampler
from edgefc.errors import ConstraintError
from edgefc.grammar import compile_schema
engine = Engine.load({str(demo_path)!r})
rng = random.Random(0)
grammar = compile_schema({{"type": "object", "properties": {{"a": {{"type": "string", "maxLength": 9}}, "b": {{"type": "integer"}}}}, "required": ["a"], "additionalProperties": False}})
n, fed, refused = engine.tokenizer.n_vocab, 0, 0
while fed < {100_000 if NIGHTLY else 25_000}:
    constraint = engine.constraint(grammar)
    for _ in range(60):
        fed += 1
        mask = constraint.mask()
        legal = np.flatnonzero(mask[:n])
        token = int(rng.choice(legal)) if len(legal) and rng.random() < 0.9 else rng.randrange(n)
        # Where text is forced, the mask has one tokenization of it; others are legal too.
        assert not mask[token] or constraint.allows(token)
        if not constraint.allows(token):
            refused += 1
            try:
                constraint.consume(token)
                raise SystemExit("an illegal token was accepted")
            except ConstraintError:
                break
        constraint.consume(token)
        if constraint.is_finished:
            break
    else:
        fed += 400  # a long walk adds nothing
assert refused > 100
for wrong in (-1, n, n + 10**6, 2**31):
    constraint = engine.constraint(grammar)
    try:
        constraint.consume(wrong)
        raise SystemExit("a token outside of the vocabulary was accepted")
    except (ConstraintError, OverflowError, ValueError):
        pass
for value in (float("nan"), float("-inf"), float("inf")):
    for temperature in (0.0, 1.0):
        for constraint in (None, engine.constraint(grammar)):
            sampler = Sampler(SamplingOptions(temperature=temperature), n, [])
            try:
                sampler.sample(Choice(np.full(n, value, dtype=np.float32), constraint, frozenset()))
                raise SystemExit(f"a token was sampled from {{value}}")
            except ConstraintError:
                pass
assert engine.submit(engine.tokenizer.encode("the weather"), max_tokens=3).result().token_ids
engine.close()
"""
    child(code)


def test_names_with_common_beginnings() -> None:
    """Row 36: only the exact name is accepted."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import random
from edgefc.errors import SchemaError
from edgefc.grammar import calls_gbnf, compile_calls
from tests.grammar.executors import accepts
rng = random.Random(0)
parts = ["f", "function", "functional", "get", "get_", "_", "tool_call", "E", "9", "a.b", "x-y", "ns:a", "name", "arguments"]
for trial in range(100):
    names = list(dict.fromkeys("".join(rng.choice(parts) for _ in range(rng.randint(1, 3))) for _ in range(6)))
    tools = [{{"type": "function", "function": {{"name": name, "parameters": {{"type": "object", "properties": {{}}}}}}}} for name in names]
    grammar = compile_calls(tools)
    for name in names:
        for other in (name, name + "x", name[:-1], name.upper() + "_"):
            text = '[{{"name": "' + other + '", "arguments": {{}}}}]'
            assert accepts(grammar, text) == (other in names), (names, other)
"""
    child(code)


def test_a_flood_of_schemas() -> None:
    """Row 37: 10,000 different schemas; the caches stay bounded."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from edgefc.grammar import calls, compile_schema, schema_gbnf
from edgefc.cache import MAX_CHARACTERS
for number in range(10_000):
    schema = {{"type": "string", "maxLength": number}}
    compile_schema(schema)
    schema_gbnf(schema)
    assert calls._grammars.total <= MAX_CHARACTERS and calls._texts.total <= MAX_CHARACTERS
big = calls.TextCache(len, 1000)
for number in range(10_000):
    big.get(str(number), lambda: "x" * 400)
    assert big.total <= 1000
"""
    child(code)
