"""Conversations for training and evaluation, rendered with the project's own chat template.

`conversation(seed, held_back)` is a pure function of its arguments, so data are made on the fly and repeatable.
"""

from __future__ import annotations

import importlib
import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2

import demo.concepts
from demo import procedural
from demo.bank import MONTHS, WEEKDAYS, Concept, Param, Values, made_up
from edgefc.formats.dialects import outline

ROOT = Path(__file__).parents[1]
TEMPLATE = (ROOT / "chat_formats" / "demo.jinja").read_text(encoding="utf-8")


def load_concepts() -> list[Concept]:
    found: list[Concept] = []
    for module in demo.concepts.MODULES:
        found += importlib.import_module(f"demo.concepts.{module}").CONCEPTS
    return found


CONCEPTS = load_concepts()
EXAMPLES = CONCEPTS[[c.name for c in CONCEPTS].index("get_weather") :][:6]
# Every eighth hand-written concept is never trained on; the shipped example tools always are.
HELD_BACK = [c for i, c in enumerate(CONCEPTS) if i % 8 == 3 and c not in EXAMPLES]
SEEN = [c for c in CONCEPTS if c not in HELD_BACK]
# Where a tool stands among its own: those beside it are of the same field.
PLACES = {id(c): i for group in (HELD_BACK, SEEN) for i, c in enumerate(group)}

SYSTEMS = ["You are a helpful assistant.", "You help with tools.", "Be brief.", "You are an assistant that calls tools.",
           "Answer in one sentence.", "Use the tools when they help.", "You are a friendly assistant called Edge."]  # fmt: skip
NO_TOOL = [
    "None of my tools can do that.",
    "Sorry, I have no tool for that.",
    "I cannot do that with my tools.",
    "I have no tool that does this.",
]
PREFIXES = [
    "please ",
    "can you ",
    "could you ",
    "hey, ",
    "hi, ",
    "I would like you to ",
    "ok, ",
    "now ",
    "would you ",
    "also, ",
    "and ",
]
CHAT = [
    (["hello", "hi", "hey there", "good morning", "hi!"], ["Hello! What can I do for you?", "Hi! How can I help?"]),
    (["thanks", "thank you", "thanks a lot", "great, thanks", "perfect"], ["You are welcome.", "Happy to help."]),
    (["bye", "goodbye", "see you"], ["Goodbye!", "See you."]),
    (["who are you?", "what are you?", "what's your name"], ["I am the edgefc demo model; I call tools."]),
    (["what can you do?", "help", "how can you help me"], ["I can call the tools I am given and tell you what they say."]),
    (["ok", "I see", "good", "nice"], ["Is there anything else?"]),
]  # fmt: skip
NO_TOOLS_AT_ALL = ["I have no tools here, so I cannot do that.", "I need a tool for that, and I have none."]


@dataclass
class Tool:
    """A concept as one conversation shows it: with its names of the day."""

    concept: Concept
    schema: dict[str, Any]
    params: list[tuple[Param, str]]  # in the schema's order, with the name shown

    @property
    def name(self) -> str:
        return self.schema["function"]["name"]


@dataclass
class Ask:
    """What a user wants, and what is said: arguments by parameter, and the required ones left out."""

    tool: Tool
    text: str
    values: dict[str, Any]
    missing: list[Param]
    begins_with_value: bool = False

    @property
    def arguments(self) -> dict[str, Any]:
        return {shown: self.values[p.name] for p, shown in self.tool.params if p.name in self.values}


def environment() -> jinja2.Environment:
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False)
    env.filters["outline"] = outline
    env.filters["assistant_text"] = assistant_text
    return env


def assistant_text(message: dict[str, Any]) -> str:
    if message.get("tool_calls"):
        return dumps({"tool_calls": message["tool_calls"]})
    if message.get("no_tool"):
        return dumps({"no_tool": message["content"]})
    if message.get("required_functions"):
        return dumps({"required_functions": message["required_functions"], "clarification": message["content"]})
    return dumps({"response": message["content"]})


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


RENDER = environment().from_string(TEMPLATE)


def render(messages: list[dict[str, Any]], tools: list[dict[str, Any]], *, prompt: bool = False) -> str:
    return RENDER.render(messages=messages, tools=tools, add_generation_prompt=prompt)


