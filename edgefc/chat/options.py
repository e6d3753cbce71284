"""Options of a chat request: sampling, stop strings, response format."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from typing_extensions import TypedDict

from edgefc import grammar, limits
from edgefc.chat.guide import GuideSettings
from edgefc.engine import SamplingOptions, gbnf_grammar
from edgefc.errors import FieldPath, RequestError, SchemaError
from edgefc.formats import Family
from edgefc.tools.schemas import clean_schema, map_schemas, without_nulls
from edgefc.types import OnUnsupported, ToolChoice

_ALL = {"top_k": 0, "penalty_last_n": 1 << 30}  # what -1 stands for
_INTEGERS = {"max_tokens", "top_k", "seed", "logprobs", "penalty_last_n", "tool_budget"}


class FormlessOptions(TypedDict, total=False):
    """The options of `ChatOptions` but `response_format`, which decides the type of `reply.parsed`."""

    tool_choice: bool | str | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    on_unsupported: OnUnsupported | None
    allow_repeated_calls: bool | None
    tool_budget: int | None
    max_tokens: int | None
    loop_guard: bool | None
    min_confidence: float | None
    call_bias: float | None
    stop: str | Sequence[str] | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repeat_penalty: float | None
    penalty_last_n: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    seed: int | None
    lora: Mapping[str, float] | Sequence[Mapping[str, Any]] | None
    logit_bias: Mapping[int, float] | None
    logprobs: int | None
    trace: bool | None
    thinking: bool | None
    open_objects: bool | None
    family: str | None
    grammar: str | None


class ChatOptions(FormlessOptions, total=False):
    r"""The options of `Model.chat` and `Model.run`, in OpenAI's spelling where it has one.

    An option that is None is not given, and has its default.

    tool_choice          "auto", "none", "required", one tool by name, or allowed_tools; objects of other APIs, too
    parallel_tool_calls  False: at most one call in an answer
    allow_repeated_calls True: an answer may make the same call, with equal arguments, more than once
    on_unsupported       what becomes of tools that no grammar can enforce. "refuse", the default: the request is
                         refused. "omit": they are left out, and `reply.omitted` has them with their reasons. "check":
                         patterns that no automaton has, such as `\bTODO\b`, are checked when a call is complete, and
                         tools that cannot be checked either are left out
    tool_budget          tokens of tools above which the model is shown only the 7 that fit the question best, and those
                         called before: see `reply.selection`. 0: all are shown. None or -1: as many tokens as are read
                         in 10 seconds, if `edgefc bench --calibrate` has measured it, else 2,048; at most half of the
                         context
    max_tokens           limit of the answer with its thoughts, in tokens; None: 2,048; -1: none but the context
    loop_guard           False: an answer that repeats the same few tokens again and again is not ended
    min_confidence       0 to 1: a call is delivered only if its P(call) × P(tool | call) is at least this. If the first
                         one is not, the outcome is `unsure`, and `reply.confidence.candidates` has the tools
    call_bias            added to the logarithm of the odds of a call against text, where an answer begins: above 0 more
                         calls, below 0 fewer. None: as the family declares it; for most, the likeliest token decides
    stop                 strings that end the answer and are not part of it
    temperature …        sampling; None: the family's recommendation, which is greedy for most
    seed                 makes sampling repeatable; None: drawn anew for each request
    lora                 LoRA adapters of this answer and no others, of those the model was loaded with: name → scale,
                         or a list of {"name": …, "scale": …}. None: all at the scale they were loaded with
    logit_bias           token id → number added to its logit
    logprobs             keep the logprob of each token and of this many (0 to 20) likeliest: `reply.logprobs`
    trace                True: note how each token came about, see `reply.trace`
    thinking             False: a family that thinks before it answers is told not to
    response_format      the form of text: OpenAI's json_object or json_schema, or a type, such as a pydantic model, of
                         which `reply.parsed` is then an object. With tools it applies to answers without calls; an
                         error for families whose JSON text could not be distinguished from calls. Without tools also
                         {"type": "choice", "choices": [texts]} or {"type": "regex", "pattern": of the whole text}
    open_objects         True: in a response format, objects may have properties besides the declared ones wherever
                         `additionalProperties` is missing, as JSON Schema has it. Else they have none, as with OpenAI
    family               name of another chat format for this answer: its prompt and its spelling of calls, to compare
    grammar              GBNF that an answer without tools must follow
    """

    response_format: Mapping[str, Any] | type[Any] | None


def given_options(options: ChatOptions) -> ChatOptions:
    """Return the options that are not None, whole floats as integers where an integer is meant.

    Raises TypeError for an unknown option, as Python does for an unexpected keyword argument.
    """
    if unknown := options.keys() - ChatOptions.__annotations__.keys():
        near = difflib.get_close_matches(min(unknown), ChatOptions.__annotations__, 1)
        hint = f". Did you mean {near[0]!r}?" if near else ""
        raise TypeError(f"chat() got an unexpected keyword argument {min(unknown)!r}{hint}")
    present = without_nulls(options)
    for name in _INTEGERS & present.keys():
        present[name] = whole_number(present[name])
    return cast("ChatOptions", present)


def whole_number(value: Any) -> Any:
    """Return a float without a fraction as an integer; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def sampling_options(options: ChatOptions, family: Family) -> SamplingOptions:
    """Return the family's recommended sampling, overridden by the caller's options. Raises RequestError."""
    values: dict[str, Any] = dict(family.recommended_sampling)
    for field in fields(SamplingOptions):
        if (value := options.get(field.name)) is not None:
            values[field.name] = _ALL.get(field.name, value) if value == -1 else value
    return SamplingOptions(**values)


