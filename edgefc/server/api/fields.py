"""What requests of several endpoints have in common: fields, what is refused, and what both mean to the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field

from edgefc.chat.options import ChatOptions
from edgefc.errors import RequestError

MOST_CHOICES, MOST_STOPS, LONGEST_STOP = 8, 16, 1024
SEED = 1 << 63
Text = Annotated[str, Field(max_length=LONGEST_STOP)]
# Fields that are options of the model as they are, in those requests that have them.
_OPTIONS = (
    "parallel_tool_calls", "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "frequency_penalty",
    "presence_penalty", "seed", "stop", "response_format", "grammar",
)  # fmt: skip
Refused = Mapping[str, tuple[Any, ...]]  # fields that cannot be had, and their values that mean nothing


class Asked(BaseModel):
    """The fields of chat completions and completions alike; others are ignored, as far as they change no answer."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str | None = None
    response_format: dict[str, Any] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1 << 31)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(ge=1e-3, le=100)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-100, le=100)] | None = None
    presence_penalty: Annotated[float, Field(ge=-100, le=100)] | None = None
    seed: Annotated[int, Field(ge=-SEED, lt=SEED)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=MOST_STOPS)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None  # llama-server's short form of a response_format

    @property
    def wants_usage(self) -> bool:
        """Whether a stream's last chunk tells what the answer cost."""
        return bool((self.stream_options or {}).get("include_usage"))

    def options(self) -> ChatOptions:
        """What it asks of the model. Raises RequestError."""
        given = {name: value for name in _OPTIONS if (value := getattr(self, name, None)) is not None}
        if self.logit_bias:
            given["logit_bias"] = _by_token(self.logit_bias)
        if self.json_schema is not None:
            if self.response_format is not None:
                raise RequestError("json_schema", "cannot be combined with response_format", "Use the latter alone.")
            given["response_format"] = {"type": "json_object", "schema": self.json_schema}
        return cast("ChatOptions", given)


def refuse(given: BaseModel | Mapping[str, Any], refused: Refused, why: str = "", *, place: str = "") -> None:
    """Raises RequestError for a field, of the body or of what is at this place in it, that would change the answer and
    cannot be had.
    """
    fields = given if isinstance(given, Mapping) else given.model_extra or {}
    for name, harmless in refused.items():
        if (value := fields.get(name)) not in harmless:
            param = f"{place}.{name}" if place else name
            raise RequestError(param, f"{value!r} is not offered here{why}", "Leave it out.")


def for_choice(options: ChatOptions, index: int) -> ChatOptions:
    """The same for a choice of its number: each has a seed of its own."""
    seed = options.get("seed")
    return options if seed is None else cast("ChatOptions", {**options, "seed": seed + index})


def _by_token(biases: Mapping[str, float]) -> dict[int, float]:
    for token in biases:
        if not token.isdecimal() or len(token) > 9:
            raise RequestError("logit_bias", f"maps token ids to numbers, and {token!r} is no token id")
    return {int(token): bias for token, bias in biases.items()}
