"""Answers that are text although they contain JSON, code, tool names and calls that are only shown; all seeded.

`text_cases` fills about fifty templates, written for this purpose, with tools, their schemas and example calls.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ToolDict = Mapping[str, Any]

WORDS = (
    "Oslo",
    "Paris",
    "Lima",
    "blue mug",
    "order 66",
    "naïve",
    "日本",
    "report.pdf",
    'the "big" one',
    "C:\\temp",
    "🙂",
)
PEOPLE = ("Ann Lee", "Omar Díaz", "Yuki", "billing-service", "main", "nightly", "debate club")


def _tool(name: str, description: str, **properties: Any) -> dict[str, Any]:
    optional = [key for key in properties if key.endswith("_")]
    named = {key.rstrip("_"): schema for key, schema in properties.items()}
    parameters = {"type": "object", "properties": named, "required": [key for key in properties if key not in optional]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _string(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


NUMBER, COUNT, FLAG = {"type": "number"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "array", "items": {"type": "string"}}
# A name at the end may stand for an optional parameter: "unit_".
TOOLS = [
    _tool("get_weather", "Get the current weather", city=_string("City"), unit_=_one_of("celsius", "fahrenheit")),
    _tool("get_time", "Get the local time", city=_string("City name")),
    _tool("calculate", "Work out an expression", expression=_string("For example 17*23")),
    _tool("send_email", "Send an email", to=_string("Address"), subject=_string("Subject"), body_=_string("Text")),
    _tool("search", "Search the web", query=_string("Words"), limit_=COUNT),
    _tool("search.products", "Search the shop", query=_string("Words"), max_price_=NUMBER, in_stock_=FLAG),
    _tool("create-ticket", "Open a ticket", title=_string("Title"), labels_=TEXTS, priority=_one_of("low", "high")),
    _tool("db:query", "Run a read-only query", sql=_string("SQL"), timeout_=COUNT),
    _tool("translate", "Translate a text", text=_string("Text"), target=_one_of("de", "fr", "ja")),
    _tool("bookFlight", "Book a flight", origin=_string("From"), destination=_string("To"), passengers=COUNT),
    _tool("set_alarm", "Set an alarm", hour=COUNT, minute=COUNT, days_=TEXTS),
    _tool("move", "Move a robot", x=NUMBER, y=NUMBER),
    _tool("list_files", "List a folder"),
    _tool("read", "Read a file", path=_string("Path")),
    _tool("convert_currency", "Convert money", amount=NUMBER, source=_string("Code"), target=_string("Code")),
    _tool(
        "plan_route",
        "Plan a route",
        start={"type": "object", "properties": {"lat": NUMBER, "lon": NUMBER}, "required": ["lat", "lon"]},
        stops_={"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
    ),
]

_rng = random.Random(3)
TOOL_SETS = [_rng.sample(TOOLS, _rng.randrange(2, 6)) for _ in range(200)]


@dataclass(frozen=True, slots=True)
class TextCase:
    """An answer to a request with these tools that is all text; `kind` is the template."""

    kind: str
    tools: Sequence[ToolDict]
    text: str


def example(rng: random.Random, schema: Mapping[str, Any]) -> Any:
    """Return a value of a schema's type."""
    if "enum" in schema:
        return rng.choice(schema["enum"])
    match schema.get("type"):
        case "integer":
            return rng.randrange(100)
        case "number":
            return rng.choice([0.5, 3, 12.25, -7])
        case "boolean":
            return rng.random() < 0.5
        case "array":
            return [example(rng, schema.get("items", {})) for _ in range(rng.randrange(1, 3))]
        case "object":
            required = schema.get("required", ())
            properties = schema.get("properties", {}).items()
            return {key: example(rng, value) for key, value in properties if key in required or rng.random() < 0.4}
    return rng.choice(WORDS)


