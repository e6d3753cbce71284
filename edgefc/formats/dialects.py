"""Tool dialects: the ways families spell a tool list inside the prompt.

A dialect is a pure function from OpenAI tools or messages to text or JSON. Chat templates call it as a Jinja filter of
the same name. A dialect never changes the meaning of a schema: the grammar enforces what a dialect cannot express.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

_SPACES = str.maketrans({"\n": " ", "\r": " ", "\t": " "})


def outline(tools: Sequence[Mapping[str, Any]] | None) -> str:
    """Return the demo family's tool list: one line per tool, one indented line per parameter.

    `get_weather: Get the current weather`
    `  location (string): The city`
    `  unit ("celsius"|"fahrenheit", optional): The unit`

    It takes about a third of the tokens of the JSON schema, which matters most to a very small model.
    """
    lines: list[str] = []
    for function in functions(tools):
        lines.append(_with_description(str(function["name"]), function))
        parameters = function.get("parameters") or {}
        required = set(parameters.get("required") or ())
        for name, schema in (parameters.get("properties") or {}).items():
            optional = "" if name in required else ", optional"
            kind = _outline_type(schema, depth=0)
            lines.append(_with_description(f"  {name} ({kind}{optional})", schema))
    return "\n".join(lines)


def functions(tools: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """Return the bare function objects of tools."""
    return [dict(tool.get("function", tool)) for tool in tools or ()]


def concise(tools: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """Return xLAM's tool list: name, description, and the properties of the parameters without their schema."""
    return [
        {
            "name": function["name"],
            "description": function.get("description") or "",
            "parameters": (function.get("parameters") or {}).get("properties") or {},
        }
        for function in functions(tools)
    ]


def hammer(tools: Sequence[Mapping[str, Any]] | None, *, flat: bool = False) -> list[dict[str, Any]]:
    """Return Hammer's tool list: the concise one, with `required` and the default written into each parameter.

    flat  a parameter that is an object becomes the mapping of its properties (Hammer 2.0 and 2.1)

    The caller's schemas stay as they are. Source: MadeAgents' converter, and BFCL's Hammer handler.
    """
    listed = copy.deepcopy(concise(tools))
    for function, tool in zip(functions(tools), listed, strict=True):
        parameters = tool["parameters"]
        for name, schema in parameters.items() if flat else ():
            if isinstance(schema, dict) and isinstance(schema.get("properties"), dict):
                parameters[name] = schema["properties"]
                _mark_required(parameters[name], schema.get("required"))
        _mark_required(parameters, (function.get("parameters") or {}).get("required"))
        for schema in parameters.values():
            if isinstance(schema, dict) and "default" in schema and isinstance(schema.get("description", ""), str):
                schema["description"] = schema.get("description", "") + f"default is '{schema['default']}'"
    return listed


def _mark_required(parameters: dict[str, Any], names: Any) -> None:
    for name in names if isinstance(names, list) else ():
        if isinstance(parameters.get(name), dict):
            parameters[name]["required"] = True


def hermes_signatures(tools: Sequence[Mapping[str, Any]] | None) -> str:
    """Return the tool list of Hermes 2 Pro and Hermes 3: descriptions begin with the function's Python signature."""
    return "\n".join(map(_hermes_tool, functions(tools)))


def _hermes_tool(function: Mapping[str, Any]) -> str:
    parameters = function.get("parameters") or {}
    properties = parameters.get("properties") or {}
    signature = ", ".join(f"{name}: {_python_type(schema)}" for name, schema in properties.items())
    lines = "".join(
        f"        {name}({_python_type(schema)}): {str(schema.get('description', '')).strip()}"
        for name, schema in properties.items()
    )
    summary = f"{function['name']}({signature}) - {function.get('description') or ''}\n\n"
    args = f"    Args:\n{lines}" if properties else ""
    schema = json.dumps(parameters, ensure_ascii=False) if properties else "{}"
    head = f'{{"type": "function", "function": {{"name": "{function["name"]}", "description": "{summary}{args}"'
    return f'{head}, "parameters": {schema}}}'


def _python_type(schema: Any, depth: int = 0) -> str:
    """Return a schema's type as those templates write it: array items and untyped schemas are `Union[]`."""
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if kind is None or depth > 16:
        return "Union[]"
    basic = {"string": "str", "number": "float", "integer": "int", "boolean": "bool"}
    if isinstance(kind, list):
        return f"Union[{','.join(_python_type({'type': one}, depth + 1) for one in kind)}]"
    if kind == "array":
        return "list[Union[]]"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return "dict" if inner is None else f"dict[str, {_python_type(inner, depth + 1)}]"
    return basic.get(str(kind), "Any")


