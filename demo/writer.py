"""Writes the turns of one conversation: requests, calls, results, answers, questions and refusals."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from typing import Any

from demo import procedural
from demo.concepts import Concept, Param
from demo.tools import EXAMPLES, HELD_BACK, TRAINED, Tool, make_tool
from demo.values import Values, pseudoword

PROCEDURAL_SHARE = 0.4  # the other tools are hand-written
NO_TOOL = "None of my tools can do that."
LEAD_INS = ["please ", "can you ", "could you ", "hey, ", "hi, ", "I would like you to ", "ok, ", "now ", "would you ",
            "also, ", "and "]  # fmt: skip
JOINTS = [" and ", ", and ", ". Also, ", ", then ", "; ", ". ", " and also ", ". Then "]
PREPOSITIONS = ("in", "for", "to", "on", "at", "from", "about", "of")
SMALL_TALK = [
    (["hello", "hi", "hey there", "good morning", "hi!"], "Hello! What can I do for you?"),
    (["thanks", "thank you", "thanks a lot", "great, thanks", "perfect"], "You are welcome."),
    (["bye", "goodbye", "see you"], "Goodbye!"),
    (["who are you?", "what are you?", "what's your name"], "I am the edgefc demo model; I call tools."),
    (
        ["what can you do?", "help", "how can you help me"],
        "I can call the tools I am given and tell you what they say.",
    ),
    (["ok", "I see", "good", "nice"], "Is there anything else?"),
]
ERRORS = ["not found", "no connection", "permission denied", "unknown place", "too many requests"]
OPERATORS = {
    "*": [" times ", " multiplied by "],
    "+": [" plus "],
    "-": [" minus "],
    "/": [" divided by ", " over "],
}
# Position of a concept among those of its side of the split: its neighbours are of the same field.
_POSITIONS = {concept: i for group in (HELD_BACK, TRAINED) for i, concept in enumerate(group)}

Message = dict[str, Any]


@dataclass
class Request:
    """A user's request for one call.

    values   arguments by parameter name
    missing  required parameters that the text does not mention
    """

    tool: Tool
    text: str
    values: dict[str, Any]
    missing: list[Param]
    starts_with_value: bool = False

    @property
    def arguments(self) -> dict[str, Any]:
        return {label: self.values[param.name] for param, label in self.tool.params if param.name in self.values}


class Writer:
    """Writes one conversation from a seed. `held_back` uses only tools, values and words that training never has."""

    def __init__(self, seed: int, *, held_back: bool) -> None:
        self.rng = random.Random(seed)
        self.values = Values(self.rng, held_back=held_back)
        self.held_back = held_back
        self.hand_written = HELD_BACK if held_back else TRAINED

    # -- tools
    def pick_tools(self) -> list[Tool]:
        """The tools of the conversation, under distinct names."""
        rng = self.rng
        roll = rng.random()
        if roll < 0.16 and not self.held_back:  # the package's example tools just as they are
            tools = [make_tool(rng, concept, exact=True) for concept in EXAMPLES]
            if rng.random() < 0.5:
                tools = rng.sample(tools, rng.randrange(1, len(tools) + 1))
        else:
            concepts = self._pick_concepts(rng.choice([1, 2, 2, 3, 3, 4, 4, 5, 6]))
            if roll < 0.34:
                present = {concept.name for concept in concepts}
                examples = rng.sample(EXAMPLES, rng.randrange(1, 4))
                concepts += [concept for concept in examples if concept.name not in present]
            rng.shuffle(concepts)
            tools = [self._vary(concept) for concept in concepts]
        distinct: dict[str, Tool] = {}
        for tool in tools:
            distinct.setdefault(tool.name, tool)
        return list(distinct.values())

    def _vary(self, concept: Concept) -> Tool:
        exact = self.rng.random() < 0.15
        return make_tool(self.rng, concept, exact=exact, opaque_name=self._opaque_name())

    def _opaque_name(self) -> str:
        """Now and then, in training, a name without meaning; otherwise ""."""
        if self.held_back or self.rng.random() > 0.06:
            return ""
        return self.rng.choice(["tool_{}", "fn{}", "f{}", "api.{}", "{}"]).format(pseudoword(self.rng, held_back=False))

    def _pick_concepts(self, count: int) -> list[Concept]:
        chosen: list[Concept] = []
        while len(chosen) < count:
            previous = chosen[-1] if chosen else None
            new = self._procedural(previous) if self.rng.random() < PROCEDURAL_SHARE else self._hand_written(previous)
            if not any(set(new.names) & set(other.names) for other in chosen):
                chosen.append(new)
        return chosen

    def _procedural(self, previous: Concept | None) -> Concept:
        """A made-up concept, sometimes a near neighbour of the previous one: for the same object."""
        new = procedural.concept(self.rng, held_back=self.held_back)
        if previous is None or self.rng.random() >= 0.3:
            return new
        objects = procedural.HELD_BACK_OBJECTS if self.held_back else procedural.TRAINED_OBJECTS
        same = next((word for word in _words(previous.name) if word in objects), None)
        return procedural.concept(self.rng, held_back=self.held_back, thing=same)

    def _hand_written(self, previous: Concept | None) -> Concept:
        """A hand-written concept, sometimes from the neighbourhood of the previous one."""
        position = _POSITIONS.get(previous) if previous and self.rng.random() < 0.3 else None
        if position is None:
            return self.rng.choice(self.hand_written)
        return self.hand_written[(position + self.rng.randrange(-9, 10)) % len(self.hand_written)]

    # -- requests
    def value(self, param: Param) -> tuple[Any, str]:
        """A value for a parameter, and the words for it."""
        rng = self.rng
        if param.type == "boolean":
            flag = rng.random() < 0.6
            return flag, _words_for(param, flag)
        if param.enum:
            value = rng.choice(list(param.enum))
            return value, param.enum[value]
        value = rng.choice(param.values) if param.values else self.values.draw(param.value)
        if param.value == "expression" and rng.random() < 0.25 and "(" not in value:
            compact = value.replace(" ", "")
            return compact, "".join(rng.choice(OPERATORS[c]) if c in OPERATORS else c for c in compact)
        if isinstance(value, list) and rng.random() < 0.7:
            return value, f"{', '.join(value[:-1])} and {value[-1]}"
        return value, _words_for(param, value)

    def request(self, tool: Tool, template: str | None = None, *, complete: bool | None = None) -> Request:
        """Fill one of the concept's requests. `complete` wants one with, or without, all required parameters."""
        templates = tool.concept.requests
        if complete is not None:
            required = [slot(param) for param, _ in tool.params if param.required]
            fitting = [text for text in templates if complete == all(each in text for each in required)]
            templates = fitting or templates
        text = template or self.rng.choice(templates)
        starts_with_value = text.startswith("{")
        values: dict[str, Any] = {}
        for param, _ in tool.params:
            if slot(param) in text:
                values[param.name], words = self.value(param)
                text = text.replace(slot(param), words)
        missing = [param for param, _ in tool.params if param.required and param.name not in values]
        return Request(tool, text, values, missing, starts_with_value)

    def typed(self, request: Request) -> Message:
        """The user message, as one person might type it. Values keep their capitals, which the call must have too."""
        rng, text, fixed = self.rng, request.text, request.starts_with_value
        if rng.random() < 0.22:
            lower = not fixed and (text[1:2].islower() or text[:2] == "A ")
            text = rng.choice(LEAD_INS) + (text[:1].lower() + text[1:] if lower else text)
            fixed = False
        if rng.random() < 0.15:
            text = text.rstrip("?.")
        elif rng.random() < 0.1 and text[-1:].isalpha():
            text += rng.choice([" please", "?", ".", "!", ", please"])
        if rng.random() < 0.35 and not fixed:
            text = text[:1].upper() + text[1:]
        return {"role": "user", "content": text}

    # -- calls, results and answers
    def call_messages(self, requests: list[Request]) -> list[Message]:
        """The calls, and in nearly half of all cases their results and the answer."""
        calls = [{"name": request.tool.name, "arguments": request.arguments} for request in requests]
        messages: list[Message] = [{"role": "assistant", "tool_calls": calls}]
        if self.rng.random() < 0.55:
            return messages
        answers = []
        for request in requests:
            result, facts = self.result(request)
            messages.append({"role": "tool", "name": request.tool.name, "content": result})
            answers.append(self.answer(request, facts, is_one_of_several=len(requests) > 1))
        messages.append({"role": "assistant", "content": " ".join(answers)})
        return messages

    def result(self, request: Request) -> tuple[str, dict[str, str]]:
        """A tool result, and its facts by field: "error" for a failure, "" for a result in words."""
        rng = self.rng
        if rng.random() < 0.04:
            reason = rng.choice(ERRORS)
            return to_json({"error": reason}), {"error": reason}
        result: dict[str, Any] = {}
        for key, kind in request.tool.concept.result.items():
            if kind.startswith("="):
                source, _, default = kind[1:].partition("|")
                result[key] = request.values.get(source, default)
            else:
                result[key] = self.values.draw(kind)
        facts = {key: value if isinstance(value, str) else to_json(value) for key, value in result.items()}
        for key, value in result.items():
            if isinstance(value, list):
                facts[key] = facts[key].strip("[]").replace('"', "")
        if rng.random() < 0.1:
            form = rng.choice(["{}: {}", "{} {}", "{} = {}", "{} is {}"])
            text = rng.choice([", ", "; ", ". "]).join(form.format(key, value) for key, value in facts.items())
            return text, {"": text}
        return to_json(result), facts

    def answer(self, request: Request, facts: dict[str, str], *, is_one_of_several: bool) -> str:
        """The result in words: a sentence for the example tools, field by field for all others.

        A model this small knows no good sentence for a tool that it never saw, but it can report every field.
        """
        if "error" in facts:
            return f"That did not work: {facts['error']}."
        if "" in facts:
            return f"The tool says: {facts['']}."
        texts = {}
        for param, _ in request.tool.params:
            value = request.values.get(param.name)
            if value is not None:
                texts[param.name] = value if isinstance(value, str) else to_json(value)
        for template in request.tool.concept.answers:
            answer = _fill(template, {**texts, **facts})
            if "{" not in answer:
                return answer
        fields = [f"the {key.replace('_', ' ')} is {value}" for key, value in facts.items() if value != "true"]
        if not fields:
            return "Done."
        text = " and ".join(filter(None, (", ".join(fields[:-1]), fields[-1]))) + "."
        about = next(iter(texts.values()), "") if is_one_of_several else ""
        return f"{about}: {text}" if about else text[:1].upper() + text[1:]

    # -- turns
    def turn(self, kind: str, tools: list[Tool]) -> list[Message]:
        """The messages of one turn of a kind (see `KINDS`), or of a single call if the tools do not allow that kind."""
        if kind == "clarify":
            tools_with_required = [tool for tool in tools if any(param.required for param in tool.concept.params)]
            if tools_with_required:
                request = self.request(self.rng.choice(tools_with_required), complete=False)
                if request.missing:
                    return self.clarify(request)
            return self.single(tools)
        if kind == "small_talk":
            return self.small_talk()
        return {"single": self.single, "parallel": self.parallel, "no_tool": self.no_tool}[kind](tools)

    def single(self, tools: list[Tool]) -> list[Message]:
        request = self.request(self.rng.choice(tools), complete=True if self.rng.random() < 0.8 else None)
        if request.missing:
            return self.clarify(request)
        return [self.typed(request), *self.call_messages([request])]

    def clarify(self, request: Request) -> list[Message]:
        """A question for the missing parameters; in nearly half of all cases it is answered."""
        rng = self.rng
        first = request.missing[0]
        question = " ".join(_question(param) for param in request.missing)
        reply = {"role": "assistant", "content": question, "required_functions": [request.tool.name]}
        messages = [self.typed(request), reply]
        if rng.random() < 0.55:
            texts = []
            for param in request.missing:
                request.values[param.name], words = self.value(param)
                texts.append(words)
            if rng.random() < 0.4:
                reply["history"] = True
            lead_in = rng.choice(["", "", "", "in " if first.value == "city" else "", "I mean "])
            messages.append({"role": "user", "content": lead_in + " and ".join(texts)})
            messages += self.call_messages([replace(request, missing=[])])
        return messages

    def parallel(self, tools: list[Tool]) -> list[Message]:
        rng = self.rng
        if rng.random() < 0.55:
            return self.same_tool(tools)
        count = min(len(tools), rng.choice([2, 2, 2, 3]))
        requests = [self.request(tool, complete=True) for tool in rng.sample(tools, count)]
        requests = [request for request in requests if not request.missing]
        if not requests:
            return self.single(tools)
        joint = rng.choice(JOINTS)
        texts = [request.text.rstrip(".?! ") for request in requests[:-1]] + [requests[-1].text]
        return [self.typed(replace(requests[0], text=joint.join(texts))), *self.call_messages(requests)]

    def same_tool(self, tools: list[Tool]) -> list[Message]:
        """One request with several values for a parameter: "the weather in Paris and in Oslo"."""
        rng = self.rng
        candidates = [found for tool in tools for text in tool.concept.requests if (found := self._varied(tool, text))]
        if not candidates:
            return self.single(tools)
        tool, template, param = rng.choice(candidates)
        first = self.request(tool, template)
        drawn: list[tuple[Any, str]] = []
        for value, words in [self.value(param) for _ in range(rng.choice([2, 2, 2, 3, 3, 4]))]:
            if value not in [other for other, _ in drawn]:
                drawn.append((value, words))
        preposition = next((word for word in PREPOSITIONS if f"{word} {slot(param)}" in template), "")
        text = template.replace(slot(param), self._listed([words for _, words in drawn], preposition))
        for other, _ in tool.params:
            if other.name in first.values and other is not param:
                text = text.replace(slot(other), _words_for(other, first.values[other.name]))
        requests = [replace(first, text=text, values={**first.values, param.name: value}) for value, _ in drawn]
        return [self.typed(requests[0]), *self.call_messages(requests)]

    def _varied(self, tool: Tool, template: str) -> tuple[Tool, str, Param] | None:
        """A parameter of this request that can take several values, or None."""
        used = [param for param, _ in tool.params if slot(param) in template]
        if any(param.required and param not in used for param, _ in tool.params) or "between" in template:
            return None
        kinds = [param.value for param in used if param.value]
        plain = [param for param in used if param.type in {"string", "integer", "number"} and not param.enum
                 and param.value not in {"expression", "sentence"}]  # fmt: skip
        return (tool, template, self.rng.choice(plain)) if plain and len(set(kinds)) == len(kinds) else None

    def _listed(self, texts: list[str], preposition: str) -> str:
        """Values as a list in words, with the preposition before each or only before the first."""
        gap = f" {preposition} " if preposition and self.rng.random() < 0.5 else " "
        if len(texts) == 1:
            return texts[0]
        conjunction = self.rng.choice(["and", "and", "and", "as well as"])
        return f"{(',' + gap).join(texts[:-1])} {conjunction}{gap}{texts[-1]}"

    def no_tool(self, tools: list[Tool]) -> list[Message]:
        """A request for a tool that is not there."""
        present = {name for tool in tools for name in tool.concept.names}
        for _ in range(20):
            is_procedural = self.rng.random() < 0.5
            other = (
                procedural.concept(self.rng, held_back=self.held_back)
                if is_procedural
                else self.rng.choice(self.hand_written)
            )
            words = {word for name in other.names for word in _words(name)}
            if not present & set(other.names) and all(len(words & set(_words(name))) < 2 for name in present):
                break
        request = self.request(make_tool(self.rng, other, exact=False), complete=True)
        return [self.typed(request), {"role": "assistant", "content": NO_TOOL, "no_tool": True}]

    def small_talk(self) -> list[Message]:
        openings, answer = self.rng.choice(SMALL_TALK)
        return [{"role": "user", "content": self.rng.choice(openings)}, {"role": "assistant", "content": answer}]


def slot(param: Param) -> str:
    return "{" + param.name + "}"


def _fill(template: str, texts: dict[str, str]) -> str:
    for name, text in texts.items():
        template = template.replace("{" + name + "}", text)
    return template


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _words(name: str) -> list[str]:
    """The words of a tool's name."""
    return name.replace(".", "_").replace("-", "_").split("_")


def _words_for(param: Param, value: Any) -> str:
    """The words for a value of a parameter."""
    if param.type == "boolean":
        return param.say_true if value else param.say_false
    if param.enum:
        return param.enum[value]
    return ", ".join(value) if isinstance(value, list) else str(value)


def _question(param: Param) -> str:
    return param.ask[0] if param.ask else f"What is the {param.name.replace('_', ' ')}?"
