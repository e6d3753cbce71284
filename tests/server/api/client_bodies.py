"""Request bodies in the shapes of today's clients, written for these tests: path and body by client."""

from __future__ import annotations

import json
from typing import Any

PARAMETERS = {
    "type": "object", "properties": {"city": {"type": "string", "description": "City"}}, "required": ["city"],
    "additionalProperties": False,
}  # fmt: skip
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"


def function(**more: Any) -> dict[str, Any]:
    spec = {"name": "get_weather", "description": "Get the weather", "parameters": PARAMETERS, **more}
    return {"type": "function", "function": spec}


def call(call_id: str, arguments: str = '{"city": "Rome"}', **more: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}, **more}


def user(content: Any = "Weather in Rome?", **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


TEXT = [{"type": "text", "text": "Weather in Rome?"}]
CACHED = {"cache_control": {"type": "ephemeral"}}
ANTHROPIC_TOOL = {"name": "Bash", "description": "Run a command", "input_schema": PARAMETERS}
CODEX_SHELL = {
    "type": "function", "name": "shell", "description": "Runs a shell command and returns its output.", "strict": False,
    "parameters": {
        "type": "object", "properties": {"command": {"type": "array", "items": {"type": "string"}},
                                         "timeout_ms": {"type": "number"}, "workdir": {"type": "string"}},
        "required": ["command"], "additionalProperties": False,
    },
}  # fmt: skip

BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": (CHAT, {
        "model": "demo", "tools": [function(strict=True)], "tool_choice": "auto", "parallel_tool_calls": True,
        "messages": [{"role": "developer", "content": "Be brief."}, user(), {
            "role": "assistant", "content": None, "refusal": None, "annotations": [], "audio": None,
            "function_call": None, "tool_calls": [call("call_1"), call("call_2", '{"city": "Oslo"}')],
        }, {"role": "tool", "tool_call_id": "call_2", "content": "5 C"},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "18 C"}]}],
    }),
    "openai: responses": (RESPONSES, {
        "model": "demo", "store": True, "tools": [{**function()["function"], "type": "function", "strict": True}],
        "input": [user(), {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
                  {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "get_weather", "arguments": "{}",
                   "status": "completed"},
                  {"type": "function_call_output", "call_id": "c1", "output": "18 C"}],
    }),
    "llm": (CHAT, {
        "model": "demo", "stream": False, "messages": [
            user(), {"role": "assistant", "tool_calls": [call("c1")]}, {"role": "tool", "tool_call_id": "c1", "content": "18 C"},
        ], "tools": [function(description=None)],
    }),
    "pydantic-ai": (CHAT, {
        "model": "demo", "n": 1, "tool_choice": "required", "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "system", "content": "It is Monday."}, user(),
            {"role": "assistant", "content": "", "tool_calls": [call("pyd_1")]},
            {"role": "tool", "tool_call_id": "pyd_1", "content": '{"temperature":18}'}, user("Final answer, please."),
        ], "tools": [function(), function(name="final_result", description="The final response")],
    }),
    "LangChain": (CHAT, {
        "model": "demo", "n": 1, "messages": [
            user(name=None), {"role": "assistant", "content": [{"type": "text", "text": "I look"}, {
                "type": "tool_use", "id": "c1", "name": "get_weather", "input": {"city": "Rome"}}],
                "tool_calls": [call("c1")]},
            {"role": "tool", "tool_call_id": "c1", "content": '{"error": "timeout"}'},
            {"role": "assistant", "content": None, "tool_calls": [call("c2", '{"city": "Ro')]}, user("Again"),
        ], "tools": [function()], "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    }),
    "AI SDK": (CHAT, {
        "model": "demo", "max_tokens": 24, "temperature": 0, "stream_options": {"include_usage": True}, "stream": True,
        "messages": [{"role": "system", "content": "Be brief."}, user(TEXT), {
            "role": "assistant", "content": "", "tool_calls": [call("call-1")]},
            {"role": "tool", "tool_call_id": "call-1", "content": json.dumps({"type": "text", "value": "18 C"})}],
        "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {**PARAMETERS, "$schema":
                  "http://json-schema.org/draft-07/schema#"}}}], "tool_choice": "auto", "reasoning_effort": None,
    }),
    "AI SDK: responses": (RESPONSES, {
        "model": "demo", "input": [{"role": "system", "content": "Be brief."}, {
            "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]}, {
            "role": "assistant", "content": [{"type": "output_text", "text": "Where?"}], "id": "msg_1"}, {
            "role": "user", "content": [{"type": "input_text", "text": "Rome"}]}],
        "tools": [{**function()["function"], "type": "function", "strict": None}], "tool_choice": "auto",
    }),
    ".NET": (CHAT, {
        "model": "demo", "messages": [user(TEXT), {"role": "assistant", "tool_calls": [call("c1")]},
                                      {"role": "tool", "tool_call_id": "c1", "content": "null"}, user(TEXT)],
        "tools": [function(parameters={**PARAMETERS, "$defs": None, "description": None})], "tool_choice": "auto",
    }),
    "anthropic": (MESSAGES, {
        "model": "demo", "max_tokens": 24, "system": "Be brief.", "messages": [user(), {
            "role": "assistant", "content": [{"type": "text", "text": "I look", "citations": None}, {
                "type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"city": "Rome"}, "caller": None}]}, {
            "role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "18 C"},
                                        {"type": "text", "text": "And Oslo?"}]}],
        "tools": [ANTHROPIC_TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    }),
    "Claude Code": (MESSAGES, {
        "model": "demo", "max_tokens": 24, "stream": True, "temperature": 1, "metadata": {"user_id": "u"},
        "system": [{"type": "text", "text": "You are a CLI.", **CACHED}, {"type": "text", "text": "Be brief.", **CACHED}],
        "thinking": {"type": "enabled", "budget_tokens": 31999}, "context_management": {"edits": []},
        "output_config": {"effort": "high"},
        "tools": [{**ANTHROPIC_TOOL, **CACHED}, {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "<system-reminder>x</system-reminder>"},
                                                  {"type": "text", "text": "List files", **CACHED}]},
                     {"role": "assistant", "content": [
                         {"type": "thinking", "thinking": "I should list.", "signature": "s"},
                         {"type": "redacted_thinking", "data": "x"},
                         {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"city": "ls"}},
                         {"type": "tool_use", "id": "toolu_2", "name": "Bash", "input": {}}]},
                     {"role": "user", "content": [
                         {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "a.txt"}]},
                         {"type": "tool_result", "tool_use_id": "toolu_2", "content": "Error", "is_error": True, **CACHED}]}],
    }),
    "Codex CLI": (RESPONSES, {
        "model": "demo", "instructions": "You are Codex.", "stream": True, "store": False, "tool_choice": "auto",
        "parallel_tool_calls": False, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k",
        "reasoning": {"effort": "medium", "summary": "auto"}, "text": {"verbosity": "low"},
        "tools": [CODEX_SHELL, {"type": "custom", "name": "apply_patch", "description": "Edit files", "format": {
            "type": "grammar", "syntax": "lark", "definition": "start: /.+/"}}, {"type": "web_search"},
            {"type": "namespace", "name": "mcp__files", "tools": [CODEX_SHELL]}, {"type": "image_generation"}],
        "input": [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Sandbox."}]},
                  {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment_context/>"}]},
                  {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "List files"}]},
                  {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "x"},
                  {"type": "function_call", "name": "shell", "arguments": '{"command":["ls"]}', "call_id": "c1"},
                  {"type": "function_call_output", "call_id": "c1", "output": '{"output":"a.txt"}'},
                  {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin Patch", "call_id": "c2"},
                  {"type": "custom_tool_call_output", "call_id": "c2", "output": "ok"},
                  {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Go on"}]}],
    }),
}  # fmt: skip
LEFT_OUT = {
    "Claude Code": ["web_search", "thinking", "cache_control", "output_config.effort"],
    "Codex CLI": ["apply_patch", "web_search", "mcp__files", "image_generation", "reasoning", "text.verbosity"],
}
