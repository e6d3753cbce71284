"""Random tools, schemas and grammars, shared by the targets that send them."""

from __future__ import annotations

import json
from typing import Any

from tests.fuzz.mutation import Mutator

KINDS = ("string", "integer", "number", "boolean", "null", "array", "object")
FORMATS = (
    "date",
    "date-time",
    "time",
    "duration",
    "email",
    "uuid",
    "ipv4",
    "ipv6",
    "uri",
    "regex",
    "hostname",
    "nonsense",
)
PATTERNS = (
    "^a", "b$", "^[ab]*$", "a[^c]*b", "^(?!a)", "^(a|b)b?$", "(a{100}){100}", "(a{1,1000}){1,1000}", "(x{500}y){200}",
    "(a+)+$", "(a*)*b", "^(.|a)*z$", ".{0,10000}", "\\d{4}-\\d\\d", "\\p{L}+", "[\\s\\S]*", "(?=a)b", "(?<!a)b", "\\bword\\b", "a\\1",
    "[", "(", "*", "a**", "(?i)abc", "\\u0041", "[^\\x00-\\x7f]{3,9}", "(a?){60}a{60}", "^$", "", "\\", "[z-a]", "a{2,1}", "🙂{3}",
)  # fmt: skip
COUNTS = (0, 1, 2, 3, 10, 100, 1000, 10**5, 10**6, 10**9, 2**63, -1)
NUMBERS = (0, 1, -1, 2, 7, 0.5, -1.5, 0.1, 1e-7, 1e15, 1e300, 2**53, 2**64, -(10**30))
NAMES = ("a", "b", "ab", "x-", "", "é", '"', "\\", "\n", "$ref", "name", "arguments", "type", "x" * 100)
GBNF = (
    'root ::= "a"', 'root ::= "a" root | "b"', 'root ::= [a-z]+ ws [0-9]{2,4}\nws ::= " "*', "root ::= root", 'root ::= ("a" | "b")* x\nx ::= .',
    'root ::= "{" ws "\\"a\\"" ":" [^"]* "}"\nws ::= [ \\t\\n]*', "root ::= a\na ::= b\nb ::= a | \"x\"", 'root ::= "a"{1,1000000}',
    'root ::= ("a"?){100} "b"', "root ::= [\\U0001F600-\\U0001F64F]+", 'root ::= "\\x41" # comment',
)  # fmt: skip
EXAMPLE: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "City name", "maxLength": 40},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 3},
            },
            "required": ["location"],
        },
    },
}


def tools(mutator: Mutator) -> Any:
    """Make a list of tools: most sound, some not."""
    made: Any = [tool(mutator) for _ in range(mutator.rng.choice((1, 1, 1, 2, 5)))]
    if mutator.chance(0.05) and len(json.dumps(made)) < 20_000:
        made = made * mutator.rng.choice((2, 40, 300))
    return mutator.change_json(made, (EXAMPLE,)) if mutator.chance(0.25) else made


def tool(mutator: Mutator) -> Any:
    rng = mutator.rng
    if mutator.chance(0.3):
        return mutator.change_json(EXAMPLE, (schema(mutator),))
    properties = {rng.choice(NAMES): schema(mutator) for _ in range(rng.choice((0, 1, 2, 3, 8)))}
    parameters: Any = {"type": "object", "properties": properties}
    if mutator.chance(0.6):
        parameters["required"] = rng.sample(list(properties), rng.randrange(len(properties) + 1))
    if mutator.chance(0.2):
        parameters = schema(mutator)
    name = (
        rng.choice(("get", "get_weather", "f", "a" * 64, "é", "a b", "", mutator.text()))
        if mutator.chance(0.5)
        else "call"
    )
    return {"type": "function", "function": {"name": name, "description": mutator.text(), "parameters": parameters}}


