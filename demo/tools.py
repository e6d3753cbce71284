"""Tools as conversations show them: a concept with some of its names, descriptions and parameter order."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from demo.concepts import Concept, Param, load_bank

BANK = load_bank()
CONCEPTS = [concept for concepts in BANK.values() for concept in concepts]
EXAMPLES = BANK["examples"]
HELD_BACK = [concept for concept in CONCEPTS if concept.held_back]
TRAINED = [concept for concept in CONCEPTS if not concept.held_back]


@dataclass
class Tool:
    """A concept in one conversation, with its schema and its parameters under their names in the schema."""

    concept: Concept
    schema: dict[str, Any]
    params: list[tuple[Param, str]]

    @property
    def name(self) -> str:
        return self.schema["function"]["name"]


def make_tool(rng: random.Random, concept: Concept, *, exact: bool, opaque_name: str = "") -> Tool:
    """Choose names, order and descriptions for one conversation; `exact` takes the first of each.

    An `opaque_name` replaces the tool's name, so that only the description identifies it.
    """
    name = concept.names[0] if exact else opaque_name or rng.choice(concept.names)
    params = list(concept.params)
    if not exact and rng.random() < 0.3:
        rng.shuffle(params)
    has_descriptions = exact or rng.random() >= 0.12
    labels: list[tuple[Param, str]] = []
    properties: dict[str, Any] = {}
    for param in params:
        label = param.name if exact else rng.choice(param.names)
        if label in properties:
            label = param.name
        labels.append((param, label))
        properties[label] = schema = _value_schema(param)
        if param.about and has_descriptions:
            schema["description"] = param.about[0] if exact else rng.choice(param.about)
    function: dict[str, Any] = {"name": name}
    if exact or opaque_name or rng.random() < 0.93:
        function["description"] = concept.about[0] if exact else _description(rng, concept)
    required = [label for param, label in labels if param.required]
    function["parameters"] = {"type": "object", "properties": properties, "required": required}
    return Tool(concept, {"type": "function", "function": function}, labels)


def _value_schema(param: Param) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": param.type}
    if param.type == "array":
        schema["items"] = {"type": "string"}
    if param.enum:
        schema["enum"] = list(param.enum)
    return schema


def _description(rng: random.Random, concept: Concept) -> str:
    """One of the concept's descriptions, now and then two."""
    count = 2 if rng.random() < 0.15 else 1
    return ". ".join(rng.sample(concept.about, min(len(concept.about), count)))
