"""Body fields of several endpoints, and their meaning for the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, cast, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from edgefc import limits
from edgefc.chat.options import ChatOptions, whole_number
from edgefc.errors import FieldPath, RequestError
from edgefc.gguf.adapter import MAX_ADAPTERS
from edgefc.server.api.foreign_fields import read_foreign_fields
from edgefc.server.errors import PREFIX
from edgefc.tools.schemas import list_of, without_nulls
from edgefc.types import OnUnsupported

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
Integer = Annotated[int, BeforeValidator(whole_number)]  # PHP and Lua write 5 as 5.0


def _check_limit(value: int) -> int:
    if value < 1 and value not in NO_LIMIT:
        raise ValueError("must be at least 1, or -1 for no limit")
    return value


NO_LIMIT = (-1, -2)
TokenLimit = Annotated[Integer, AfterValidator(_check_limit)]
Temperature = Annotated[float, _range("temperature")]
TopP = Annotated[float, _range("top_p")]
TopK = Annotated[Integer, Field(ge=-1, le=limits.MAX_TOP_K)]  # -1 is vLLM's "all"
StopString = Annotated[str, Field(max_length=limits.MAX_STOP_LENGTH)]
StopList = Annotated[list[StopString], Field(max_length=limits.MAX_STOP_STRINGS)]
LogitBias = Annotated[float, Field(ge=-limits.MAX_LOGIT_BIAS, le=limits.MAX_LOGIT_BIAS)]

# Fields with the name and the meaning of a ChatOptions field.
_OPTIONS = (
    "parallel_tool_calls", "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "frequency_penalty",
    "presence_penalty", "penalty_last_n", "seed", "stop", "response_format", "grammar", "lora",
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
    x_edgefc_on_unsupported: OnUnsupported | None = None
    x_edgefc_open_objects: bool | None = None
    x_edgefc_family: Annotated[str, Field(max_length=100)] | None = None
    x_edgefc_lora: Annotated[list[dict[str, Any]], Field(max_length=MAX_ADAPTERS)] | None = None
    x_edgefc_tool_budget: Annotated[Integer, Field(ge=-1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_brackets(cls, data: Any) -> Any:
        """Read PHP's brackets as those that the field has."""
        return _with_own_brackets(data, cls.model_fields) if isinstance(data, Mapping) else data

    def extensions(self) -> dict[str, Any]:
        """Return those fields that are set."""
        return without_nulls({name: getattr(self, name, None) for name in ExtensionFields.model_fields})


def _check_size(value: Any) -> Any:
    """Refuse a large mapping before pydantic makes an error, of a kilobyte, for each wrong value in it."""
    if isinstance(value, dict) and len(value) > MAX_BIASES:
        raise ValueError(f"at most {MAX_BIASES:,} entries are accepted")
    return value


class CommonFields(ExtensionFields):
    """Fields of chat completions and completions. Unknown fields are ignored unless they would change the answer."""

    model: str | None = None
    response_format: dict[str, Any] | None = None
    n: Annotated[Integer, Field(ge=1, le=limits.MAX_CHOICES)] | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    min_p: Annotated[float, _range("min_p")] | None = None
    repeat_penalty: Annotated[float, _range("repeat_penalty")] | None = None
    frequency_penalty: Annotated[float, _range("frequency_penalty")] | None = None
    presence_penalty: Annotated[float, _range("presence_penalty")] | None = None
    penalty_last_n: Annotated[Integer, Field(ge=-1)] | None = None
    seed: Annotated[Integer, Field(ge=-SEED_LIMIT, lt=SEED_LIMIT)] | None = None
    stop: StopString | StopList | None = None
    logit_bias: Annotated[dict[str, LogitBias], BeforeValidator(_check_size)] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    grammar: str | None = None
    lora: Annotated[list[dict[str, Any]], Field(max_length=MAX_ADAPTERS)] | None = None
    json_schema: dict[str, Any] | None = None  # llama-server's short form of a response_format

    @model_validator(mode="before")
    @classmethod
    def _read_foreign(cls, data: Any) -> Any:
        return read_foreign_fields(data) if isinstance(data, Mapping) else data

    @property
    def include_usage(self) -> bool:
        """True if a stream's last chunk must contain the usage."""
        return bool((self.stream_options or {}).get("include_usage"))

    def chat_options(self) -> ChatOptions:
        """Return the options for the model. Raises RequestError."""
        options = {name: value for name in _OPTIONS if (value := getattr(self, name, None)) is not None}
        options |= {name.removeprefix(PREFIX): value for name, value in self.extensions().items()}
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
        if (value := fields.get(name)) is not None and value not in neutral_values:
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


def _with_own_brackets(data: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """Return a body in which lists of PHP are lists, and its empty objects are objects."""
    read = dict(data)
    for name, field in fields.items():
        value = read.get(name)
        if not value and isinstance(value, list | dict):
            kinds = set(_kinds(field.annotation))
            if kinds & {list, dict} and type(value) not in kinds:
                read[name] = [] if list in kinds else {}
        elif isinstance(value, dict) and (items := list_of(value)) is not None:
            kinds = set(_kinds(field.annotation))
            read[name] = items if list in kinds and dict not in kinds else value
    return read


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield `list` and `dict` where a field's type has them."""
    origin = get_origin(annotation)
    if origin is list or origin is dict:
        yield origin
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield dict
    elif origin is not None:
        for part in get_args(annotation):
            yield from _kinds(part)


def _parse_token_ids(biases: Mapping[str, float]) -> dict[int, float]:
    for token in biases:
        if not token.isdecimal() or len(token) > 9:
            raise RequestError(("logit_bias",), f"invalid token id {quote(token)}", "Keys must be token ids.")
    return {int(token): bias for token, bias in biases.items()}