def show(rng: random.Random, concept: Concept, *, exact: bool, opaque: str = "") -> Tool:
    """Dress a concept for one conversation; `exact` keeps first names, order and descriptions.

    A tool with an `opaque` name can only be known by its description.
    """
    name = concept.names[0] if exact else opaque or rng.choice(concept.names)
    params = list(concept.params)
    if not exact and rng.random() < 0.3:
        rng.shuffle(params)
    bare = not exact and rng.random() < 0.12
    shown: list[tuple[Param, str]] = []
    properties: dict[str, Any] = {}
    for param in params:
        label = param.names[0] if exact else rng.choice(param.names)
        if label in properties:
            label = param.names[0]
        schema: dict[str, Any] = {"type": param.type}
        if param.type == "array":
            schema["items"] = {"type": "string"}
        if param.enum:
            schema["enum"] = list(param.enum)
        if param.about and not bare:
            schema["description"] = param.about[0] if exact else rng.choice(param.about)
        properties[label] = schema
        shown.append((param, label))
    function: dict[str, Any] = {"name": name}
    if exact or opaque or rng.random() < 0.93:
        about = (
            concept.about[:1]
            if exact
            else rng.sample(concept.about, min(len(concept.about), 2 if rng.random() < 0.15 else 1))
        )
        function["description"] = ". ".join(about)
    function["parameters"] = {
        "type": "object",
        "properties": properties,
        "required": [label for param, label in shown if param.required],
    }
    return Tool(concept, {"type": "function", "function": function}, shown)


