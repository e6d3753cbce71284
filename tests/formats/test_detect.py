"""Detecting a model file's family from its metadata."""

from __future__ import annotations

from typing import Any

import pytest

from edgefc.errors import FormatError
from edgefc.formats import MODEL_TEMPLATE, detect, family_of

CHATML, LLAMA3, GRANITE = "<|im_start|> <tool_call>", "<|start_header_id|>", "<|start_of_role|>"
# Name, template, file name, family; in the order in which the evidence is considered.
CASES: list[tuple[str, str, str, str]] = [
    # a version that the template states
    ("", "{# version=v2 #}", "", "functionary-v2"),
    ("", "{# version=v2.llama3 #} <|reserved_special_token_249|>", "", "functionary-v2.llama3"),
    ("", "{# version=v3.llama3 #} >>>${recipient} <|eom_id|>", "", "functionary-v3.llama3"),
    ("functionary-small-v3.2", "{# version=v3-llama3.1 #}", "", "functionary-v3.1"),
    ("Arch-Agent", "{# edgefc family=demo #}", "", "demo"),
    # text of one family's template
    ("", f"{LLAMA3} >>>${{recipient}}", "", "functionary-v3.llama3"),
    ("", f"{LLAMA3} Think very carefully before calling functions", "", "functionary-v3.1"),
    ("", f"{LLAMA3} <|reserved_special_token_249|>", "", "functionary-v2.llama3"),
    ("", "<|from|> <|recipient|>", "", "functionary-v2"),
    ("", f"{CHATML} developed by Salesforce xLAM team", "", "xlam2-qwen"),
    ("", f"{LLAMA3} developed by Salesforce xLAM team", "", "xlam2-llama"),
    ("", f"{CHATML} [BEGIN OF AVAILABLE_TOOLS]", "", "hammer2.1"),
    ("", "You are an AI assistant for function calling ### Instruction:", "", "xlam-fc-v1"),
    ("", f"{CHATML} - Function calls MUST follow the specified format: an inner <function", "", "qwen3.5"),
    ("", f"{CHATML} <|tool_list_start|>", "", "lfm2"),
    ("", "<|turn> <|tool_call>call:", "", "gemma4"),
    ("", "<start_of_turn> <start_function_call>", "", "functiongemma"),
    (
        "",
        f"{GRANITE} For each tool call, return a json object with function name and arguments within <tool_call>",
        "",
        "granite4",
    ),
    ("", f"{CHATML} Please structure your response into two main sections: Thought and Solution", "", "smollm3"),
    ("", "'<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>'", "", "phi4-mini"),
    ("", "[AVAILABLE_TOOLS] {{- name + '[ARGS]' + arguments }}", "", "ministral3"),
    ("", "{{ '<|start|>assistant<|channel|>analysis<|message|>' }}", "", "gpt-oss"),
    ("", '<|im_start|> <function name="function-name"><param name="param-name">', "", "minicpm5"),
    # names: the longest wins, and those of one family before those of many
    ("Qwen3.5 4B", CHATML, "", "qwen3.5"),
    ("Qwen3-Coder 30B-A3B Instruct", CHATML, "", "qwen3-coder"),
    ("NVIDIA Nemotron-3-Nano 4B", CHATML, "", "nemotron-3-nano"),
    ("LFM2.5 1.2B", CHATML, "", "lfm2.5"),
    ("ToolACE-2-Llama-3.1-8B", LLAMA3, "", "llama-pythonic"),
    ("watt-tool-8B", LLAMA3, "", "llama-pythonic"),
    ("Granite 4.2 8b", CHATML, "", "granite4.2"),
    ("granite-4.0-h-1b", "", "", "granite4"),
    ("SmolLM3 3B", CHATML, "", "smollm3"),
    ("SmolLM2 1.7B Instruct", CHATML, "", "smollm2"),
    ("SmolLM2 135M Instruct", "<|im_start|>", "", "generic"),
    ("Phi-4-mini-instruct", "<|end|>", "", "phi4-mini"),
    ("Ministral-3-3B-Instruct-2512", "", "", "ministral3"),
    ("gpt-oss-20b", "", "", "gpt-oss"),
    ("MiniCPM5-1B", CHATML, "", "minicpm5"),
    ("BitAgent-Bounty-8B", LLAMA3, "", "bitagent-bounty"),
    ("BitAgent-8B", LLAMA3, "", "llama-pythonic"),
    ("Arch Function Chat 3B", CHATML, "", "arch-chat"),
    ("Arch-Function-3B", CHATML, "", "arch-function"),
    ("arch_agent_1.5b", "", "", "arch-agent"),
    ("Hammer2.1 7b", CHATML, "", "hammer2.1"),
    ("Hammer2.0-1.5b", CHATML, "", "hammer2.0"),
    ("hammer-7b", CHATML, "", "hammer1"),
    ("xLAM-2-3B-fc-r", "", "", "xlam2-qwen"),
    ("Llama-xLAM-2-8B-fc-r", "", "", "xlam2-llama"),
    ("xLAM-1b-fc-r", "### Instruction:", "", "xlam-fc-v1"),
    ("xLAM-7b-r", "[INST]", "", "xlam-r"),
    ("Llama-3.2-1B-Instruct-APIGen-FC-v0.1", LLAMA3, "", "apigen-fc"),
    ("functionary-small-v2.4", "", "", "functionary-v2"),
    ("functionary-small-v2.5", "", "", "functionary-v2.llama3"),
    ("functionary-small-v3.1", "", "", "functionary-v3.1"),
    ("functionary-small-v3.2", "", "", "functionary-v3.llama3"),
    ("functionary-7b-v1.4", "", "", "functionary-v1"),
    ("", "", "Arch-Agent-1.5B.Q4_K_M.gguf", "arch-agent"),
    # templates that many use
    ("Qwen2.5 7B Instruct", CHATML, "", "hermes"),
    ("some fine-tune", CHATML, "", "hermes"),
    ("Qwen3 4B", f"{CHATML} enable_thinking is defined and enable_thinking is false", "", "qwen3"),
    ("Llama 3.1 8B", f'{LLAMA3} "parameters": dictionary of argument name and its value', "", "llama3-json"),
    ("Mistral Nemo", "[AVAILABLE_TOOLS]", "", "mistral"),
    ("Hermes 3", f"{CHATML} You are a function calling AI model", "", "hermes-2-pro"),
    # unknown: a name proves nothing if the template does not match
    ("Nous Hermes Llama2 13B", "### Instruction:", "", "generic"),
    ("gpt-2", "{{ messages[0].content }}", "", "generic"),
    ("anything", "", "", "generic"),
]


