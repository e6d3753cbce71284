"""edgefc as a server: tools by which a larger agent hands work to a small local model.

call_tools  a question or messages, and tools → the calls, valid by the tools' schemas, which are not run
extract     a text and a JSON schema → data that are valid by the schema
lint_tools  tools → mistakes, keywords that no grammar enforces, and costs
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol

import mcp_types
from mcp.server.lowlevel.server import Server
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgefc._version import __version__
from edgefc.chat.reply import Reply
from edgefc.errors import EdgefcError, RequestError
from edgefc.limits import MAX_TOOLS

INSTRUCTIONS = (
    "A small model on this machine. It chooses calls of your tools without running them, and fills in JSON schemas "
    "from text; what it returns is always valid by the schemas."
)
EXTRACT = "extract_data"
EXTRACT_TASK = "Record the data that the text states."


class Delegate(Protocol):
    """The models that answer, and the check of tools."""

    @property
    def models(self) -> Sequence[str]:
        """Return the names of the models; the first one answers unless a request names another."""

    async def chat(self, body: dict[str, Any]) -> Reply:
        """Answer a request in the form of OpenAI's chat completions. Raises EdgefcError."""

    async def lint(self, tools: list[dict[str, Any]]) -> dict[str, Any]:
        """Return `ok` and a report on each tool. Raises EdgefcError."""


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


_Tools = Annotated[
    list[dict[str, Any]],
    Field(
        min_length=1,
        max_length=MAX_TOOLS,
        description="Tools, in the form of OpenAI, MCP or Anthropic: name, description and JSON schema of parameters",
    ),
]
_Model = Annotated[str | None, Field(description="A model's name. Default: the first one")]
_MaxTokens = Annotated[int | None, Field(ge=1, description="Limit of the answer, in tokens")]
_Temperature = Annotated[float, Field(ge=0, le=100, description="0: the likeliest answer")]


class CallToolsArguments(_Arguments):
    """The arguments of call_tools."""

    tools: _Tools
    question: Annotated[str | None, Field(description="A question or task. Alternative: messages")] = None
    messages: Annotated[
        list[dict[str, Any]] | None,
        Field(
            min_length=1, description="A conversation in the form of OpenAI's chat completions. Alternative: question"
        ),
    ] = None
    tool_choice: Annotated[
        str, Field(description="auto: calls or text; required: calls; or the name of the tool to call")
    ] = "auto"
    parallel_tool_calls: Annotated[bool, Field(description="Whether there may be more than one call")] = True
    temperature: _Temperature = 0.0
    max_tokens: _MaxTokens = None
    model: _Model = None

    def body(self) -> dict[str, Any]:
        """Return the request. Raises RequestError."""
        if (self.question is None) == (self.messages is None):
            raise RequestError("question", "must be given, or messages, and not both")
        choice: Any = self.tool_choice
        if choice not in {"auto", "required", "none"}:
            choice = {"type": "function", "function": {"name": choice}}
        return {
            "messages": self.messages or [{"role": "user", "content": self.question}],
            "tools": self.tools,
            "tool_choice": choice,
            **_options(self.temperature, self.max_tokens, self.model),
            **({} if self.parallel_tool_calls else {"parallel_tool_calls": False}),
        }


class ExtractArguments(_Arguments):
    """The arguments of extract."""

    text: Annotated[str, Field(description="The text that has the data")]
    json_schema: Annotated[dict[str, Any], Field(alias="schema", description="JSON schema of the data")]
    instruction: Annotated[str | None, Field(description="Which data, in words, if the schema does not say it")] = None
    temperature: _Temperature = 0.0
    max_tokens: _MaxTokens = None
    model: _Model = None

    @property
    def is_wrapped(self) -> bool:
        """True for a schema of something else than an object, which no tool's parameters can be."""
        return self.json_schema.get("type", "object" if "properties" in self.json_schema else None) != "object"

    def body(self) -> dict[str, Any]:
        """Return the request: a call that must be made, because models are trained to fill in calls."""
        schema: dict[str, Any] = self.json_schema
        if self.is_wrapped:
            inner = {name: value for name, value in schema.items() if name not in {"$defs", "definitions", "$schema"}}
            outer: dict[str, Any] = {
                name: schema[name] for name in ("$defs", "definitions", "$schema") if name in schema
            }
            schema = {"type": "object", "properties": {"data": inner}, "required": ["data"], **outer}
        task = self.instruction or EXTRACT_TASK
        function = {"name": EXTRACT, "description": task, "parameters": schema}
        return {
            "messages": [{"role": "user", "content": f"{task}\n\n{self.text}"}],
            "tools": [{"type": "function", "function": function}],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            **_options(self.temperature, self.max_tokens, self.model),
        }


class LintArguments(_Arguments):
    """The arguments of lint_tools."""

    tools: _Tools


def _options(temperature: float, max_tokens: int | None, model: str | None) -> dict[str, Any]:
    options = {"temperature": temperature, "max_tokens": max_tokens, "model": model}
    return {name: value for name, value in options.items() if value is not None}


