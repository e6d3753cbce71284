"""What a chat's options mean: sampling over the family's own, stop strings, and answers in a form of the caller's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from typing_extensions import TypedDict

from edgefc import grammar
from edgefc.engine import SamplingOptions, gbnf_grammar
from edgefc.errors import RequestError, SchemaError
from edgefc.formats import Family
from edgefc.types import Tools


class ChatOptions(TypedDict, total=False):
    """The options of `Model.chat` and `Model.run`, in OpenAI's spelling where it has one.

    tool_choice          "auto", "none", "required", one tool by name, or allowed_tools (OpenAI's objects)
    parallel_tool_calls  False: at most one call in an answer
    max_tokens           most tokens to generate; None: what the context has room for
    stop                 strings that end the answer and are not part of it
    temperature …        sampling; None: the family's recommendation, which is greedy for most
    seed                 makes sampling repeatable; None: drawn anew for each request
    logit_bias           token id → what is added to its logit
    logprobs             keep how likely each token was, and so many (0 to 20) of the likeliest: `reply.logprobs`
    thinking             False: a family that thinks before it answers is told not to
    response_format      what text must be, beside tools what the answer without calls is: OpenAI's json_object or
                         json_schema. Some families' text cannot be told from calls then, which is an error
    grammar              GBNF that an answer without tools must follow
    """

    tool_choice: str | Mapping[str, Any]
    parallel_tool_calls: bool
    max_tokens: int | None
    stop: str | Sequence[str]
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repeat_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    seed: int | None
    logit_bias: Mapping[int, float] | None
    logprobs: int | None
    thinking: bool | None
    response_format: Mapping[str, Any] | None
    grammar: str | None


def check_names(options: ChatOptions) -> None:
    """Raises TypeError for an option there is not, as Python does for a wrong keyword."""
    if unknown := options.keys() - ChatOptions.__annotations__.keys():
        raise TypeError(f"chat() got an unexpected keyword argument {min(unknown)!r}")


def sampling(options: ChatOptions, family: Family) -> SamplingOptions:
    """The family's recommended sampling with the caller's values over it. Raises RequestError."""
    values: dict[str, Any] = dict(family.sampling)
    for field in fields(SamplingOptions):
        if (given := options.get(field.name)) is not None:
            values[field.name] = given
    return SamplingOptions(**values)


def stop_strings(options: ChatOptions) -> tuple[str, ...]:
    """The caller's stop strings. Raises RequestError for an empty one."""
    stop = options.get("stop", ())
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(stops):
        raise RequestError("stop", "an empty stop string would end every answer at once")
    return stops


def answer_grammar(options: ChatOptions, tools: Tools) -> grammar.CompiledGrammar | None:
    """The grammar of an answer without tools that the caller wants in a form of its own, if it does.

    Raises RequestError, SchemaError or GrammarError.
    """
    gbnf, wanted = options.get("grammar"), _wanted_format(options)
    if gbnf is not None and (tools or wanted is not None):
        raise RequestError("grammar", "cannot be combined with tools or another grammar", "Ask for one at a time.")
    if gbnf is not None:
        return gbnf_grammar(gbnf)
    return None if wanted is None or tools else _response_grammar(wanted)[0]


def text_schema(options: ChatOptions) -> str:
    """The schema, as JSON, that text beside tools must satisfy; empty where none is wanted.

    Raises RequestError or SchemaError.
    """
    wanted = _wanted_format(options)
    return "" if wanted is None else json.dumps(_response_grammar(wanted)[1])


def _wanted_format(options: ChatOptions) -> Mapping[str, Any] | None:
    wanted = options.get("response_format")
    return None if wanted is None or wanted.get("type") == "text" else wanted


def _response_grammar(wanted: Mapping[str, Any]) -> tuple[grammar.CompiledGrammar, Any]:
    """The grammar of a response format alone, which shows that it can be had, and its schema."""
    place: tuple[str, ...] = ("response_format", "schema")
    schema = wanted.get("schema", {"type": "object"})
    if wanted.get("type") == "json_schema":
        place = ("response_format", "json_schema", "schema")
        inner = wanted.get("json_schema")
        if not isinstance(inner, Mapping) or "schema" not in inner:
            raise RequestError("response_format", "json_schema must be an object with a schema in it")
        schema = inner["schema"]
    elif wanted.get("type") != "json_object":
        raise RequestError(
            "response_format", f"its type is text, json_object or json_schema, not {wanted.get('type')!r}"
        )
    try:
        compiled = grammar.compile_schema(schema)
    except SchemaError as error:
        raise error.under(*place) from None
    if compiled.unenforced:
        finding = compiled.unenforced[0].under(*place)
        raise SchemaError(finding.path, f"no grammar enforces it: {finding.reason}", "Leave it out.")
    return compiled, schema