def max_tokens(options: ChatOptions) -> int | None:
    """Return the limit of an answer; None: the context alone."""
    limit = options.get("max_tokens")
    if limit is None:
        return limits.MAX_ANSWER_TOKENS
    return None if limit in (-1, -2) else limit  # -2 is Ollama's "fill the context"


def guide_settings(options: ChatOptions, choice: ToolChoice, family_bias: float | None = None) -> GuideSettings:
    """Return the settings of a request whose answer may contain calls. Raises RequestError."""
    least, bias = options.get("min_confidence"), options.get("call_bias")
    bias = family_bias if bias is None else bias
    _check_number("min_confidence", least, limits.MIN_CONFIDENCE)
    _check_number("call_bias", bias, limits.CALL_BIAS)
    return GuideSettings(
        names=choice.names,
        is_required=choice.mode == "required",
        parallel=options.get("parallel_tool_calls") is not False,
        call_bias=bias,
        min_confidence=least,
    )


def _check_number(name: str, value: object, bounds: tuple[float, float]) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and bounds[0] <= value <= bounds[1]):  # type: ignore[operator]
        raise RequestError(name, f"must be a number from {bounds[0]} to {bounds[1]}, not {value!r}")


def adapter_scales(options: ChatOptions) -> Mapping[str, float] | None:
    """Return the scales of the adapters that a request chooses, by name; None: it chooses none. Raises RequestError."""
    chosen: Any = options.get("lora")
    if chosen is None or isinstance(chosen, Mapping):
        return chosen
    if not isinstance(chosen, Sequence) or isinstance(chosen, str | bytes):
        raise RequestError("lora", f"must map names to scales, not be {type(chosen).__name__}")
    scales: dict[str, float] = {}
    for number, item in enumerate(chosen):
        name = item.get("name") if isinstance(item, Mapping) else None
        if not isinstance(name, str) or item.keys() - {"name", "scale"}:
            hint = "Adapters are named by the configuration; a request cannot load a file."
            raise RequestError(("lora", number), 'must be an object such as {"name": "sql", "scale": 1}', hint)
        if name in scales:
            raise RequestError(("lora", number), f"names {name[:80]!r} twice")
        scales[name] = item.get("scale", 1.0)
    return scales


