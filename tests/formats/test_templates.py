"""Templates from strangers: bounded in rights, time and output."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefc.errors import FormatError
from edgefc.formats.family import parse_declaration
from edgefc.formats.templates import Template, tojson

ROOT = Path(__file__).parents[2]
HOSTILE = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('true') }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ messages|attr('__class__')|attr('__mro__') }}{{ messages.append(1) }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "{% import 'os' as os %}",
    "{% include '../pyproject.toml' %}",
]
BOMBS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
    "{{ 'x' * 1000000000 }}",
    "{{ 9 ** 999999999 }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for a in range(99999) %}{{ 'y' * 9999 }}{% endfor %}",
    "{% set x = namespace(t='a') %}{% for i in range(90) %}{% set x.t = x.t + x.t %}{% endfor %}",
    "{{ '%999999999d' % 5 }}",
]


@pytest.mark.parametrize("source", HOSTILE)
def test_a_template_cannot_reach_out(source: str) -> None:
    try:
        text = Template("hostile", source, {}).render(messages=[], tools=[])
    except FormatError:
        return
    assert "<class" not in text
    assert "uid=" not in text
    assert "[project]" not in text


@pytest.mark.parametrize("source", BOMBS)
def test_a_template_cannot_use_up_the_machine(source: str) -> None:
    with pytest.raises(FormatError):
        Template("bomb", source, {}).render(messages=[], tools=[])


def test_a_template_may_refuse() -> None:
    with pytest.raises(FormatError, match="refuses the conversation: no tools please"):
        Template("own", "{{ raise_exception('no tools please') }}", {}).render()


def test_tojson_is_plain_json() -> None:
    assert tojson({"a": "<é>"}) == '{"a": "<é>"}'


def test_only_one_module_builds_jinja_environments() -> None:
    for path in (ROOT / "edgefc").rglob("*.py"):
        if path.name != "templates.py":
            assert "jinja2" not in path.read_text(encoding="utf-8").replace('"jinja2"', ""), path


@pytest.mark.parametrize(
    ("declared", "place"),
    [
        ({"prompt": {"template": "x"}}, "calls.each"),
        ({"prompt": {"template": "x"}, "calls": {"each": "{name}{arguments}"}}, "calls.marker"),
        ({"prompt": {"template": "x"}, "calls": {"each": "{name}", "marker": "<"}}, "calls.each"),
        ({"prompt": {"template": "x", "bose": True}}, "prompt.bose"),
        ({"sample": {}}, "'sample'"),
        ({"prompt": {"template": 5}}, "prompt.template"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_key(declared: dict[str, object], place: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_declaration("new", declared, "")
    assert place in str(caught.value)
