"""Chat templates that came with a model: detected, probed, and rendered in their sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import BaseTarget, BrokenPromiseError, Case

NAMES = (
    "messages", "tools", "messages[0]", "messages[0].content", "message", "message.role", "message['content']", "tool",
    "loop", "loop.index", "bos_token", "eos_token", "add_generation_prompt", "namespace", "ns", "ns.a", "x", "missing",
    "cycler", "joiner", "lipsum", "range", "dict", "self", "raise_exception", "strftime_now", "true", "none", "0", "1", "-1",
    "60", "99999", "1.5", "10 ** 9", "'a'", "'a' * 1000000", "'\\t' * 100000", "'<|im_start|>'", "[1]", "[[]]", "{}", "{'a': 1}",
    "(1, 2)", "range(99999)", "'{0.__class__}'",
)  # fmt: skip
FILTERS = (
    "abs", "attr('__class__')", "batch(10)", "capitalize", "center(9999)", "count", "default('x')", "dictsort", "e", "escape",
    "filesizeformat", "first", "float", "forceescape", "format(1)", "groupby('role')", "indent(9999)", "int", "items", "join('x')",
    "last", "length", "list", "lower", "map('string')", "map(attribute='role')", "max", "min", "pprint", "random",
    "reject('in', messages)", "rejectattr('role')", "replace('a', 'bb')", "reverse", "round(9)", "safe", "select", "slice(3)",
    "sort", "string", "striptags", "sum(start=[])", "title", "tojson", "tojson(indent=4)", "trim", "truncate(3)", "unique",
    "upper", "urlencode", "urlize", "wordcount", "wordwrap(3)", "xmlattr",
)  # fmt: skip
METHODS = (
    ".items()", ".keys()", ".values()", ".get('role')", ".split()", ".strip()", ".startswith('a')", ".replace('a', 'b' * 1000)",
    ".join(messages)", ".expandtabs(9999)", ".format(messages)", ".format_map({'x': 1})", ".append(1)", ".encode()", ".count(1)",
    ".index(1)", ".title()", ".zfill(9999)", ".splitlines()", "[0]", "[::-1]", "[1:]", ".__class__", "['__globals__']", "(1)",
)  # fmt: skip
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "~", "==", "<", ">=", "in", "not in", "and", "or", "is", "is not")
TESTS = (
    "defined",
    "none",
    "string",
    "mapping",
    "iterable",
    "sequence",
    "number",
    "eq(1)",
    "in [1]",
    "sameas(none)",
    "callable",
)
BLOCKS = (
    "{{% for message in {0} %}}{1}{{% endfor %}}", "{{% for x in {0} recursive %}}{1}{{{{ loop(x) }}}}{{% endfor %}}",
    "{{% if {0} %}}{1}{{% endif %}}", "{{% if {0} %}}{1}{{% elif {0} %}}a{{% else %}}b{{% endif %}}",
    "{{% set x = {0} %}}{1}", "{{% set ns = namespace(a={0}) %}}{{% for i in range(60) %}}{{% set ns.a = [ns.a, ns.a] %}}{{% endfor %}}{1}",
    "{{% set x %}}{1}{{% endset %}}{{{{ x }}}}", "{{% macro m(x, y=1) %}}{1}{{% endmacro %}}{{{{ m({0}) }}}}",
    "{{% call(x) caller() %}}{1}{{% endcall %}}", "{{% filter upper %}}{1}{{% endfilter %}}", "{{% with x = {0} %}}{1}{{% endwith %}}",
    "{{% generation %}}{1}{{% endgeneration %}}", "{{%- raw %}}{1}{{% endraw -%}}", "{{# {0} #}}{1}", "{{% include {0} %}}{1}",
    "{{% import {0} as x %}}{1}", "{{% extends {0} %}}{1}", "{{% block a %}}{1}{{% endblock %}}", "{{% break %}}{1}", "{{% do {0} %}}{1}",
)  # fmt: skip
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief"},
    {"role": "user", "content": "What is the weather in Paris?"},
]


class TemplateTarget(BaseTarget):
    """Cases are {"source": of the template, "name": of the model}."""

    def make(self, rng: Random, seeds: Sequence[Case]) -> Case:
        mutator = Mutator(rng)
        if seeds and mutator.chance(0.5):
            source = rng.choice(seeds)["source"]
            for _ in range(rng.choice((1, 1, 2, 5))):
                source = self._change(mutator, source)
        else:
            source = self._block(mutator, 4)
        return {"source": source, "name": rng.choice(("", "", "Hermes-3", "Arch-Function", "xLAM", mutator.text()))}

    def start(self, folder: Path) -> None:
        from edgefc import formats

        self._formats = formats

    def run(self, case: Case) -> str:
        metadata = {"tokenizer.chat_template": case["source"], "general.name": case["name"]}
        family, detection = self._formats.family_of(metadata, "m.gguf", eos="</s>")
        if detection.template == self._formats.MODEL_TEMPLATE:
            assert family.adapt is not None
            text = family.template.render(**family.adapt(CONVERSATION, None), add_generation_prompt=True)
            if not isinstance(text, str):
                raise BrokenPromiseError(f"a template was rendered as {type(text)}")
            return "rendered"
        return "noted" if detection.note else "built in"

    def _change(self, mutator: Mutator, source: str) -> str:
        rng = mutator.rng
        marks = [number for number in range(len(source)) if source.startswith(("{{", "{%"), number)]
        if marks and mutator.chance(0.6):
            begin = rng.choice(marks)
            return source[:begin] + self._block(mutator, 2) + source[begin:]
        if "(" in source and mutator.chance(0.3):
            begin = source.index("(", rng.randrange(source.rindex("(") + 1))
            return source[: begin + 1] + self._expression(mutator, 2) + source[begin + 1 :]
        return mutator.change_text(source)

    def _block(self, mutator: Mutator, depth: int) -> str:
        if depth == 0 or mutator.chance(0.3):
            return f"{{{{ {self._expression(mutator, 3)} }}}}"
        inner = "".join(self._block(mutator, depth - 1) for _ in range(mutator.rng.choice((1, 1, 2))))
        return mutator.rng.choice(BLOCKS).format(self._expression(mutator, 3), inner)

    def _expression(self, mutator: Mutator, depth: int) -> str:
        rng = mutator.rng
        if depth == 0 or mutator.chance(0.2):
            return rng.choice(NAMES)
        inner = self._expression(mutator, depth - 1)
        match rng.randrange(8):
            case 0 | 1:
                return f"({inner})|{rng.choice(FILTERS)}"
            case 2 | 3:
                return f"({inner}){rng.choice(METHODS)}"
            case 4 | 5:
                return f"({inner}) {rng.choice(OPERATORS)} ({self._expression(mutator, depth - 1)})"
            case 6:
                return f"({inner}) is {rng.choice(TESTS)}"
            case _:
                return rng.choice(
                    (f"[{inner}, {inner}]", f"{{'a': {inner}}}", f"{inner} if {inner} else {inner}", f"not {inner}")
                )


TARGET = TemplateTarget