class Writer:
    """Writes one conversation."""

    def __init__(self, seed: int, held_back: bool) -> None:
        self.rng = random.Random(seed)
        self.values = Values(self.rng, held_back)
        self.held_back = held_back

    # -- values ---------------------------------------------------------------------------------------------
    def value(self, param: Param) -> tuple[Any, str]:
        """A value and how it is said."""
        rng = self.rng
        if param.type == "boolean":
            flag = rng.random() < 0.6
            return flag, param.say_true if flag else param.say_false
        if param.enum:
            value = rng.choice(list(param.enum))
            return value, param.enum[value]
        value = rng.choice(param.values) if param.values else self.values.draw(param.kind)
        if param.kind == "expression" and rng.random() < 0.25 and "(" not in value:
            words = {
                "*": [" times ", " multiplied by "],
                "+": [" plus "],
                "-": [" minus "],
                "/": [" divided by ", " over "],
            }
            plain = value.replace(" ", "")
            return plain, "".join(rng.choice(words[c]) if c in words else c for c in plain)
        if isinstance(value, list):
            return value, f"{', '.join(value[:-1])} and {value[-1]}" if rng.random() < 0.7 else ", ".join(value)
        return value, str(value)

    def ask(self, tool: Tool, template: str | None = None, *, complete: bool | None = None) -> Ask:
        """Fill one of the concept's utterances; `complete` asks for one with, or without, all it needs."""
        templates = tool.concept.say
        if complete is not None:
            fitting = [
                t for t in templates if complete == all("{" + p.name + "}" in t for p, _ in tool.params if p.required)
            ]
            templates = fitting or templates
        text = template or self.rng.choice(templates)
        begins_with_value = text.startswith("{")
        values: dict[str, Any] = {}
        for param, _ in tool.params:
            if "{" + param.name + "}" in text:
                values[param.name], spoken = self.value(param)
                text = text.replace("{" + param.name + "}", spoken)
        missing = [p for p, _ in tool.params if p.required and p.name not in values]
        return Ask(tool, text, values, missing, begins_with_value)

    def noise(self, ask: Ask) -> str:
        """The request as one person types it; a value keeps its capitals, which the call must have too."""
        rng, text, fixed = self.rng, ask.text, ask.begins_with_value
        if rng.random() < 0.22:
            lower = not fixed and (text[1:2].islower() or text[:2] == "A ")
            text, fixed = rng.choice(PREFIXES) + (text[:1].lower() + text[1:] if lower else text), False
        if rng.random() < 0.15:
            text = text.rstrip("?.")
        elif rng.random() < 0.1 and text[-1:].isalpha():
            text += rng.choice([" please", "?", ".", "!", ", please"])
        roll = rng.random()
        return text[:1].upper() + text[1:] if roll < 0.35 and not fixed else text

    # -- tools ----------------------------------------------------------------------------------------------
    def concepts(self, count: int) -> list[Concept]:
        rng = self.rng
        chosen: list[Concept] = []
        while len(chosen) < count:
            roll = rng.random()
            if roll < PROCEDURAL:
                new = procedural.concept(rng, self.held_back)
                if chosen and rng.random() < 0.3:  # a near neighbour: the same object or the same verb
                    words = chosen[-1].names[0].replace(".", "_").replace("-", "_").split("_")
                    same = [
                        w
                        for w in words
                        if w in (procedural.HELD_BACK_OBJECTS if self.held_back else procedural.TRAINED_OBJECTS)
                    ]
                    new = procedural.concept(rng, self.held_back, thing=same[0] if same else None)
            else:
                known = HELD_BACK if self.held_back else SEEN
                place = PLACES.get(id(chosen[-1])) if chosen and rng.random() < 0.3 else None
                near = None if place is None else place + rng.randrange(-9, 10)  # another of the same field
                new = rng.choice(known) if near is None else known[near % len(known)]
            if all(new.name != other.name and not set(new.names) & set(other.names) for other in chosen):
                chosen.append(new)
        return chosen

    def toolbox(self) -> list[Tool]:
        rng = self.rng
        roll = rng.random()
        if roll < 0.16 and not self.held_back:  # the shipped tools just as they are
            tools = [show(rng, c, exact=True) for c in EXAMPLES]
            if rng.random() < 0.5:
                tools = rng.sample(tools, rng.randrange(1, len(tools) + 1))
        else:
            concepts = self.concepts(rng.choice([1, 2, 2, 3, 3, 4, 4, 5, 6]))
            if roll < 0.34:
                concepts += [
                    c for c in rng.sample(EXAMPLES, rng.randrange(1, 4)) if c.name not in {x.name for x in concepts}
                ]
            rng.shuffle(concepts)
            tools = [show(rng, c, exact=rng.random() < 0.15, opaque=self.opaque()) for c in concepts]
        names: set[str] = set()
        return [t for t in tools if not (t.name in names or names.add(t.name))]

    def opaque(self) -> str:
        """Now and then, in training, a name that says nothing."""
        if self.held_back or self.rng.random() > 0.06:
            return ""
        return self.rng.choice(["tool_{}", "fn{}", "f{}", "api.{}", "{}"]).format(made_up(self.rng))

    # -- turns ----------------------------------------------------------------------------------------------
    def call_messages(self, asks: list[Ask]) -> list[dict[str, Any]]:
        """The calls, and mostly their results and the answer."""
        calls = [{"name": a.tool.name, "arguments": a.arguments} for a in asks]
        messages: list[dict[str, Any]] = [{"role": "assistant", "tool_calls": calls}]
        if self.rng.random() < 0.55:
            return messages
        answers = []
        for a in asks:
            result, facts = self.result(a)
            messages.append({"role": "tool", "name": a.tool.name, "content": result})
            answers.append(self.answer(a, facts, len(asks) > 1))
        messages.append({"role": "assistant", "content": " ".join(answers)})
        return messages

    def result(self, ask: Ask) -> tuple[str, dict[str, str]]:
        rng = self.rng
        if rng.random() < 0.04:
            reason = rng.choice(
                ["not found", "no connection", "permission denied", "unknown place", "too many requests"]
            )
            return dumps({"error": reason}), {"error": reason}
        result: dict[str, Any] = {}
        for key, kind in ask.tool.concept.result.items():
            if kind.startswith("="):
                source, _, default = kind[1:].partition("|")
                result[key] = ask.values.get(source, default)
            else:
                result[key] = self.fact(kind)
        facts = {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in result.items()}
        facts = {k: v.strip("[]").replace('"', "") if isinstance(result[k], list) else v for k, v in facts.items()}
        if rng.random() < 0.1:  # a tool that answers in words
            form = rng.choice(["{}: {}", "{} {}", "{} = {}", "{} is {}"])
            text = rng.choice([", ", "; ", ". "]).join(form.format(k, v) for k, v in facts.items())
            return text, {"": text}
        return dumps(result), facts

    def fact(self, kind: str) -> Any:
        rng = self.rng
        if kind == "true":
            return True
        if kind == "temperature":
            return rng.randrange(-15, 42) if rng.random() < 0.8 else round(rng.uniform(-10, 40), 1)
        if kind == "conditions":
            return rng.choice(
                [
                    "light rain",
                    "sunshine",
                    "clear sky",
                    "snow",
                    "fog",
                    "thunderstorms",
                    "clouds",
                    "heavy rain",
                    "drizzle",
                    "strong wind",
                    "hail",
                    "a few clouds",
                ]
            )
        if kind == "clock":
            return f"{rng.randrange(24):02}:{rng.randrange(60):02}"
        if kind == "long_date":
            return f"{rng.choice(WEEKDAYS)} {rng.randrange(1, 29)} {rng.choice(MONTHS)} {rng.randrange(2024, 2030)}"
        if kind == "rolls":
            return [rng.randrange(1, 21) for _ in range(rng.choice([1, 1, 2, 2, 3, 4]))]
        if kind == "status":
            return rng.choice(["ok", "done", "pending", "ready", "on the way", "running", "delayed", "active"])
        return self.values.draw(kind)

    def answer(self, ask: Ask, facts: dict[str, str], several: bool) -> str:
        """What the result says: for the example tools in a sentence of their own, for others field by field.

        A model this small knows no good sentence for a tool it never saw; what it can do is tell all of the result.
        """
        if "error" in facts:
            return f"That did not work: {facts['error']}."
        if "" in facts:
            return f"The tool says: {facts['']}."
        spoken = {p.name: v if isinstance(v, str) else dumps(v)
                  for p, _ in ask.tool.params if (v := ask.values.get(p.name)) is not None}  # fmt: skip
        if ask.tool.concept in EXAMPLES:
            known = {**spoken, **facts}
            for text in ask.tool.concept.tell:
                for key, value in known.items():
                    text = text.replace("{" + key + "}", value)
                if "{" not in text:
                    return text
        told = [f"the {key.replace('_', ' ')} is {value}" for key, value in facts.items() if value != "true"]
        if not told:
            return "Done."
        text = " and ".join(filter(None, (", ".join(told[:-1]), told[-1]))) + "."
        about = next(iter(spoken.values()), "") if several else ""
        return f"{about}: {text}" if about else text[:1].upper() + text[1:]

    def single(self, tools: list[Tool]) -> list[dict[str, Any]]:
        ask = self.ask(self.rng.choice(tools), complete=True if self.rng.random() < 0.8 else None)
        if ask.missing:
            return self.clarify(ask)
        return [{"role": "user", "content": self.noise(ask)}, *self.call_messages([ask])]

    def clarify(self, ask: Ask) -> list[dict[str, Any]]:
        rng = self.rng
        first = ask.missing[0]
        question = " ".join((p.ask or [f"What is the {p.name.replace('_', ' ')}?"])[0] for p in ask.missing)
        said: dict[str, Any] = {"role": "assistant", "content": question, "required_functions": [ask.tool.name]}
        messages = [{"role": "user", "content": self.noise(ask)}, said]
        if rng.random() < 0.55:
            spoken = []
            for param in ask.missing:
                ask.values[param.name], text = self.value(param)
                spoken.append(text)
            if rng.random() < 0.4:
                messages[-1] = {**said, "history": True}
            lead = rng.choice(["", "", "", "in " if first.kind == "city" else "", "I mean "])
            messages.append({"role": "user", "content": lead + " and ".join(spoken)})
            messages += self.call_messages([replace(ask, missing=[])])
        return messages

    def parallel(self, tools: list[Tool]) -> list[dict[str, Any]]:
        rng = self.rng
        if rng.random() < 0.55:
            return self.same_tool(tools)
        count = min(len(tools), rng.choice([2, 2, 2, 3]))
        asks = [self.ask(tool, complete=True) for tool in rng.sample(tools, count)]
        asks = [a for a in asks if not a.missing]
        if not asks:
            return self.single(tools)
        glue = rng.choice([" and ", ", and ", ". Also, ", ", then ", "; ", ". ", " and also ", ". Then "])
        text = glue.join(a.text.rstrip(".?! ") if i < len(asks) - 1 else a.text for i, a in enumerate(asks))
        return [{"role": "user", "content": self.noise(replace(asks[0], text=text))}, *self.call_messages(asks)]

    def same_tool(self, tools: list[Tool]) -> list[dict[str, Any]]:
        """One question about several things: "the weather in Paris and in Oslo"."""
        rng = self.rng
        candidates = []
        for tool in tools:
            for template in tool.concept.say:
                slots = [p for p, _ in tool.params if "{" + p.name + "}" in template]
                need = [p for p, _ in tool.params if p.required and p not in slots]
                varied = [
                    p
                    for p in slots
                    if p.type in {"string", "integer", "number"}
                    and not p.enum
                    and p.kind not in {"expression", "sentence"}
                ]
                kinds = [p.kind for p in slots if p.kind]
                if varied and not need and "between" not in template and len(set(kinds)) == len(kinds):
                    candidates.append((tool, template, rng.choice(varied)))
        if not candidates:
            return self.single(tools)
        tool, template, param = rng.choice(candidates)
        first = self.ask(tool, template)
        count = rng.choice([2, 2, 2, 3, 3, 4])
        drawn = [self.value(param) for _ in range(count)]
        drawn = [pair for i, pair in enumerate(drawn) if pair[0] not in [p[0] for p in drawn[:i]]]
        prep = next(
            (w for w in ("in", "for", "to", "on", "at", "from", "about", "of") if f"{w} {{{param.name}}}" in template),
            "",
        )
        joint = f" {prep} " if prep and rng.random() < 0.5 else " "
        spoken = [text for _, text in drawn]
        listed = (
            spoken[0]
            if len(spoken) == 1
            else f"{(',' + joint).join(spoken[:-1])} {rng.choice(['and', 'and', 'and', 'as well as'])}{joint}{spoken[-1]}"
        )
        text = template.replace("{" + param.name + "}", listed)
        for other, _ in tool.params:
            if other.name in first.values and other is not param:
                text = text.replace("{" + other.name + "}", self.spoken(other, first.values[other.name]))
        asks = [Ask(tool, text, {**first.values, param.name: value}, [], first.begins_with_value) for value, _ in drawn]
        return [{"role": "user", "content": self.noise(asks[0])}, *self.call_messages(asks)]

    def spoken(self, param: Param, value: Any) -> str:
        if param.type == "boolean":
            return param.say_true if value else param.say_false
        if param.enum:
            return param.enum[value]
        return ", ".join(value) if isinstance(value, list) else str(value)

    def no_tool(self, tools: list[Tool]) -> list[dict[str, Any]]:
        present = {word for t in tools for word in t.concept.names}
        for _ in range(20):
            other = (
                procedural.concept(self.rng, self.held_back)
                if self.rng.random() < 0.5
                else self.rng.choice(HELD_BACK if self.held_back else SEEN)
            )
            things = {w for n in other.names for w in n.replace(".", "_").replace("-", "_").split("_")}
            if not present & set(other.names) and not any(
                len(things & set(p.replace(".", "_").replace("-", "_").split("_"))) > 1 for p in present
            ):
                break
        ask = self.ask(show(self.rng, other, exact=False), complete=True)
        return [
            {"role": "user", "content": self.noise(ask)},
            {"role": "assistant", "content": NO_TOOL[0], "no_tool": True},
        ]

    def small_talk(self) -> list[dict[str, Any]]:
        said, answers = self.rng.choice(CHAT)
        return [{"role": "user", "content": self.rng.choice(said)}, {"role": "assistant", "content": answers[0]}]

    def turn(self, kind: str, tools: list[Tool]) -> list[dict[str, Any]]:
        if kind == "clarify":
            wanting = [t for t in tools if any(p.required for p in t.concept.params)]
            if wanting:
                ask = self.ask(self.rng.choice(wanting), complete=False)
                if ask.missing:
                    return self.clarify(ask)
            return self.single(tools)
        if kind == "small_talk":
            return self.small_talk()
        return {"single": self.single, "parallel": self.parallel, "no_tool": self.no_tool}[kind](tools)