def history_steps(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return xLAM-r's history: each turn of user and assistant is a step, with the tool results that followed it."""
    steps: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "tool" and steps:
            earlier = steps[-1]["next_observation"]
            steps[-1]["next_observation"] = f"{earlier}\n{message['content']}" if earlier else message["content"]
        elif message["role"] in {"user", "assistant"}:
            calls = message.get("tool_calls") or ()
            steps.append(
                {
                    "step_id": len(steps) + 1,
                    "thought": message["content"],
                    "tool_calls": [{"name": call["name"], "arguments": call["arguments_text"]} for call in calls],
                    "next_observation": "",
                    "user_input": message["content"] if message["role"] == "user" else "",
                }
            )
    return steps


def narrated(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return a conversation as one query, for models that were trained on single questions.

    Past calls are described in the first person: transcripts with roles make such models stop at once.
    """
    lines: list[str] = []
    calls: list[Mapping[str, Any]] = []
    for message in messages:
        if message["role"] == "assistant":
            calls = list(message.get("tool_calls") or ())
            if message["content"]:
                lines.append(f"You answered: {message['content']}")
        elif message["role"] == "tool":
            call = calls.pop(0) if calls else {"name": message["name"], "arguments_text": "{}"}
            lines.append(f"I called {call['name']} with {call['arguments_text']}. It returned: {message['content']}")
        else:
            lines.append(message["content"])
    if messages and messages[-1]["role"] == "tool":
        lines.append("Continue with what is left to do.")
    return "\n".join(lines)


def xml_tools(tools: Sequence[Mapping[str, Any]] | None, *, is_nemotron: bool = False) -> str:
    """Return the tool list of Qwen3-Coder or Nemotron 3: a function's keys, and those of its parameters, in tags.

    Nemotron writes a parameter's `enum` before other keys, and the function's `required` after them.
    """
    return "".join(_xml_tool(function, is_nemotron) for function in functions(tools))


def _xml_tool(function: Mapping[str, Any], is_nemotron: bool) -> str:
    parameters = function.get("parameters")
    schema: Mapping[str, Any] = parameters if isinstance(parameters, Mapping) else {}
    properties = schema.get("properties")
    lines = [f"<name>{function['name']}</name>"]
    if "description" in function:
        lines.append(f"<description>{str(function['description']).strip()}</description>")
    lines.append("<parameters>")
    for name, facts in properties.items() if isinstance(properties, Mapping) else ():
        lines += ["<parameter>", f"<name>{name}</name>", *_xml_parameter(facts, is_nemotron), "</parameter>"]
    lines += _xml_keys(schema, {"type", "properties", *(["required"] if is_nemotron else [])})
    if is_nemotron and "required" in schema:
        lines.append(_xml_key("required", schema["required"]))
    lines += ["</parameters>", *_xml_keys(function, {"type", "name", "description", "parameters"})]
    return "\n" + "\n".join(["<function>", *lines, "</function>"])


def _xml_parameter(facts: Any, is_nemotron: bool) -> list[str]:
    if not isinstance(facts, Mapping):
        return []
    lines = [f"<type>{facts['type']}</type>"] if "type" in facts else []
    if "description" in facts:
        lines.append(f"<description>{str(facts['description']).strip()}</description>")
    if is_nemotron and "enum" in facts:
        lines.append(_xml_key("enum", facts["enum"]))
    return lines + _xml_keys(facts, {"name", "type", "description", *(["enum"] if is_nemotron else [])})


def _xml_keys(facts: Mapping[str, Any], left_out: set[str]) -> list[str]:
    return [_xml_key(name, value) for name, value in facts.items() if name not in left_out]


def _xml_key(name: str, value: Any) -> str:
    is_json = isinstance(value, Mapping | list)
    return f"<{name}>{json.dumps(value, ensure_ascii=False) if is_json else value}</{name}>"


def _with_description(head: str, schema: Any) -> str:
    text = schema.get("description") if isinstance(schema, Mapping) else None
    return f"{head}: {str(text).translate(_SPACES).strip()}" if text else head


def _outline_type(schema: Any, depth: int) -> str:
    """Return a schema's type in a few characters, `any` where there is no short form."""
    if not isinstance(schema, Mapping) or depth > 8:
        return "any"
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if isinstance(schema.get("enum"), list):
        return "|".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    for keyword in ("anyOf", "oneOf"):
        if isinstance(schema.get(keyword), list):
            return "|".join(_outline_type(branch, depth + 1) for branch in schema[keyword])
    kind = schema.get("type")
    if isinstance(kind, list):
        return "|".join(str(item) for item in kind)
    if kind == "array":
        item = _outline_type(schema.get("items"), depth + 1)
        return f"({item})[]" if "|" in item else f"{item}[]"
    if kind == "object" and isinstance(schema.get("properties"), Mapping):
        required = set(schema.get("required") or ())
        fields = (
            f"{name}{'' if name in required else '?'}: {_outline_type(value, depth + 1)}"
            for name, value in schema["properties"].items()
        )
        return "{" + ", ".join(fields) + "}"
    return str(kind) if kind else "any"
