"""Twenty seeded tool sets, of bounded sizes, that together use every schema feature of the grammar."""

from __future__ import annotations

import random
from typing import Any

NAMES = ["get", "get_weather", "get_weather_now", "set.alarm", "search-web", "convertUnits", "a", "ns:lookup"]
WORDS = ["alpha", "beta", "naïve", "日本", 'say "hi"', "back\\slash", "emoji 🙂", "tab\there", "", "a b"]


def text(rng: random.Random) -> dict[str, Any]:
    low = rng.randrange(3)
    return {"type": "string", "minLength": low, "maxLength": low + rng.randrange(1, 9)}


def integer(rng: random.Random) -> dict[str, Any]:
    low = rng.choice([-120, -1, 0, 1, 7, 1999])
    return {"type": "integer", "minimum": low, "maximum": low + rng.choice([0, 1, 9, 250, 12345])}


def enum(rng: random.Random) -> dict[str, Any]:
    values: list[Any] = rng.sample(WORDS, rng.randrange(1, 6))
    return {"enum": [*values, *rng.sample([1, 2.5, True, None, [1], {"k": "v"}], rng.randrange(3))]}


def const(rng: random.Random) -> dict[str, Any]:
    return {"const": rng.choice([*WORDS, 0, False, None, {"a": [1, 2]}])}


def array(rng: random.Random) -> dict[str, Any]:
    low = rng.randrange(2)
    return {"type": "array", "items": leaf(rng), "minItems": low, "maxItems": low + rng.randrange(1, 4)}


def nested(rng: random.Random) -> dict[str, Any]:
    return obj(rng, rng.randrange(1, 4), leaf)


def any_of(rng: random.Random) -> dict[str, Any]:
    return {"anyOf": [text(rng), integer(rng), {"type": "null"}]}


def leaf(rng: random.Random) -> dict[str, Any]:
    return rng.choice([text, integer, enum, const, lambda _: {"type": "boolean"}])(rng)


def anything(rng: random.Random) -> dict[str, Any]:
    return rng.choice([leaf, leaf, array, nested, any_of])(rng)


def obj(rng: random.Random, size: int, value: Any) -> dict[str, Any]:
    names = rng.sample(["city", "n", "unité", "x y", "flag", "tags", "mode", "id"], size)
    return {
        "type": "object",
        "properties": {name: value(rng) for name in names},
        "required": [name for name in names if rng.random() < 0.6],
        "additionalProperties": False,
    }


def tree() -> dict[str, Any]:
    """Return a recursive schema, bounded by its arrays."""
    node = {
        "type": "object",
        "properties": {
            "label": {"type": "string", "maxLength": 3},
            "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
        },
        "required": ["label"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"root": {"$ref": "#/$defs/node"}},
        "required": ["root"],
        "additionalProperties": False,
        "$defs": {"node": node},
    }


def tool(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}


def tool_set(number: int) -> list[dict[str, Any]]:
    rng = random.Random(number)
    names = rng.sample(NAMES, 1 + number % len(NAMES))
    tools = [tool(name, obj(rng, rng.randrange(0, 5), anything)) for name in names]
    if number % 5 == 0:
        tools.append(tool("plant_tree", tree()))
    return tools


TOOL_SETS = [tool_set(number) for number in range(20)]
