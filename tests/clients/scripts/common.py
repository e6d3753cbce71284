"""Shared parts of the Python clients' scripts: questions, a tool, a schema, and the report."""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

URL, ENDPOINT = sys.argv[1:]
MODEL, KEY = "demo", "none"
HELLO = "Hello!"
WEATHER = "What is the weather in Paris and in Oslo?"
MAX_TOKENS = 200


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


def report(**results: Any) -> None:
    """Print the answers as the client presents them, for the test to read.

    plain           a text answer
    streamed        the pieces of the same answer in a stream
    tokens          token counts of prompt and answer
    calls           pairs of name and arguments
    streamed_calls  the same from a stream; None: the client does not stream calls
    answer          the answer of a tool loop
    structured      a list of cities, one for each of the client's ways to get structured output
    """
    print(json.dumps(results, default=BaseModel.model_dump))
