"""Mistakes of other runtimes with these families, one test each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgefc.errors import SchemaError
from edgefc.formats import Family, family_of, load_family
from edgefc.formats.model_template import with_model_template
from edgefc.grammar import compile_output
from edgefc.tools import ToolSet
from edgefc.types import ToolChoice
from tests.grammar.executors import accepts

USER = {"role": "user", "content": "hi"}
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "d",
            "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
        },
    }
    for name in ("find", "get")
]
CODE: Any = list(ToolSet.of([*TOOLS, {"type": "code_interpreter"}]))


def call_message(*calls: tuple[str, Any], content: str | None = None) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [
            {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for number, (name, arguments) in enumerate(calls)
        ],
    }


def result_message(number: int, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"c{number}", "content": content}


def parse_answer(family: str, text: str, tools: Any = TOOLS) -> tuple[Any, list[tuple[str, Any]]]:
    message = load_family(family).parse(text, tools).message
    calls = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message.get("tool_calls", [])]
    return message["content"], calls


# -- Functionary ------------------------------------------------------------------------------------------------


def test_v3_1_does_not_escape_the_tools_as_html() -> None:
    tools = [{"type": "function", "function": {**TOOLS[0]["function"], "description": '<b> & "it\'s"'}}]
    text = load_family("functionary-v3.1").render([USER], tools).text
    assert "to '<b> & \"it's\"'" in text
    assert "&#34;" not in text
    assert "&amp;" not in text


def test_v3_1_writes_arguments_once_and_verbatim() -> None:
    messages = [USER, call_message(("find", '{"q":"x"}')), result_message(0, "r"), USER]
    assert '<function=find>{"q":"x"}</function><|eom_id|>' in load_family("functionary-v3.1").render(messages).text


def test_v3_1_needs_no_description() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    assert "Use the function 'f' to ''\n" in load_family("functionary-v3.1").render([USER], tools).text


def test_v3_text_that_looks_like_a_recipient_stays_text() -> None:
    content, calls = parse_answer("functionary-v3.llama3", "all\nWhat is a>>>b in C?\n>>> print(1)<|eot_id|>")
    assert (content, calls) == ("What is a>>>b in C?\n>>> print(1)", [])


def test_v3_text_cannot_contain_the_mark_of_calls_under_the_grammar() -> None:
    syntax = load_family("functionary-v3.llama3").syntax
    grammar = compile_output(syntax, TOOLS, ToolChoice("auto", ("find", "get")))
    assert accepts(grammar, "all\na >> b")
    assert not accepts(grammar, "all\na >>> b")


def test_v3_text_and_calls_are_distinguished() -> None:
    text = 'all\nLet me check.>>>find\n{"q": "a"}>>>get\n{"q": ">>>all\\n"}<|eot_id|>'
    assert parse_answer("functionary-v3.llama3", text) == (
        "Let me check.",
        [("find", {"q": "a"}), ("get", {"q": ">>>all\n"})],
    )


def test_v3_text_after_a_call_is_content() -> None:
    assert parse_answer("functionary-v3.llama3", 'find\n{"q": "a"}>>>all\nDone.') == ("Done.", [("find", {"q": "a"})])


def test_v3_an_empty_answer_is_not_a_turn() -> None:
    text = load_family("functionary-v3.llama3").render([USER, {"role": "assistant", "content": ""}, USER]).text
    assert text.count("<|start_header_id|>assistant") == 1


def test_v2_text_and_parallel_calls() -> None:
    text = (
        "all\n<|content|>Let me check.\n<|from|>assistant\n<|recipient|>find\n<|content|>"
        '{"q": "a"}\n<|from|>assistant\n<|recipient|>get\n<|content|>{"q": "b"}<|stop|>'
    )
    assert parse_answer("functionary-v2", text) == ("Let me check.", [("find", {"q": "a"}), ("get", {"q": "b"})])


def test_v2_results_stand_in_the_order_of_their_calls_under_their_tools_name() -> None:
    messages = [
        USER,
        call_message(("find", "{}"), ("get", "{}")),
        result_message(1, "second"),
        result_message(0, "first"),
        USER,
    ]
    text = load_family("functionary-v2").render(messages).text
    assert "<|from|>find\n<|recipient|>all\n<|content|>first\n<|from|>get\n<|recipient|>all\n<|content|>second" in text


def test_v1_splits_several_calls_into_turns() -> None:
    messages = [
        USER,
        call_message(("find", "{}"), ("get", "{}"), content="On it."),
        result_message(0, "1"),
        result_message(1, "2"),
        USER,
    ]
    text = load_family("functionary-v1").render(messages).text
    assert (
        "assistant:\nOn it.\n<|START_OF_FUNCTION_CALL|>find:\n{}<|END_OF_FUNCTION_CALL|>\n"
        "function name=find:\n1<|END_OF_FUNCTION_RESULT|>\n"
        "assistant:\n<|START_OF_FUNCTION_CALL|>get:\n{}<|END_OF_FUNCTION_CALL|>\n"
        "function name=get:\n2<|END_OF_FUNCTION_RESULT|>\n"
    ) in text


def test_a_named_choice_narrows_functionary_s_tools_and_none_removes_them() -> None:
    family = load_family("functionary-v3.llama3")
    named = family.render([USER], TOOLS, choice=ToolChoice("required", ("get",))).text
    assert "type get" in named
    assert "type find" not in named
    none = family.render([USER], TOOLS, choice=ToolChoice("none", ("find", "get"))).text
    assert "namespace functions {\n\n} // namespace functions" in none


def test_a_tool_called_like_a_recipient_is_refused_by_name() -> None:
    tools = [{"type": "function", "function": {"name": "all", "parameters": {}}}]
    with pytest.raises(SchemaError, match="ambiguous tool name") as caught:
        compile_output(load_family("functionary-v3.llama3").syntax, tools, ToolChoice("auto", ("all",)))  # type: ignore[arg-type]
    assert caught.value.path == ("tools", 0, "function", "name")


INTERPRETERS = ["functionary-v2", "functionary-v2.llama3", "functionary-v3.llama3", "functionary-v3.1"]
PROGRAMS = {
    "functionary-v2": "python\n<|content|>print(1)\n",
    "functionary-v2.llama3": "<|reserved_special_token_249|>python\nprint(1)\n",
    "functionary-v3.llama3": "python\nprint(1)\n",
    "functionary-v3.1": "<|python_tag|>print(1)\n",
}


@pytest.mark.parametrize("family", INTERPRETERS)
def test_the_code_interpreter_takes_raw_code(family: str) -> None:
    chat_format = load_family(family)
    grammar = compile_output(chat_format.syntax, CODE, ToolChoice("auto", ("find", "get", "python")))
    assert accepts(grammar, PROGRAMS[family])
    assert parse_answer(family, PROGRAMS[family], CODE) == (None, [("python", {"code": "print(1)\n"})])
    prompt = chat_format.render([USER], CODE).text
    assert "type python" not in prompt
    assert '"python"' not in prompt
    assert ("Environment: ipython" if family == "functionary-v3.1" else "stateful Jupyter notebook") in prompt


@pytest.mark.parametrize("family", INTERPRETERS)
@pytest.mark.parametrize("arguments", ['{"code": "print(1)\\n"}', "print(1)\n"])
def test_past_programs_are_written_as_code(family: str, arguments: str) -> None:
    messages = [
        USER,
        call_message(("find", '{"q": "x"}'), ("python", arguments)),
        result_message(0, "a"),
        result_message(1, "b"),
        USER,
    ]
    text = load_family(family).render(messages, CODE).text
    assert "python\n<|content|>print(1)\n" in text if family == "functionary-v2" else PROGRAMS[family] in text


def test_in_other_families_the_code_interpreter_is_an_ordinary_tool() -> None:
    family = load_family("hermes")
    assert '{"type": "function", "function": {"name": "python"' in family.render([USER], CODE).text
    call = '<tool_call>\n{"name": "python", "arguments": {"code": "print(1)"}}\n</tool_call>'
    assert accepts(compile_output(family.syntax, CODE, ToolChoice("required", ("python",))), call)


# -- xLAM, Hammer, APIGen ---------------------------------------------------------------------------------------


def test_xlam2_keeps_its_instructions_when_the_caller_has_a_system_message() -> None:
    text = load_family("xlam2-qwen").render([{"role": "system", "content": " Be brief. "}, USER], TOOLS).text
    assert text.startswith("<|im_start|>system\nBe brief.\nYou have access to a set of tools.")


def test_xlam2_writes_no_newline_after_a_turn_and_no_instructions_without_tools() -> None:
    text = load_family("xlam2-qwen").render([USER], None).text
    assert "<|im_end|>\n" not in text
    assert "set of tools" not in text


def test_an_empty_list_says_that_no_tool_fits() -> None:
    for family, text in (("xlam2-qwen", "[]"), ("xlam-fc-v1", '{"tool_calls": []}'), ("hammer2.1", "```\n[]\n```")):
        parsed = load_family(family).parse(text, TOOLS)
        assert (parsed.outcome, parsed.message["content"]) == ("no_tool", "")
        syntax = load_family(family).syntax
        assert accepts(compile_output(syntax, TOOLS, ToolChoice("auto", ("find",))), text)
        assert not accepts(compile_output(syntax, TOOLS, ToolChoice("required", ("find",))), text)


def test_xlam_fc_may_begin_with_a_newline() -> None:
    text = '\n{"tool_calls": [{"name": "find", "arguments": {"q": "x"}}]}'
    grammar = compile_output(load_family("xlam-fc-v1").syntax, TOOLS, ToolChoice("required", ("find",)))
    assert accepts(grammar, text)
    assert accepts(grammar, text[1:])
    assert parse_answer("xlam-fc-v1", text) == (None, [("find", {"q": "x"})])


def test_xlam_fc_gets_a_conversation_as_one_query() -> None:
    messages = [USER, call_message(("find", '{"q": "x"}')), result_message(0, "42")]
    text = load_family("xlam-fc-v1").render(messages, TOOLS).text
    query = text[text.index("[BEGIN OF QUERY]") : text.index("[END OF QUERY]")]
    assert 'hi\nI called find with {"q": "x"}. It returned: 42\nContinue' in query
    assert "assistant:" not in query


def test_xlam_r_keeps_a_system_message_as_text_and_the_thought_beside_calls() -> None:
    text = load_family("xlam-r").render([{"role": "system", "content": "Be brief."}, USER], TOOLS).text
    assert text.startswith("[INST] Be brief.\n\n[BEGIN OF TASK")
    answer = '{"thought": "Let me see.", "tool_calls": [{"name": "find", "arguments": {"q": "x"}}]}'
    assert parse_answer("xlam-r", answer) == ("Let me see.", [("find", {"q": "x"})])
    assert parse_answer("xlam-r", '{"thought": "Hello.", "tool_calls": []}') == ("Hello.", [])


def test_hammer_leaves_the_caller_s_schema_alone_and_flattens_objects() -> None:
    nested = {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}, "required": ["a"]}
    parameters = {"type": "object", "properties": {"o": nested, "p": {"type": "string", "default": "x"}}}
    tools = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters}}]
    before = json.dumps(tools)
    texts = {load_family("hammer2.1").render([USER], tools).text for _ in range(2)}
    assert len(texts) == 1
    assert json.dumps(tools) == before
    expected = (
        '"parameters": {"o": {"a": {"type": "integer", "default": 1, "required": true}}, "p": {"type": "string", '
    )
    assert expected + '"default": "x", "description": "default is \'x\'"}}' in texts.pop()


def test_hammer_answers_in_the_style_of_its_own_template_are_understood() -> None:
    assert parse_answer("hammer2.1", "[{'name': 'find', 'arguments': {'q': 'x'}}]") == (None, [("find", {"q": "x"})])
    wrapped = "```json\n[{'type': 'function', 'function': {'name': 'get', 'arguments': {'q': None}}}]\n```"
    assert parse_answer("hammer2.1", wrapped) == (None, [("get", {"q": None})])


def test_apigen_offers_the_tools_once_and_pins_the_date() -> None:
    messages = [USER, {"role": "assistant", "content": "Hello."}, USER]
    text = load_family("apigen-fc").render(messages, TOOLS).text
    assert text.count("<tools>") == 1
    assert "Today Date: 26 Jul 2024" in text
    assert "<tools>[]</tools>" in load_family("apigen-fc").render([USER], []).text
    assert "<tools>" not in load_family("apigen-fc").render([USER], None).text


# -- the widely used templates ----------------------------------------------------------------------------------

BODY = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
CALLS = "{% for c in m.tool_calls %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
QWEN = "{% for t in tools %}{{ t | tojson }}{% endfor %}" + BODY + CALLS + "<|im_end|>\n{% endfor %}"


def with_template(source: str, family: str = "hermes", **metadata: str) -> Family:
    chat_format, detection = family_of(
        {"tokenizer.chat_template": source, "general.name": "Qwen2.5", **metadata}, name=family
    )
    assert detection.template == "the model's own", detection.note
    return chat_format


def test_arguments_reach_a_model_s_template_as_objects() -> None:
    text = (
        with_template(QWEN)
        .render([USER, call_message(("find", '{"q": "x"}')), result_message(0, "r"), USER], TOOLS)
        .text
    )
    assert '"arguments": {"q": "x"}' in text
    assert '\\"q\\"' not in text


def test_a_template_that_needs_arguments_as_text_gets_them_as_text() -> None:
    source = QWEN.replace("{{ c.function | tojson }}", "{{ '{\"n\": ' + c.function.arguments + '}' }}")
    text = (
        with_template(source)
        .render([USER, call_message(("find", '{"q": "x"}')), result_message(0, "r"), USER], TOOLS)
        .text
    )
    assert '{"n": {"q": "x"}}' in text


def test_a_template_s_date_does_not_change_over_night() -> None:
    assert (
        "Today: 26 Jul 2024" in with_template("Today: {{ strftime_now('%d %b %Y') }}" + QWEN).render([USER], TOOLS).text
    )


def test_generation_tags_and_loop_controls_are_understood() -> None:
    source = QWEN.replace("{{ m.content }}", "{% generation %}{{ m.content }}{% endgeneration %}") + (
        "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"
    )
    assert with_template(source).render([USER], TOOLS).text.endswith("hi<|im_end|>\n01")


def test_bos_is_left_to_the_tokenizer() -> None:
    family = with_template("{{ bos_token }}" + QWEN)
    assert family.render([USER], TOOLS).text.startswith('{"type"')
    assert family.bos == "always"


def test_a_template_without_tools_never_drops_them() -> None:
    plain = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    family, detection = family_of({"tokenizer.chat_template": plain})
    assert (family.name, detection.template) == ("generic", "the model's own")
    messages = [USER, call_message(("find", '{"q": "x"}')), result_message(0, "r"), USER]
    text = family.render(messages, TOOLS).text
    assert text.startswith("[system]# Tools")
    assert '"name": "find"' in text
    assert '[assistant]<tool_call>\n{"name": "find", "arguments": {"q": "x"}}\n</tool_call>' in text
    assert "[user]<tool_response>\nr\n</tool_response>" in text


def test_a_template_that_refuses_system_messages_gets_the_tools_in_the_question() -> None:
    strict = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    family, _ = family_of({"tokenizer.chat_template": strict})
    text = family.render([{"role": "system", "content": "Be brief."}, USER], TOOLS).text
    assert text.startswith("[user]Be brief.\n\n# Tools")
    assert text.endswith("\n\nhi")


def test_mistral_s_ids_have_nine_characters() -> None:
    family = load_family("mistral")
    messages = [USER, call_message(("find", '{"q": "x"}')), result_message(0, "r"), USER]
    assert '"id": "call00000"}]</s>[TOOL_RESULTS]{"content": r, "call_id": "call00000"}' in family.render(messages).text
    answer = '[TOOL_CALLS][{"name": "find", "arguments": {"q": "x"}, "id": "abcdefghi"}]</s>'
    call = family.parse(answer, TOOLS).message["tool_calls"][0]
    assert len(call["id"]) == 9
    assert call["id"].isalnum()


def test_llama_3_gets_several_past_calls_one_after_the_other() -> None:
    messages = [USER, call_message(("find", "{}"), ("get", "{}")), result_message(0, "1"), result_message(1, "2"), USER]
    text = load_family("llama3-json").render(messages, TOOLS).text
    order = ['{"name": "find", "parameters": {}}', '"1"', '{"name": "get", "parameters": {}}', '"2"']
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)


def test_thoughts_are_not_content() -> None:
    family = load_family("qwen3")
    text = '<think>\nI should <tool_call> find.\n</think>\n\n<tool_call>\n{"name": "find", "arguments": {"q": "x"}}\n</tool_call>'
    grammar = compile_output(family.syntax, TOOLS, ToolChoice("required", ("find",)))
    assert accepts(grammar, text)
    message = family.parse(text, TOOLS).message
    assert message["reasoning_content"] == "I should <tool_call> find."
    assert message["content"] is None
    assert len(message["tool_calls"]) == 1
    answer = family.parse("<think>\n\n</think>\n\nHello.").message
    assert (answer["content"], answer.get("reasoning_content")) == ("Hello.", None)


def test_arch_chat_never_shows_qwen_s_own_system_text() -> None:
    for tools in (TOOLS, None):
        assert "Qwen" not in load_family("arch-chat").render([USER], tools).text


def test_without_tools_arch_chat_answers_in_plain_text() -> None:
    family = load_family("arch-chat")
    grammar = compile_output(family.syntax_for(None), [], ToolChoice("none", ()))
    assert accepts(grammar, "Hello.")
    assert family.parser([]).finish("stop").outcome == "answer"


def test_own_templates_that_write_python_instead_of_json_are_replaced() -> None:
    source = QWEN.replace("{{ c.function | tojson }}", "{{ c.function.arguments }}")
    family, detection = family_of({"tokenizer.chat_template": source}, name="hermes")
    # With arguments as text, it writes them correctly.
    assert detection.template == "the model's own"
    assert (
        '{"q": "x"}'
        in family.render([USER, call_message(("find", '{"q": "x"}')), result_message(0, "r"), USER], TOOLS).text
    )
    dropping = QWEN.replace("{{ c.function | tojson }}", "")
    assert family_of({"tokenizer.chat_template": dropping}, name="hermes")[1].template == "built in"
    assert with_model_template(load_family("hermes"), QWEN).adapt is not None