def stop_strings(options: ChatOptions) -> tuple[str, ...]:
    """Return the caller's stop strings. Raises RequestError for an empty one."""
    stop = options.get("stop")
    if stop is None:
        return ()
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(stops):
        raise RequestError("stop", "must not contain an empty string: it would end every answer at once")
    return stops


def grammar_option(options: ChatOptions, *, has_tools: bool = False) -> grammar.CompiledGrammar | None:
    """Compile the caller's own GBNF, if there is one.

    Raises GrammarError, or RequestError when it is combined with tools or a response format.
    """
    gbnf: Any = options.get("grammar")
    if gbnf is None:
        return None
    if not isinstance(gbnf, str):
        raise RequestError("grammar", f"must be text, not {type(gbnf).__name__}")
    if has_tools or _format_option(options) is not None:
        raise RequestError("grammar", "cannot be combined with tools or a response format", "Use one at a time.")
    return gbnf_grammar(gbnf)


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """A response format: the grammar of such an answer, and its JSON schema as text; None: it is not JSON."""

    grammar: grammar.CompiledGrammar
    schema: str | None


def response_format(options: ChatOptions) -> ResponseFormat | None:
    """Compile the response format, if there is one other than text. Raises RequestError or SchemaError."""
    option = _format_option(options)
    if option is None:
        return None
    if option.get("type") in ("choice", "regex"):
        return ResponseFormat(_text_grammar(option), None)
    path: tuple[str, ...] = ("response_format", "schema")
    schema = option.get("schema", {"type": "object"})
    if option.get("type") == "json_schema":
        path = ("response_format", "json_schema", "schema")
        inner = option.get("json_schema", option)  # flat in the Responses API
        if not isinstance(inner, Mapping) or "schema" not in inner:
            raise RequestError("response_format", "json_schema must be an object that contains a schema")
        schema = inner["schema"]
    elif option.get("type") != "json_object":
        raise RequestError(
            "response_format",
            f"type must be text, json_object, json_schema, choice or regex, not {option.get('type')!r}",
        )
    schema, _ = clean_schema(schema)
    if options.get("open_objects"):
        schema = map_schemas(schema, _opened)
    try:
        compiled = grammar.compile_schema(schema, closed=True)
    except SchemaError as error:
        raise error.under(*path) from None
    if compiled.unenforced:
        finding = compiled.unenforced[0].under(*path)
        raise SchemaError(finding.path, f"no grammar can enforce it: {finding.reason}", "Remove it from the schema.")
    return ResponseFormat(compiled, json.dumps(schema))


def _text_grammar(option: Mapping[str, Any]) -> grammar.CompiledGrammar:
    """Compile a format of text that is not JSON. Raises RequestError."""
    choices, pattern = option.get("choices"), option.get("pattern")
    if option["type"] == "choice":
        if not isinstance(choices, list) or not choices or not all(isinstance(text, str) and text for text in choices):
            raise RequestError("response_format.choices", "must be a list of texts, none of them empty")
        return grammar.compile_choices(choices)
    if not isinstance(pattern, str):
        raise RequestError("response_format.pattern", "must be a regular expression that matches the whole text")
    try:
        return grammar.compile_regex(pattern)
    except SchemaError as error:
        raise RequestError("response_format.pattern", error.reason, error.hint) from None


def _opened(schema: dict[str, Any], _: FieldPath) -> dict[str, Any]:
    """Allow undeclared properties where the schema does not mention them."""
    is_object = "properties" in schema or "patternProperties" in schema
    is_silent = not schema.keys() & {"additionalProperties", "unevaluatedProperties"}
    return {**schema, "additionalProperties": True} if is_object and is_silent else schema


def _format_option(options: ChatOptions) -> Mapping[str, Any] | None:
    option: Any = options.get("response_format")
    if option is None:
        return None
    if not isinstance(option, Mapping):
        reason = f"must be an object such as {{'type': 'json_object'}}, not {type(option).__name__}"
        raise RequestError("response_format", reason)
    option = without_nulls(option)
    return None if option.get("type", "text" if not option else "") == "text" else option
