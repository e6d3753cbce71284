"""Body fields of several endpoints, and their meaning for the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from edgefc import limits
from edgefc.chat.options import ChatOptions
from edgefc.errors import FieldPath, RequestError

SEED_LIMIT = 1 << 63
MAX_SHOWN = 100  # characters of an invalid value that an error shows


def between(bounds: tuple[float, float]) -> Any:
    """Return the constraint of a field with a least and a greatest value."""
    return Field(ge=bounds[0], le=bounds[1])


def _range(name: str) -> Any:
    return between(limits.SAMPLING[name])


MessageList = Annotated[list[dict[str, Any]], Field(min_length=1, max_length=limits.MAX_MESSAGES)]
BlockList = Annotated[list[dict[str, Any]], Field(fail_fast=True)]  # an error for each item would fill the memory
ToolList = Annotated[list[dict[str, Any]], Field(max_length=limits.MAX_TOOLS)]
TokenLimit = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, _range("temperature")]
TopP = Annotated[float, _range("top_p")]
TopK = Annotated[int, _range("top_k")]
StopString = Annotated[str, Field(max_length=limits.MAX_STOP_LENGTH)]
StopList = Annotated[list[StopString], Field(max_length=limits.MAX_STOP_STRINGS)]
LogitBias = Annotated[float, Field(ge=-limits.MAX_LOGIT_BIAS, le=limits.MAX_LOGIT_BIAS)]

# Fields with the name and the meaning of a ChatOptions field.
_OPTIONS = (
    "parallel_tool_calls", "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "frequency_penalty",
    "presence_penalty", "seed", "stop", "response_format", "grammar",
)  # fmt: skip
MAX_BIASES = 10_000
Unsupported = Mapping[str, tuple[Any, ...]]  # unsupported fields, with the values that ask for nothing


class ExtensionFields(BaseModel):
    """edgefc's own options, the same in every API: those of ChatOptions after the prefix."""

    model_config = ConfigDict(strict=True, extra="allow")

    x_edgefc_allow_repeated_calls: bool | None = None
    x_edgefc_loop_guard: bool | None = None
    x_edgefc_min_confidence: Annotated[float, between(limits.MIN_CONFIDENCE)] | None = None
    x_edgefc_call_bias: Annotated[float, between(limits.CALL_BIAS)] | None = None

    def extensions(self) -> dict[str, Any]:
        """Return those fields that are set."""
        values = {name: getattr(self, name, None) for name in ExtensionFields.model_fields}
        return {name: value for name, value in values.items() if value is not None}


def _check_size(value: Any) -> Any:
    """Refuse a large mapping before pydantic makes an error, of a kilobyte, for each wrong value in it."""
    if isinstance(value, dict) and len(value) > MAX_BIASES:
        raise ValueError(f"at most {MAX_BIASES:,} entries are accepted")
    return value


class CommonFields(ExtensionFields):
    """Fields of chat completions and completions. Unknown fields are ignored unless they would change the answer."""

    model: str | None = None
    response_format: dict[str, Any] | None = None
    n: Annotated[int, Field(ge=1, le=limits.MAX_CHOICES)] | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    min_p: Annotated[float, _range("min_p")] | None = None
    repeat_penalty: Annotated[float, _range("repeat_penalty")] | None = None
    frequency_penalty: Annotated[float, _range("frequency_penalty")] | None = None
    presence_penalty: Annotated[float, _range("presence_penalty")] | None = None
    seed: Annotated[int, Field(ge=-SEED_LIMIT, lt=SEED_LIMIT)] | None = None
    stop: StopString | StopList | None = None
    logit_bias: Annotated[dict[str, LogitBias], BeforeValidator(_check_size)] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None  # llama-server's short form of a response_format

    @property
    def include_usage(self) -> bool:
        """True if a stream's last chunk must contain the usage."""
        return bool((self.stream_options or {}).get("include_usage"))

    def chat_options(self) -> ChatOptions:
        """Return the options for the model. Raises RequestError."""
        options = {name: value for name in _OPTIONS if (value := getattr(self, name, None)) is not None}
        options |= {name.removeprefix("x_edgefc_"): value for name, value in self.extensions().items()}
        if self.logit_bias:
            options["logit_bias"] = _parse_token_ids(self.logit_bias)
        if self.json_schema is not None:
            if self.response_format is not None:
                raise RequestError(("json_schema",), "cannot be combined with response_format", "Omit one of them.")
            options["response_format"] = {"type": "json_object", "schema": self.json_schema}
        return cast("ChatOptions", options)


def reject_unsupported(
    body: BaseModel | Mapping[str, Any],
    unsupported: Unsupported,
    *,
    path: FieldPath = (),
    reason: str = "",
    hint: str = "Omit the field.",
) -> None:
    """Raise RequestError for an unsupported field of a body, or of the object at `path` in it."""
    fields = body if isinstance(body, Mapping) else body.model_extra or {}
    for name, neutral_values in unsupported.items():
        if (value := fields.get(name)) not in neutral_values:
            raise RequestError((*path, name), reason or f"unsupported value {quote(value)}", hint)


def quote(value: object) -> str:
    """Return a value's repr for an error, cut if it is long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def options_for_choice(options: ChatOptions, index: int) -> ChatOptions:
    """Return the options with a seed of its own for each choice."""
    seed = choice_seed(options, index)
    return options if seed is None else cast("ChatOptions", {**options, "seed": seed})


def choice_seed(options: ChatOptions, index: int) -> int | None:
    seed = options.get("seed")
    return None if seed is None else seed + index


def _parse_token_ids(biases: Mapping[str, float]) -> dict[int, float]:
    for token in biases:
        if not token.isdecimal() or len(token) > 9:
            raise RequestError(("logit_bias",), f"invalid token id {quote(token)}", "Keys must be token ids.")
    return {int(token): bias for token, bias in biases.items()}