class Fill:
    """The pieces of one answer: a request's tools, one of them with its schema, and example arguments for it."""

    def __init__(self, rng: random.Random, tools: Sequence[ToolDict]) -> None:
        self.rng, self.tools = rng, tools
        self.function: Mapping[str, Any] = rng.choice(tools)["function"]
        self.name: str = self.function["name"]
        self.schema: Mapping[str, Any] = self.function.get("parameters", {"type": "object"})
        self.arguments: dict[str, Any] = example(rng, {"type": "object", **self.schema})
        self.names = [tool["function"]["name"] for tool in tools]
        self.other = next((name for name in self.names if name != self.name), "no other tool")
        self.parameter = next(iter(self.schema.get("properties", {})), "nothing")

    def json(self, value: Any, *, indent: int | None = None) -> str:
        """Write JSON in one of the usual ways, or with this indentation."""
        if indent is not None:
            return json.dumps(value, ensure_ascii=False, indent=indent)
        form: dict[str, Any] = self.rng.choice([{}, {"separators": (",", ":")}, {"indent": 2}])
        return json.dumps(value, ensure_ascii=False, **form)

    def inline(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    def call(self, name: str | None = None) -> dict[str, Any]:
        """Return a call as models write it."""
        key = self.rng.choice(["arguments", "arguments", "parameters"])
        return {"name": name or self.name, key: self.arguments}

    def python(self, name: str | None = None) -> str:
        """Return a call in Python, for any name."""
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"{(name or self.name).replace('-', '_').replace(':', '_')}({arguments})"

    def fence(self, text: str, words: Sequence[str] = ("json", "json", "")) -> str:
        return f"```{self.rng.choice(words)}\n{text}\n```"

    def pick(self, *values: str) -> str:
        return self.rng.choice(values)


# -- quoted calls, in explanations -------------------------------------------------------------------------------------


def inline_call(fill: Fill) -> str:
    return (
        f"{fill.pick('Once you confirm, I', 'To answer that, I', 'As a next step, one')} would send "
        f"`{fill.inline(fill.call())}` to the tool, and it would answer within a second."
    )


def inline_python(fill: Fill) -> str:
    return f"You could run `{fill.python()}` yourself; the value of `{fill.parameter}` decides what comes back."


def call_after_for_example(fill: Fill) -> str:
    lead = fill.pick("for example", "e.g.", "for instance:", "such as")
    return f"The tool {fill.name} takes one JSON object, {lead} {fill.inline(fill.call())}, and returns text."


def call_in_mid_sentence(fill: Fill) -> str:
    return f"When a message is {fill.inline(fill.call())} the client runs `{fill.name}` and appends its result."


def call_in_parentheses(fill: Fill) -> str:
    return f"I did not call anything ({fill.inline(fill.call())} would be wrong here), because {fill.parameter} is missing."


def call_in_block_quote(fill: Fill) -> str:
    quoted = "\n".join(f"> {line}" for line in fill.json(fill.call()).splitlines())
    return f"Earlier in our conversation you wrote:\n\n{quoted}\n\nThat call is valid, but it was never run."


def quote_first(fill: Fill) -> str:
    quoted = "\n".join(f"> {line}" for line in fill.json(fill.call()).splitlines())
    return f"{quoted}\n\nThis is how the documentation of {fill.name} shows a call."


def call_in_numbered_list(fill: Fill) -> str:
    return (
        f"1. Ask for {fill.parameter}.\n2. Write {fill.inline(fill.call())}.\n"
        f"3. Wait for the result of `{fill.name}`.\n4. Answer."
    )


def numbered_call_first(fill: Fill) -> str:
    return (
        f"1. {fill.inline(fill.call())} is what a call looks like.\n2. {fill.inline({})} is what an empty one returns."
    )


def fence_amid_explanation(fill: Fill) -> str:
    return (
        f"There are two things to know about {fill.name}. It needs {fill.parameter}, and it never changes anything on "
        "your machine, so it can be repeated.\n\nThe documentation shows the following request, which I have not sent, "
        f"and explains each of its members below.\n\n{fill.fence(fill.json(fill.call()))}\n\n"
        f"Here `{fill.parameter}` is only an example value. {fill.pick('Do you want me to send it?', 'Replace it first.')}"
    )


def fence_in_a_list(fill: Fill) -> str:
    indented = "\n".join(f"   {line}" for line in fill.fence(fill.json(fill.call(), indent=2), ["json"]).splitlines())
    return f"- A request has a name and arguments:\n\n{indented}\n\n- A response has a status."


def do_not_write(fill: Fill) -> str:
    return f"Never answer with {fill.inline(fill.call())} when {fill.parameter} is unknown; ask for it instead."


def german(fill: Fill) -> str:
    return f"Ein Aufruf sähe so aus: {fill.inline(fill.call())}. Soll ich {fill.name} wirklich aufrufen? „Ja“ genügt."


def japanese(fill: Fill) -> str:
    return f"例えば {fill.inline(fill.call())} のように書きます。{fill.name} はまだ呼び出していません。"


def html_code(fill: Fill) -> str:
    return f"In the page it is escaped: <code>{fill.inline(fill.call())}</code> (see {fill.name})."


def table_of_calls(fill: Fill) -> str:
    return f"| tool | example |\n|---|---|\n| {fill.name} | `{fill.inline(fill.call())}` |\n| {fill.other} | – |"


# -- tools, named and described ----------------------------------------------------------------------------------------


def names_in_a_sentence(fill: Fill) -> str:
    listed = ", ".join(f"`{name}`" for name in fill.names)
    return f"None of my tools ({listed}) can do that. {fill.name} only knows {fill.parameter}."


def question_back(fill: Fill) -> str:
    return f"Which {fill.parameter} do you mean? {fill.name} needs it."


def name_first(fill: Fill) -> str:
    return f"{fill.name} is the right tool for this, but it needs {fill.parameter}: {fill.inline(fill.arguments)} will not do."


def bullets(fill: Fill) -> str:
    lines = (f"- **{tool['function']['name']}**: {tool['function'].get('description', '')}" for tool in fill.tools)
    return "I can use these tools:\n\n" + "\n".join(lines)


def schema_echo(fill: Fill) -> str:
    return fill.json({"type": "function", "function": dict(fill.function)})


def schema_echo_in_fence(fill: Fill) -> str:
    return fill.fence(schema_echo(fill)) + f"\n\nThat is the definition of {fill.name}."


def function_echo(fill: Fill) -> str:
    function = {"name": fill.name, "description": fill.function.get("description", ""), "parameters": fill.schema}
    return fill.pick("", "Definition: ") + fill.json(function)


def schemas_echo(fill: Fill) -> str:
    echo = fill.json([dict(tool) for tool in fill.tools])
    return fill.pick(echo, fill.fence(echo), f"<tools>\n{echo}\n</tools>")


def tools_tag_echo(fill: Fill) -> str:
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in fill.tools)
    return f"<tools>\n{lines}\n</tools>"


