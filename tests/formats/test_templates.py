"""Templates from strangers: bounded in rights, time and output."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from edgefc import paths
from edgefc.errors import FormatError
from edgefc.formats.family import family_names, load_family, parse_declaration
from edgefc.formats.templates import Template
from edgefc.sandbox.jinja import tojson

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
    "{{ ('a' * 99999)|list|map('upper')|join('b' * 99999)|length }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
    "{{ 'x' * 1000000000 }}",
    "{{ 9 ** 999999999 }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for a in range(99999) %}{{ 'y' * 9999 }}{% endfor %}",
    "{% set x = namespace(t='a') %}{% for i in range(90) %}{% set x.t = x.t + x.t %}{% endfor %}",
    "{{ '%999999999d' % 5 }}",
    "{{ lipsum(n=1000000) }}",
    "{{ 'x'.center(1000000000) }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ '{:{w}}'.format(1, w=999999999) }}",
    "{{ 'x'|center(1000000000) }}",
    "{{ 'x\ny'|indent(1000000000) }}",
    "{{ [1]|tojson(indent=1000000000) }}",
    "{{ (['a'] * 1000000000)|length }}",
    "{{ ((1,) * 1000000000)|length }}",
    "{{ 1000000000 * 'x' }}",
    "{{ ['a']|batch(1000000000, 'x')|list }}",
    "{% set t = 'a' * 1000 %}{% set ns = namespace(t=t) %}{% for i in range(90) %}{% set ns.t %}{{ ns.t }}{{ ns.t }}{% endset %}{% endfor %}",
    "{% set ns = namespace(t='xx') %}{% for i in range(90) %}{% set ns.t = ns.t|replace('x', 'xx') %}{% endfor %}",
    "{% set ns = namespace(t='xx') %}{% for i in range(90) %}{% set ns.t = ns.t.replace('x', 'xxxxxxxxxx') %}{% endfor %}",
    "{% set ns = namespace(t='xx') %}{% for i in range(90) %}{% set ns.t = ns.t.join([ns.t, ns.t]) %}{% endfor %}",
    "{% set ns = namespace(t='xx') %}{% for i in range(90) %}{% set ns.t = [ns.t, ns.t]|join(ns.t) %}{% endfor %}",
    "{% set ns = namespace(t=[1]) %}{% for i in range(90) %}{% set ns.t = ns.t + ns.t %}{% endfor %}",
    "{% set ns = namespace(t=[1]) %}{% for i in range(90) %}{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.t }}",
    "{% set ns = namespace(t=[1]) %}{% for i in range(90) %}{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.t|tojson }}",
    "{% set ns = namespace(t=9) %}{% for i in range(90) %}{% set ns.t = ns.t * ns.t %}{% endfor %}",
    "{{ 2 ** 99999999 }}",
    "{{ 10 ** 10 ** 10 }}",
    "{{ '%*d' % (1000000000, 5) }}",
    "{{ '%.999999999f' % 1.5 }}",
    "{{ '%1000000000s'|format('x') }}",
    "{{ range(99999)|list|length }}{{ range(1000000000)|list }}",
    "{{ messages * 1000000000 }}",
    "{% set ns = namespace(t='aaaa') %}{% for i in range(90) %}{% set ns.t = ns.t|upper ~ ns.t|lower %}{% endfor %}",
    "{% set ns = namespace(t='<') %}{% for i in range(60) %}{% set ns.t = ns.t|escape|string|replace('&', '<<') %}{% endfor %}",
    "{{ ('a' * 100000)|wordwrap(1, true, 'x' * 100000) }}",
    "{{ ('a,' * 100000).split(',')|map('center', 100000)|list|length }}",
    "{{ dict(a='x' * 99999).items()|list|string * 99999 }}",
    "{{ ('x' * 99999).translate({120: 'y' * 99999}) }}",
    "{{ 'a'.encode('utf-8') * 1000000000 }}",
    "{{ ('a' * 99999).encode('utf-8').hex() * 99999 }}",
    "{{ 1000000000 .to_bytes(1000000000, 'big') }}",
    "{{ (9 ** 999) ** 999 }}",
    "{{ ('9' * 4000)|int ** 900 }}",
    "{{ 1 << 99999999999 }}",
    "{{ ('a'*99999)|list|map('replace','a','b'*99999)|list|length }}",
    "{{ messages|sum(start=[1]*99999) }}",
    "{{ '%s' * 99999 % (('a' * 99999,) * 99999) }}",
    "{{ (['a' * 99999] * 9999)|join(', ')|length }}",
    "{{ (['a' * 99999] * 9999)|string|length }}",
    "{{ (['a' * 99999] * 9999)|tojson|length }}",
    "{{ (['a' * 99999] * 9999)|pprint|length }}",
    "{{ ''.join(['a' * 99999] * 9999)|length }}",
    "{{ 'a'|attr('join') }}{{ ('a' * 99999).join('b' * 99999)|length }}",
    "{{ strftime_now('%Y' * 9999999) }}",
    "{{ ('a' * 99999)|truncate(5) }}{{ ('aa ' * 33333).title() * 99999 }}",
    "{{ [0]*99999|map('string')|list }}{{ ([0]*99999)|map('center',99999)|join|length }}",
]


@pytest.mark.parametrize("source", HOSTILE)
def test_a_template_cannot_reach_out(source: str) -> None:
    try:
        text = Template("hostile", source, {}, is_foreign=True).render(messages=[], tools=[])
    except FormatError:
        return
    assert "<class" not in text
    assert "uid=" not in text
    assert "[project]" not in text


@pytest.mark.parametrize("source", BOMBS)
def test_a_template_cannot_use_up_the_machine(source: str) -> None:
    tracemalloc.start()
    started = time.thread_time()
    try:
        with pytest.raises(FormatError):
            Template("bomb", source, {}, is_foreign=True).render(messages=[{"role": "user", "content": "x"}], tools=[])
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert time.thread_time() - started < 60, "bounded, however slow the machine"


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in b %}" * 30 + "{% endfor %}" * 30,
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{% if a %}" * 3000 + "{% endif %}" * 3000,
        "{{ " + "-" * 9000 + "1 }}",
        "x" * (2 << 20),
        "{% for",
        "{{ 'a' | nothing }}",
    ],
)
def test_a_template_that_cannot_be_compiled_is_refused(source: str) -> None:
    with pytest.raises(FormatError):
        Template("odd", source, {}, is_foreign=True)


def test_foreign_templates_can_do_what_transformers_lets_them() -> None:
    source = (
        "{%- for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m['role'].upper() ~ ': ' ~ m.content.strip() }}"
        "{{ '%s' | format(m.content) }}{{ '{}!'.format(m.role) }}{{ m | tojson(indent=2) }}{{ m.items() | list | length }}"
        "{% generation %}{{ m.content.split(' ')[-1].lstrip() }}{% endgeneration %}{% endfor %}{{ strftime_now('%Y') }}"
    )
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": " a b "}]
    text = Template("own", source, {}, is_foreign=True).render(messages=messages)
    assert text == 'USER: a b a b user!{\n  "role": "user",\n  "content": " a b "\n}22024'


def test_a_template_may_refuse() -> None:
    with pytest.raises(FormatError, match="refuses the conversation: no tools please"):
        Template("own", "{{ raise_exception('no tools please') }}", {}).render()


def test_tojson_is_plain_json() -> None:
    assert tojson({"a": "<é>"}) == '{"a": "<é>"}'


def test_only_one_module_builds_jinja_environments() -> None:
    for path in (ROOT / "edgefc").rglob("*.py"):
        if path.name != "jinja.py":
            assert "jinja2" not in path.read_text(encoding="utf-8").replace('"jinja2"', ""), path


@pytest.mark.parametrize(
    ("declared", "key"),
    [
        ({"prompt": {"template": "x"}}, "calls.each"),
        ({"prompt": {"template": "x"}, "calls": {"each": "{name}{arguments}"}}, "calls.marker"),
        ({"prompt": {"template": "x"}, "calls": {"each": "{name}", "marker": "<"}}, "calls.each"),
        ({"prompt": {"template": "x", "bose": True}}, "prompt.bose"),
        ({"sample": {}}, "'sample'"),
        ({"prompt": {"template": 5}}, "prompt.template"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_key(declared: dict[str, object], key: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_declaration("new", declared, "")
    assert key in str(caught.value)


def test_edgefcs_own_declarations_pass_the_checks_that_loading_leaves_out() -> None:
    for name in family_names():
        family = load_family(str(paths.root() / "chat_formats" / f"{name}.toml"))
        assert family.syntax == load_family(name).syntax


def test_the_users_template_is_compiled_when_it_is_loaded(tmp_path: Path) -> None:
    text = (paths.root() / "chat_formats" / "hermes.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text.replace("hermes.jinja", "mine.jinja"), encoding="utf-8")
    (tmp_path / "mine.jinja").write_text("{% for %}", encoding="utf-8")
    with pytest.raises(FormatError, match="chat template mine"):
        load_family(str(tmp_path / "mine.toml"))
