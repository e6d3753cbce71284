"""What the scripts of Python's clients have in common: the questions, the tool, the form, and how they report."""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

URL, ENDPOINT = sys.argv[1:]
MODEL, KEY = "demo", "none"
HELLO = "Hello!"
WEATHER = "What is the weather in Paris and in Oslo?"
MOST_TOKENS = 200


class City(BaseModel):
    """A city"""

    # An old client sends the schema as it is, which would let a model add fields.
    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Name of the city", max_length=30)
    country: str = Field(description="Country of the city", max_length=30)


def get_weather(location: str) -> str:
    """Get the current weather for a city

    Args:
        location: City name
    """
    degrees, conditions = {"Paris": (18, "light rain"), "Oslo": (7, "snow")}[location]
    return json.dumps({"location": location, "temperature": degrees, "unit": "celsius", "conditions": conditions})


PARAMETERS = {
    "type": "object",
    "properties": {"location": {"type": "string", "description": "City name"}},
    "required": ["location"],
}
FUNCTION = {"name": "get_weather", "description": "Get the current weather for a city", "parameters": PARAMETERS}


def report(**told: Any) -> None:
    """What the client made of the server's answers, for the test to read.

    `plain`, and the pieces of the same `streamed`; `tokens`, of prompt and answer as the client tells them; `calls`, as
    pairs of name and arguments, and `streamed_calls`, None where it has none; the loop's `answer`; `structured`, a list
    of cities, one for each way the client has to ask for it.
    """
    print(json.dumps(told, default=BaseModel.model_dump))