def parameters_schema(fill: Fill) -> str:
    return fill.json({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": fill.name, **fill.schema})


def names_as_json(fill: Fill) -> str:
    return fill.json({"tools": fill.names, "default": fill.name, "count": len(fill.names)})


def names_list(fill: Fill) -> str:
    return fill.pick(fill.json(fill.names), fill.fence(fill.json(fill.names)))


def name_as_key(fill: Fill) -> str:
    return fill.json({fill.name: {"enabled": True, "limit": fill.rng.randrange(9)}, "other": None})


def log_line(fill: Fill) -> str:
    lines = ({"name": fill.name, "ms": fill.rng.randrange(999), "ok": True} for _ in range(fill.rng.randrange(1, 4)))
    return "\n".join(map(json.dumps, lines))


def function_status(fill: Fill) -> str:
    key = fill.pick("function", "tool")
    return fill.json({key: fill.name, "status": fill.pick("deprecated", "not needed"), "arguments_seen": 0})


def placeholder(fill: Fill) -> str:
    return fill.pick(
        '{"name": <function-name>, "arguments": <args-json-object>}',
        f'{{"name": "{fill.names[0]}", "arguments": …}}',
        f'{{"name": "{fill.names[0]}", "arguments": <object>}} is the form of a call.',
        f'{{"name": "{fill.names[0]}", ...}}',
        '{"name": "...", "arguments": {...}}',
    )


# -- JSON of other things ----------------------------------------------------------------------------------------------


def package_config(fill: Fill) -> str:
    config = {"name": fill.pick(*PEOPLE), "version": "1.2.0", "scripts": {"test": fill.names[0]}}
    return fill.fence(fill.json(config)) + "\n\nSave this as `package.json`."


def other_name(fill: Fill) -> str:
    key = fill.pick("arguments", "parameters")
    value = fill.json({"name": fill.pick(*PEOPLE), key: fill.arguments})
    return fill.pick(value, fill.fence(value))


def similar_name(fill: Fill) -> str:
    name = fill.pick(
        f"{fill.name}_v2", fill.name[:-1] or "x", f"my_{fill.name}", fill.name.upper() + "_", f" {fill.name}"
    )
    value = fill.json(fill.call("unknown tool" if name in fill.names else name))
    return fill.pick(value, fill.fence(value), f"[{value}]")


def api_response(fill: Fill) -> str:
    rows = [{"id": number, "name": fill.pick(*PEOPLE), "tool": fill.name} for number in range(fill.rng.randrange(1, 4))]
    return fill.pick("The server returned ", "", "Result:\n") + fill.json({"data": rows, "next": None})


def people_list(fill: Fill) -> str:
    rows = [{"name": fill.pick(*PEOPLE), "age": fill.rng.randrange(90)} for _ in range(3)]
    return fill.pick(fill.json(rows), fill.fence(fill.json(rows)))


def result_in_a_sentence(fill: Fill) -> str:
    return f"{fill.name} returned {fill.inline({'ok': True, 'input': fill.arguments})}, so everything is fine."


def chat_transcript(fill: Fill) -> str:
    function = {"name": fill.name, "arguments": json.dumps(fill.arguments, ensure_ascii=False)}
    call = {"id": "call_1", "type": "function", "function": function}
    return fill.json({"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]})


def json_rpc(fill: Fill) -> str:
    params = {"name": fill.name, "arguments": fill.arguments}
    value = fill.json({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    return fill.pick(value, fill.fence(value), f"An MCP client sends\n\n{fill.fence(value)}")


def open_api(fill: Fill) -> str:
    return fill.json(
        {"paths": {f"/{fill.name}": {"post": {"operationId": fill.name, "requestBody": dict(fill.schema)}}}}
    )


def training_line(fill: Fill) -> str:
    return json.dumps({"prompt": "…", "completion": json.dumps(fill.call()), "tool": fill.name}, ensure_ascii=False)


def bare_arguments(fill: Fill) -> str:
    return f"{fill.json(fill.arguments)}\n\nThese would be the arguments of {fill.name}."


def broken_json(fill: Fill) -> str:
    return f'{{"error": "unexpected token", "at": "{fill.pick("[", "{", "```")}", "hint": {fill.name}}}'


# -- code --------------------------------------------------------------------------------------------------------------


def python_definition(fill: Fill) -> str:
    name = fill.python().partition("(")[0]
    return fill.fence(f"def {name}({fill.parameter}):\n    return {{'{fill.parameter}': {fill.parameter}}}", ["python"])


def python_program(fill: Fill) -> str:
    code = f"import tools\n\nfor _ in range(3):\n    result = tools.{fill.python()}\n    print(result['name'])"
    return fill.fence(code, ["python", "py"]) + f"\n\nThe loop calls `{fill.name}` three times."


def python_session(fill: Fill) -> str:
    return f"```pycon\n>>> {fill.python()}\n{fill.inline(fill.arguments)}\n>>> exit()\n```"


def shell(fill: Fill) -> str:
    return fill.fence(
        f"curl -s https://example.org/{fill.name} -d '{fill.inline(fill.call())}' | jq .name", ["bash", "sh"]
    )


def javascript(fill: Fill) -> str:
    code = f"const call = {fill.inline(fill.call())};\nawait run(call.name, call.arguments);"
    return fill.pick("", "In the browser:\n\n") + fill.fence(code, ["js", "javascript"])


def yaml(fill: Fill) -> str:
    return fill.fence(f"name: {fill.name}\narguments:\n  {fill.parameter}: {fill.pick(*WORDS)!r}", ["yaml"])


def xml(fill: Fill) -> str:
    tag = fill.pick("tools", "function_calls", "function_call", "tool")
    return fill.fence(f'<{tag}>\n  <entry name="{fill.names[0]}" />\n</{tag}>', ["xml"])


def diff(fill: Fill) -> str:
    return fill.fence(f"- {fill.inline(fill.call('old_name'))}\n+ {fill.inline(fill.call())}", ["diff"])


def tags_in_prose(fill: Fill) -> str:
    tag = fill.pick("tool_call", "tools", "function_call", "tool", "function_calls")
    return (
        f"Calls stand between <{tag}> and </{tag}>; {fill.name} has not been called yet. <{tag}> alone means nothing."
    )


def tag_first(fill: Fill) -> str:
    tag = fill.pick("tools", "function_call", "tool", "function_calls")
    return f"<{tag}> is the tag that some models write before {fill.inline(fill.call())}."


KINDS: tuple[Callable[[Fill], str], ...] = (
    inline_call, inline_python, call_after_for_example, call_in_mid_sentence, call_in_parentheses, call_in_block_quote,
    quote_first, call_in_numbered_list, numbered_call_first, fence_amid_explanation, fence_in_a_list, do_not_write,
    german, japanese, html_code, table_of_calls, names_in_a_sentence, question_back, name_first, bullets, schema_echo,
    schema_echo_in_fence, function_echo, schemas_echo, tools_tag_echo, parameters_schema, names_as_json, names_list,
    name_as_key, log_line, function_status, placeholder, package_config, other_name, similar_name, api_response,
    people_list, result_in_a_sentence, chat_transcript, json_rpc, open_api, training_line, bare_arguments, broken_json,
    python_definition, python_program, python_session, shell, javascript, yaml, xml, diff, tags_in_prose, tag_first,
)  # fmt: skip


def text_cases(count: int, tool_sets: Sequence[Sequence[ToolDict]], seed: int = 16) -> list[TextCase]:
    """Return answers of all kinds, each to a request with one of these sets of tools."""
    rng, cases = random.Random(seed), []
    for number in range(count):
        kind, tools = KINDS[number % len(KINDS)], rng.choice(tool_sets)
        cases.append(TextCase(kind.__name__, tools, kind(Fill(rng, tools))))
    return cases


def pieces(rng: random.Random, text: str) -> list[str]:
    """Cut a text at random, as it comes from a model."""
    cut, start = [], 0
    while start < len(text):
        end = start + rng.randrange(1, 24)
        cut.append(text[start:end])
        start = end
    return cut
