"""Templates that escape the sandbox's weighing are killed: time and memory of this process stay as they are."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from edgefc.errors import FormatError
from edgefc.formats import templates
from edgefc.formats.templates import CostError, Template
from tests.bounded import run_edgefc
from tests.gguf_edit import edit_metadata

NESTED = (
    "{% set ns = namespace(a=[1], b=[1]) %}"
    "{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}"
)
NESTED_TUPLE = "{% set ns = namespace(a=(1,)) %}{% for i in range(60) %}{% set ns.a = (ns.a, ns.a) %}{% endfor %}"
BOMBS = {
    "compare": NESTED + "{{ ns.a == ns.b }}",
    "in": NESTED + "{{ ns.a in [ns.b] }}",
    "index": NESTED + "{{ [ns.b].index(ns.a) }}",
    "sort": NESTED + "{{ [ns.b, ns.a]|sort }}",
    "unique": NESTED_TUPLE + "{{ [ns.a, ns.a]|unique|list }}",
    "hash": NESTED_TUPLE + "{{ {ns.a: 1}|length }}",
    "text of a view": NESTED + "{{ {'a': ns.a}.values() }}",
    "text of a namespace": NESTED + "{{ ns }}",
    "text in a format": NESTED + "{{ '{}'.format(ns.a)|length }}",
    "text of an error": NESTED + "{{ raise_exception(ns.a) }}",
    "memory": "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l, 'a' * 1000000] %}{% endfor %}x",
    "expandtabs": "{{ ('\t' * 200000).expandtabs(10000)|length }}",
    "separators": "{{ ([1]*100000)|tojson(separators=['a'*100000, ':'])|length }}",
    "stack": "{% set ns = namespace(a=[1]) %}{% for x in range(99999) %}{% set ns.a = ns.a|map('string') %}{% endfor %}{{ ns.a|list }}",
    "source": "{{ x }}" * 140_000,
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_only_its_process(name: str) -> None:
    memory, cpu = psutil.Process().memory_info().rss, time.process_time()
    with pytest.raises(FormatError, match="chat template bomb"):
        Template("bomb", BOMBS[name], {}, is_foreign=True).render(messages=[])
    assert psutil.Process().memory_info().rss - memory < 64 << 20
    assert time.process_time() - cpu < 2, "what waits for another process computes nothing"
    assert Template("own", "{{ 1 + 1 }}", {}, is_foreign=True).render() == "2"


def test_other_threads_run_meanwhile() -> None:
    ticks, ended = 0, threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not ended.wait(0.005):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    with pytest.raises(CostError):
        Template("bomb", BOMBS["compare"], {}, is_foreign=True).render()
    ended.set()
    thread.join()
    assert ticks > 20


def test_answers_are_not_mixed_up() -> None:
    template = Template("own", "{{ n }}{% if n % 9 == 0 %}{{ raise_exception('no') }}{% endif %}", {}, is_foreign=True)

    def render(number: int) -> str:
        try:
            return template.render(n=number)
        except FormatError:
            return "refused"

    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(render, range(200)))
    assert texts == ["refused" if n % 9 == 0 else str(n) for n in range(200)]


def test_every_text_comes_back_as_it_is() -> None:
    template = Template("own", "{{ messages[0].content }}", {}, is_foreign=True)
    for text in ("é\0\n\r\x1b\u2028\u2029", "\ud800", "🙂\ue0f0", "\\n\"'", "x" * 3_000_000):
        assert template.render(messages=[{"content": text}]) == text


def test_a_killed_process_is_replaced() -> None:
    template = Template("own", "{{ n }}", {}, is_foreign=True)
    process = templates._child()._process
    assert process is not None
    process.kill()
    process.wait()
    assert template.render(n=3) == "3"


def test_the_process_has_no_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/limits").exists():
        pytest.skip("needs /proc")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    templates._child().close()
    Template("own", "x", {}, is_foreign=True)
    process = templates._child()._process
    assert process is not None
    assert b"hf_secret" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    limits = dict(line[:26].rstrip() and (line[:26].rstrip(), line[26:].split()[0]) for line in
                  Path(f"/proc/{process.pid}/limits").read_text().splitlines()[1:])  # fmt: skip
    assert limits["Max file size"] == "0"
    assert int(limits["Max address space"]) <= 640 << 20


def test_variables_that_are_no_json_are_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    template = Template("own", "{{ x }}", {}, is_foreign=True)
    for value in (loop, object(), {1, 2}):
        with pytest.raises(FormatError):
            template.render(x=value)


@pytest.mark.parametrize("name", ["compare", "memory", "source"])
def test_commands_survive_a_model_with_a_bomb(demo_path: Path, tmp_path: Path, name: str) -> None:
    model = edit_metadata(demo_path, tmp_path / "x.gguf", {"general.name": "x", "tokenizer.chat_template": BOMBS[name]})
    shown = run_edgefc("show", model, folder=tmp_path)
    assert "architecture" in shown
    assert "chat template" in shown
    run_edgefc("run", "hi", "--model", model, folder=tmp_path)
    run_edgefc("render", "hi", "--model", model, folder=tmp_path)
    assert "demo" in run_edgefc("list", folder=tmp_path)