class _Handlers:
    """The tools of one server."""

    def __init__(self, delegate: Delegate) -> None:
        self._delegate = delegate
        self._handlers: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "call_tools": self._call_tools,
            "extract": self._extract,
            "lint_tools": self._lint_tools,
        }

    async def list_tools(self, _context: Any, _params: Any) -> mcp_types.ListToolsResult:
        return mcp_types.ListToolsResult(tools=_listed(self._delegate.models))

    async def call_tool(self, _context: Any, params: mcp_types.CallToolRequestParams) -> mcp_types.CallToolResult:
        """Run a tool. Whatever is wrong with the arguments is a result that the caller's model can read."""
        handler = self._handlers.get(params.name)
        if handler is None:
            return _failure(f"unknown tool {params.name!r}; known: {', '.join(self._handlers)}")
        try:
            content = await handler(params.arguments or {})
        except ValidationError as error:
            from edgefc.tools.json_types import describe

            return _failure(f"wrong arguments: {describe(error)}")
        except EdgefcError as error:
            return _failure(str(error))
        text = mcp_types.TextContent(type="text", text=json.dumps(content, ensure_ascii=False))
        return mcp_types.CallToolResult(content=[text], structured_content=content)

    async def _call_tools(self, arguments: dict[str, Any]) -> dict[str, Any]:
        reply = await self._delegate.chat(CallToolsArguments.model_validate(arguments).body())
        calls = [{"name": call.name, "arguments": call.arguments} for call in reply.calls]
        return {
            "outcome": reply.outcome,
            "calls": calls,
            "content": reply.content,
            "missing": list(reply.missing),
            "is_cut": reply.is_cut,
        }

    async def _extract(self, arguments: dict[str, Any]) -> dict[str, Any]:
        request = ExtractArguments.model_validate(arguments)
        reply = await self._delegate.chat(request.body())
        if not reply.calls:
            number = reply.usage["completion_tokens"]
            cut = f"cut off after {number} {'token' if number == 1 else 'tokens'}: the limit of an answer"
            raise RequestError("max_tokens", cut, "Raise it, or ask for less.")
        found = reply.calls[0].arguments
        return {"data": found["data"] if request.is_wrapped else found}

    async def _lint_tools(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return await self._delegate.lint(LintArguments.model_validate(arguments).tools)


def new_server(delegate: Delegate) -> Server[Any]:
    """Return a server of the SDK, for any of its transports."""
    handlers = _Handlers(delegate)
    return Server(
        "edgefc",
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
    )


def _listed(models: Sequence[str]) -> list[mcp_types.Tool]:
    """Return the definitions of the tools; the name of a model is a parameter where there are several."""
    text = {"type": "string"}
    calls = {
        "type": "array",
        "items": {"type": "object", "properties": {"name": text, "arguments": {"type": "object"}}},
    }
    outcomes = ["call", "answer", "clarify", "no_tool", "length", "unsure"]
    called = {
        "outcome": {"enum": outcomes},
        "calls": calls,
        "content": text,
        "missing": {"type": "array", "items": text},
        "is_cut": {"type": "boolean"},
    }
    return [
        _tool(
            "call_tools",
            "Let a small local model choose calls of the given tools for a question. The calls are valid by the tools' "
            "schemas and are not run: run them yourself.",
            _schema_of(CallToolsArguments, models),
            {"type": "object", "properties": called, "required": list(called)},
        ),
        _tool(
            "extract",
            "Let a small local model extract data from a text. The data are valid by the given JSON schema.",
            _schema_of(ExtractArguments, models),
            {"type": "object", "properties": {"data": {}}, "required": ["data"]},
        ),
        _tool(
            "lint_tools",
            "Check definitions of tools without a model: mistakes, keywords of their schemas that no grammar enforces, "
            "sizes.",
            _schema_of(LintArguments, ()),
            {"type": "object", "properties": {"ok": {"type": "boolean"}, "tools": {"type": "array"}}},
        ),
    ]


def _tool(name: str, description: str, schema: dict[str, Any], output: dict[str, Any]) -> mcp_types.Tool:
    hints = mcp_types.ToolAnnotations(read_only_hint=True, open_world_hint=False)
    return mcp_types.Tool(
        name=name, description=description, input_schema=schema, output_schema=output, annotations=hints
    )


def _schema_of(arguments: type[BaseModel], models: Sequence[str]) -> dict[str, Any]:
    schema = arguments.model_json_schema(by_alias=True)
    del schema["title"], schema["description"]
    for field in schema["properties"].values():
        field.pop("title", None)
        _simplify(field)
    if len(models) > 1:
        schema["properties"]["model"] |= {"enum": list(models)}
    else:
        schema["properties"].pop("model", None)
    return schema


def _simplify(field: dict[str, Any]) -> None:
    """Write an optional field as one that may be left out; null says no more."""
    kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        del field["anyOf"]
        field.update(kinds[0])
    if field.get("default", 0) is None:
        del field["default"]


def _failure(reason: str) -> mcp_types.CallToolResult:
    return mcp_types.CallToolResult(content=[mcp_types.TextContent(type="text", text=reason)], is_error=True)


def without_model(body: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return a request without the name of its model. Raises RequestError for an unknown one."""
    name = body.get("model")
    if name is not None and name not in names:
        raise RequestError("model", f"unknown model {name!r}", f"There is {', '.join(names)}.")
    return {key: value for key, value in body.items() if key != "model"}