@pytest.mark.parametrize(("name", "template", "file_name", "family"), CASES)
def test_a_family_is_recognised(name: str, template: str, file_name: str, family: str) -> None:
    metadata: dict[str, object] = {"general.name": name} if name else {}
    if template:
        metadata["tokenizer.chat_template"] = template
    detection = detect(metadata, file_name)
    assert detection.family == family
    assert detection.reason


def test_an_explicit_family_overrides_the_file() -> None:
    family, detection = family_of({"general.name": "Arch-Agent"}, name="hammer2.1")
    assert (family.name, detection.reason) == ("hammer2.1", "it was named explicitly")
    with pytest.raises(FormatError, match=r"hammer2\.1"):
        family_of({}, name="hammer2")


def test_a_template_that_drops_the_tools_is_replaced_by_the_built_in_one() -> None:
    source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<tool_call>"
    family, detection = family_of({"general.name": "Qwen2.5", "tokenizer.chat_template": source})
    assert (family.name, detection.template) == ("hermes", "built in")
    assert "drops the tools" in detection.note


def test_a_template_that_shows_them_is_used() -> None:
    source = (
        "{% for t in tools %}{{ t | tojson }}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{% for c in m.tool_calls %}<tool_call>{{ c.function | tojson }}{% endfor %}<|im_end|>\n{% endfor %}"
    )
    family, detection = family_of({"general.name": "Qwen2.5", "tokenizer.chat_template": source})
    assert (detection.template, detection.note) == (MODEL_TEMPLATE, "")
    assert family.render([{"role": "user", "content": "hi"}], []).text == "<|im_start|>user\nhi<|im_end|>\n"


TAGS = (
    "{% for t in tools %}{{ t | tojson }}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls %}<tool_call>\n<function={{ c.function.name }}>\n"
    "{% for name, value in c.function.arguments | items %}<parameter={{ name }}>\n{{ value }}\n</parameter>\n{% endfor %}"
    "</function>\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{{ '<think>\n' if enable_thinking is defined and enable_thinking else '<think>\n\n</think>\n\n' }}{% endif %}"
)


def test_a_template_of_another_encoding_is_used_and_tells_when_it_begins_the_thoughts() -> None:
    family, detection = family_of({"general.name": "Qwen3.5", "tokenizer.chat_template": TAGS})
    assert (family.name, detection.template) == ("qwen3.5", MODEL_TEMPLATE)
    assert family.opens_thoughts == {True}
    question: Any = [{"role": "user", "content": "hi"}]
    assert family.render(question, [], thinking=True).text.endswith("assistant\n<think>\n")
    assert family.render(question, []).text.endswith("</think>\n\n")
    assert family.syntax_for((), thinking=True).think_open
    assert not family.syntax_for(()).think_open
    parser = family.parser((), thinking=True)
    parser.feed("Hm.\n</think>\n\nHello!")
    message = parser.finish("stop").message
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Hello!")