def schema(mutator: Mutator, depth: int = 3) -> Any:
    """Make a JSON schema, with at most `depth` schemas in one another, and then a few keywords more."""
    rng = mutator.rng
    if mutator.chance(0.04):
        return mutator.value()
    kind = rng.choice(KINDS[:5] if depth == 0 else KINDS)
    made: dict[str, Any] = {"type": kind}
    for _ in range(rng.randrange(4)):
        made |= _keyword(mutator, kind, depth)
    if depth and mutator.chance(0.3):
        made |= _combination(mutator, depth)
    if mutator.chance(0.1):
        made["$defs"] = {"a": schema(mutator, max(depth - 1, 0))}
    if mutator.chance(0.05):
        del made["type"]
    return made


def _keyword(mutator: Mutator, kind: str, depth: int) -> dict[str, Any]:
    rng = mutator.rng
    inner = max(depth - 1, 0)
    common = {"enum": lambda: [mutator.value(1) for _ in range(rng.choice((1, 2, 3, 2000)))], "const": lambda: mutator.value(2),
              "description": mutator.text, "default": lambda: mutator.value(1)}  # fmt: skip
    of_kind: dict[str, dict[str, Any]] = {
        "string": {"minLength": lambda: rng.choice(COUNTS), "maxLength": lambda: rng.choice(COUNTS),
                   "pattern": lambda: pattern(mutator), "format": lambda: rng.choice(FORMATS)},
        "array": {"items": lambda: schema(mutator, inner), "minItems": lambda: rng.choice(COUNTS),
                  "maxItems": lambda: rng.choice(COUNTS), "uniqueItems": lambda: True, "contains": lambda: schema(mutator, inner),
                  "prefixItems": lambda: [schema(mutator, inner) for _ in range(rng.choice((1, 2, 3)))]},
        "object": {"properties": lambda: {rng.choice(NAMES): schema(mutator, inner) for _ in range(rng.randrange(5))},
                   "required": lambda: rng.sample(NAMES, rng.randrange(3)),
                   "additionalProperties": lambda: rng.choice((True, False, schema(mutator, inner))),
                   "patternProperties": lambda: {pattern(mutator): schema(mutator, inner)},
                   "propertyNames": lambda: {"pattern": pattern(mutator)}, "minProperties": lambda: rng.choice(COUNTS),
                   "maxProperties": lambda: rng.choice(COUNTS), "dependentRequired": lambda: {"a": ["b"]},
                   "unevaluatedProperties": lambda: False},
    }  # fmt: skip
    number = {
        name: lambda: rng.choice(NUMBERS)
        for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    }
    keywords = of_kind.get(kind, number if kind in {"integer", "number"} else {})
    name = rng.choice([*keywords, *keywords, *common])
    return {name: {**common, **keywords}[name]()}


def _combination(mutator: Mutator, depth: int) -> dict[str, Any]:
    rng = mutator.rng
    count = rng.choice((1, 2, 3, 30)) if depth == 1 else rng.choice((1, 2))
    match rng.choice(("anyOf", "oneOf", "allOf", "not", "if", "$ref", "type")):
        case "not":
            return {"not": schema(mutator, depth - 1)}
        case "if":
            return {
                "if": schema(mutator, depth - 1),
                "then": schema(mutator, depth - 1),
                "else": schema(mutator, depth - 1),
            }
        case "$ref":
            return {"$ref": rng.choice(("#", "#/$defs/a", "#/properties/a", "#/$defs/missing", "http://x/y", "#a"))}
        case "type":
            return {"type": rng.sample(KINDS, rng.randrange(1, 4))}
        case name:
            return {name: [schema(mutator, depth - 1) for _ in range(count)]}


def pattern(mutator: Mutator) -> str:
    made = mutator.rng.choice(PATTERNS)
    while mutator.chance(0.3):
        made += mutator.rng.choice(PATTERNS)
    if mutator.chance(0.2):
        low = mutator.rng.choice((0, 1, 9, 1000))
        made = f"({made}){{{low},{mutator.rng.choice((low, low + 1, 5000, ''))}}}"
    return mutator.change_text(made) if mutator.chance(0.2) else made


def gbnf(mutator: Mutator) -> str:
    made = mutator.rng.choice(GBNF)
    return mutator.change_text(made) if mutator.chance(0.6) else made
