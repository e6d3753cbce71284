"""The page's modules by themselves, in a browser: places in JSON, differences, branches, pieces of text."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.server.server_process import ServerProcess
from tests.server.ui.conftest import Open

if TYPE_CHECKING:
    from playwright.sync_api import Page

TEXTS = ('a"b\\c', "é𝒳\u202e", "", "[0]", "}", "tools[1].name")


@pytest.fixture
def run(server: ServerProcess, open_page: Open) -> Iterator[Any]:
    """Return a function that runs JavaScript with a module as `m` and a value as `v`."""
    page: Page = open_page(server)

    def evaluate(module: str, body: str, value: Any) -> Any:
        return page.evaluate(f"async (v) => {{ const m = await import('/ui/{module}'); {body} }}", value)

    return evaluate


def random_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(7 if depth < 4 else 4)
    if kind < 4:
        return [rng.choice(TEXTS), rng.randrange(-9, 9) / 4, True, None][kind]
    if kind == 4:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(TEXTS) + str(n): random_value(rng, depth + 1) for n in range(rng.randrange(1, 4))}


def random_path(rng: random.Random, value: Any) -> tuple[list[Any], Any]:
    path: list[Any] = []
    while isinstance(value, dict | list) and value and rng.random() < 0.8:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        path.append(key)
        value = value[key]
    return path, value


def test_a_path_leads_to_its_value(run: Any) -> None:
    rng = random.Random(0)
    cases, expected = [], []
    for _ in range(300):
        value = random_value(rng)
        path, found = random_path(rng, value)
        text = json.dumps(value, indent=rng.choice([None, 1, 4]), ensure_ascii=rng.random() < 0.5)
        cases.append([text, path])
        expected.append(found)
    body = "return v.map(([text, path]) => JSON.parse(text.slice(...m.locate(text, path))))"
    assert run("position.js", body, cases) == expected


def test_paths_are_those_of_the_server(run: Any) -> None:
    paths = {
        "tools[1].function.parameters.properties.x": ["tools", 1, "function", "parameters", "properties", "x"],
        'tools[0]["a b"].$defs': ["tools", 0, "a b", "$defs"],
        "tools": ["tools"],
    }
    assert run("position.js", "return v.map(m.parsePath)", list(paths)) == list(paths.values())
    body = "return [m.locate('[1, 2', [5]), m.locate('[{\"a\": 1}]', [0, 'b']), m.lineOf('a\\nbc', 3)]"
    assert run("position.js", body, None) == [None, [1, 9], {"line": 2, "column": 2}]


def common_length(a: str, b: str) -> int:
    """The length of a longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = row
        row = [0]
        for n, y in enumerate(b):
            row.append(before[n] + 1 if x == y else max(row[n], before[n + 1]))
    return row[-1]


def test_differences_leave_a_longest_common_part(run: Any) -> None:
    rng = random.Random(0)
    pairs = [["".join(rng.choices("abc", k=rng.randrange(14))) for _ in range(2)] for _ in range(200)]
    body = (
        "const tokens = (text) => [...text].map((each) => ({ text: each }));"
        "return v.map(([a, b]) => m.differences(tokens(a), tokens(b)).map((marks) => [...marks]))"
    )
    for (a, b), (only_a, only_b) in zip(pairs, run("differences.js", body, pairs), strict=True):
        rest = [
            "".join(each for n, each in enumerate(text) if n not in only) for text, only in ((a, only_a), (b, only_b))
        ]
        assert rest[0] == rest[1]
        assert len(rest[0]) == common_length(a, b)


def test_branches_keep_their_messages(run: Any) -> None:
    body = """
        const tree = new m.Tree();
        const add = (parent, text) => tree.add(parent, { messages: [text] });
        const first = add(tree.root, 'a'); const answer = add(first, 'b'); add(answer, 'c');
        const other = add(first, 'B'); add(other, 'C');
        const shown = () => m.messagesUpTo(tree.last()).join('');
        const seen = [shown()]; tree.turn(other, -1); seen.push(shown()); tree.turn(answer, -1); seen.push(shown());
        add(tree.root, 'x'); seen.push(shown());
        return seen;
    """
    assert run("tree.js", body, None) == ["aBC", "abc", "abc", "x"]


def test_pieces_of_characters_are_put_together(run: Any) -> None:
    data = "é𝒳a".encode()
    pieces = [{"piece": list(data[:1])}, {"piece": list(data[1:4])}, {"piece": list(data[4:6])}, {"piece": "a"}]
    assert run("text.js", "return m.decodePieces(v).map(({ text }) => text)", pieces) == ["", "é", "𝒳", "a"]
    shares = [None, 0, 0.00001, 0.0123, 0.5, 0.9995, 0.99995, 1]
    shown = ["–", "0.00 %", "< 0.01 %", "1.2 %", "50.0 %", "99.95 %", "> 99.99 %", "100.00 %"]
    assert run("text.js", "return v.map(m.percent)", shares) == shown