PROCEDURAL = 0.4  # of the tools; the others are hand-written

KINDS = ("single", "parallel", "clarify", "no_tool", "small_talk")
WEIGHTS = (36, 27, 17, 17, 3)


def conversation(
    seed: int, held_back: bool = False, kinds: tuple[str, ...] | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Messages and tools of one conversation; `kinds` fixes its turns."""
    writer = Writer(seed, held_back)
    rng = writer.rng
    messages: list[dict[str, Any]] = []
    if rng.random() < 0.3:
        messages.append({"role": "system", "content": rng.choice(SYSTEMS)})
    if kinds is None and rng.random() < 0.02:
        ask = writer.ask(show(rng, rng.choice(SEEN), exact=False))
        messages += [
            {"role": "user", "content": ask.text},
            {"role": "assistant", "content": rng.choice(NO_TOOLS_AT_ALL)},
        ]
        return messages, []
    tools = writer.toolbox()
    for kind in kinds or rng.choices(KINDS, WEIGHTS, k=rng.choice([2, 3, 3, 4, 4, 5])):
        messages += writer.turn(kind, tools)
    return messages, [t.schema for t in tools]


def segments(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    """The rendered conversation cut into (text, is the model's own) pieces."""
    text = render(messages, tools)
    pieces: list[tuple[str, bool]] = []
    head = "<|im_start|>assistant\n"
    while text:
        before, found, rest = text.partition(head)
        pieces.append((before + found, False))
        if not found:
            break
        answer, end, text = rest.partition("<|im_end|>")
        pieces.append((answer + end, True))
    return pieces


if __name__ == "__main__":
    for number in range(6):
        print(render(*conversation(number)), "\n" + "=" * 80)
