"""Bodies in the shapes of today's clients, on a model whose template is strict about roles, and on a Hermes model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefc.formats import load_family
from edgefc.formats.model_template import with_tools_as_text
from tests.gguf_edit import edit_metadata
from tests.server.api.client_bodies import BODIES, CHAT, LEFT_OUT
from tests.server.server_process import ServerProcess

# One system message, first; then user and assistant in turn, as Gemma's and Mistral's templates have it.
STRICT = (
    "{% for m in messages %}"
    "{% if m.role == 'system' and not loop.first %}{{ raise_exception('system first') }}{% endif %}"
    "{% if not loop.first and m.role == messages[loop.index0 - 1].role %}{{ raise_exception('alternate') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + STRICT


@pytest.fixture(scope="module", params=["strict", "hermes"])
def model_server(
    request: pytest.FixtureRequest, demo_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    if request.param == "hermes":
        with ServerProcess(("--family", "hermes", "--n-ctx", "2048")) as server:
            yield server
        return
    path = tmp_path_factory.mktemp("strict") / "strict.gguf"
    edit_metadata(demo_path, path, {"tokenizer.chat_template": STRICT, "general.name": "strict"})
    with ServerProcess(("--family", "generic", "--n-ctx", "2048"), models=(str(path),)) as server:
        yield server


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_taken_as_it_is(model_server: ServerProcess, name: str) -> None:
    path, body = BODIES[name]
    limit = {"max_output_tokens": 8} if "responses" in path else {"max_tokens": 8}
    for stream in (False, True):
        fields = {key: value for key, value in body.items() if key != "stream_options" or stream}
        answer = model_server.post(path, {**fields, **limit, "stream": stream})
        assert answer.status == 200, answer.body
        told = answer.headers.get("x-edgefc-warning", "")
        assert all(text in told for text in LEFT_OUT.get(name, ())), told
        assert told or name not in LEFT_OUT


def test_what_was_streamed_and_cut_can_be_sent_back(model_server: ServerProcess) -> None:
    _, body = BODIES["openai"]
    asked: Any = {"messages": body["messages"][:2], "tools": body["tools"], "tool_choice": "required", "temperature": 0}
    for limit in (1, 3, 12, 24):
        cut = model_server.post(CHAT, {**asked, "max_tokens": limit}).json["choices"][0]["message"]
        streamed = _accumulated(model_server, {**asked, "max_tokens": limit})
        for message in (cut, streamed, {**streamed, "tool_calls": []}, {"role": "assistant"}):
            history = [*asked["messages"], message, {"role": "user", "content": "Go on"}]
            answer = model_server.post(CHAT, {"messages": history, "tools": body["tools"], "max_tokens": 2})
            assert answer.status == 200, (message, answer.body)


def _accumulated(server: ServerProcess, body: Any) -> dict[str, Any]:
    """Return the message as clients add it up: null content where no delta has any, arguments as far as they came."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": []}
    for line in server.post(CHAT, {**body, "stream": True}).body.decode().splitlines():
        delta = json.loads(line[6:])["choices"][0]["delta"] if line.startswith("data: {") else {}
        if delta.get("content"):
            message["content"] = (message["content"] or "") + delta["content"]
        for part in delta.get("tool_calls") or ():
            if part["index"] == len(message["tool_calls"]):
                message["tool_calls"].append({**part, "function": {"name": part["function"]["name"], "arguments": ""}})
            message["tool_calls"][part["index"]]["function"]["arguments"] += part["function"].get("arguments", "")
    return message


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
}
SHAPES: dict[str, list[dict[str, Any]]] = {
    "one system message": [system("Be brief."), user("Hi")],
    "two system messages": [system("Be brief."), system("It is Monday."), user("Hi")],
    "a late system message": [user("Hi"), {"role": "assistant", "content": "Hello"}, system("Be brief."), user("Hi")],
    "two user turns": [user("Here is a text."), user("Translate it.")],
    "a result, then the user": [user("Weather?"), CALLED, {"role": "tool", "content": "18 C"}, user("And in Oslo?")],
}


@pytest.mark.parametrize("template", [STRICT, NO_SYSTEM], ids=["one system message", "no system message"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_strict_template_gets_turns_that_alternate(template: str, shape: str) -> None:
    family = with_tools_as_text(load_family("generic"), template, eos="<|im_end|>")
    text = family.render(SHAPES[shape], None).text
    for message in SHAPES[shape]:
        assert (message["content"] or "f") in text
    roles = [line.removeprefix("<|im_start|>") for line in text.splitlines() if line.startswith("<|im_start|>")]
    assert all(a != b for a, b in itertools.pairwise(roles))
