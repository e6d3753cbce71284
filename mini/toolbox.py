"""The tools of a conversation: one to call and others beside it, near ones or far ones."""

from __future__ import annotations

from collections import defaultdict

from edgefc.tools.examples import EXAMPLE_TOOLS
from mini.answers import could_do
from mini.functions import DEMO, HAND, Function, Param, made_up
from mini.schemas import SHORT, Tool, present, words_of
from mini.values import Values

ORIGINS, ORIGIN_WEIGHTS = ("hand", "demo", "made_up"), (58, 30, 12)
_NEAR = 9  # neighbours in a file of demo/ are of the same field
_COMMON = set("get find the of a an in by for to and list show check calculate compute search make set is".split())


_DEMO_BY_NAME = {function.name: function for function in DEMO}


def has_phrases(function: Function) -> bool:
    """True if requests for it can be made of an imperative phrase and phrases of several parameters."""
    return bool(function.do) and len(function.required) > 1 and all(param.say for param in function.required)


def legs_of(function: Function) -> tuple[Param, Param] | None:
    """The parameters from where and to where something goes, if both are texts; other required ones have phrases."""
    if not function.do:
        return None
    ends = [[p for p in function.params if p.required and p.type == "string" and "enum" not in p.schema and not p.hints
             and p.say.startswith(f"{word} {{}}")] for word in ("from", "to")]  # fmt: skip
    if any(len(found) != 1 for found in ends) or not all(p.say for p in function.required):
        return None
    return ends[0][0], ends[1][0]


class Bank:
    """The functions of one side of the split."""

    def __init__(self, *, held_back: bool) -> None:
        self.hand = [function for function in HAND if function.held_back == held_back]
        self.demo = [function for function in DEMO if function.held_back == held_back]
        self.families: dict[str, list[Function]] = defaultdict(list)
        for function in self.hand:
            self.families[function.family].append(function)
        self.positions = {function: i for i, function in enumerate(self.demo)}
        self.hand_positions = {function: i for i, function in enumerate(self.hand)}
        self.by_name = {function.name: function for function in self.hand}
        self.with_phrases = [function for function in self.hand if has_phrases(function)]
        self.with_legs = [function for function in self.hand if legs_of(function)]
        self.with_results = [f for f in self.hand if f.result and (f.answers or f.aspects)]

    def pick(self, v: Values) -> Function:
        """Any function."""
        origin = v.rng.choices(ORIGINS, ORIGIN_WEIGHTS)[0]
        if origin == "hand" and self.hand:
            return v.rng.choice(self.hand)
        return v.rng.choice(self.demo) if origin == "demo" else made_up(v)

    def near(self, v: Values, function: Function) -> Function:
        """Another function of the same field, best one that differs in a word."""
        rng = v.rng
        if function.origin == "hand":
            siblings = [other for other in self.families[function.family] if other is not function]
            if siblings and rng.random() < 0.7:
                return rng.choice(siblings)
            at = self.hand_positions.get(self.by_name.get(function.name, function), 0)
            return self.hand[(at + rng.randrange(-4, 5)) % len(self.hand)]
        if function.origin == "demo":
            at = next((i for other, i in self.positions.items() if other.name == function.name), 0)
            return self.demo[(at + rng.randrange(-_NEAR, _NEAR + 1)) % len(self.demo)]
        things = [word for word in words_of(function.name) if word not in _COMMON]
        return made_up(v, thing=rng.choice(things) if things else None)


BANKS = {held_back: Bank(held_back=held_back) for held_back in (False, True)}


def clash(one: Function, other: Function) -> bool:
    """True if a request for one could be meant for the other."""
    if set(one.names) & set(other.names):
        return True
    if "made_up" in {one.origin, other.origin}:
        return len(set(words_of(one.name)) & set(words_of(other.name))) > 1
    return could_do(one, other, share=0.5)


def others(v: Values, functions: list[Function], count: int, *, near: float) -> list[Function]:
    """Functions to show beside these; each a near one with this chance."""
    bank = BANKS[v.held_back]
    chosen: list[Function] = []
    for _ in range(count * 4):
        if len(chosen) == count:
            break
        origin = v.rng.choice(functions) if functions else None
        new = bank.near(v, origin) if origin and v.rng.random() < near else bank.pick(v)
        if not any(clash(new, function) for function in [*functions, *chosen]):
            chosen.append(new)
    return chosen


def show(v: Values, functions: list[Function]) -> list[Tool]:
    """Tools of these functions under distinct names; descriptions are short where there are many."""
    style = SHORT if len(functions) > 3 or (len(functions) == 3 and v.rng.random() < 0.5) else ""
    tools: list[Tool] = []
    names: set[str] = set()
    for function in functions:
        for _ in range(20):
            tool = present(v, function, style=style)
            if tool.name not in names:
                break
        names.add(tool.name)
        tools.append(tool)
    return tools


def examples(v: Values) -> list[Tool]:
    """The example tools that edgefc brings, mostly all of them in their order."""
    tools = []
    for example in EXAMPLE_TOOLS:
        function = _DEMO_BY_NAME[example.schema["function"]["name"]]
        tools.append(Tool(function, dict(example.schema), {param.name: param.name for param in function.params}))
    return tools if v.rng.random() < 0.7 else v.rng.sample(tools, v.rng.randrange(3, len(tools) + 1))
