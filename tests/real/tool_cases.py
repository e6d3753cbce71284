"""Tools with bounded schemas of many kinds, so that a call always ends, and questions for them."""

from __future__ import annotations

from typing import Any


def tool(name: str, description: str, properties: dict[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    parameters = _closed(properties, required)
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _closed(properties: dict[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _text(size: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": size}


def _integer(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


TOOLS = [
    tool(
        "book_flight",
        "Book a flight",
        {"to": _text(20), "cabin": {"enum": ["economy", "business"]}, "passengers": _integer(1, 9)},
        ("to", "cabin", "passengers"),
    ),
    tool(
        "order",
        "Order products",
        {
            "items": {
                "type": "array",
                "items": _closed({"product": _text(20), "count": _integer(1, 99)}, ("product", "count")),
                "minItems": 1,
                "maxItems": 2,
            },
            "address": _closed({"country": {"enum": ["FR", "NO", "PE"]}}, ("country",)),
            "express": {"type": "boolean"},
        },
        ("items", "address"),
    ),
]
SCHEMAS = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
QUESTIONS = ("Book a business class flight to Oslo for 2 people.", "Order three red mugs to Peru.")


def ask(question: str) -> list[Any]:
    return [{"role": "user", "content": question}]
