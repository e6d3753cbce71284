"""Users' requests: sentences filled with values, in many registers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mini.functions import Param, bases, parts_of
from mini.schemas import Tool
from mini.values import HINTS, Drawn, Values, in_words

_SEGMENT = re.compile(r"\[([^\[\]]*)\]")
PREPOSITIONS = set(
    "in with for to on at from about of by between as within after before until since per near under over around that "
    "which "
    "where using called named without during starting ending sorted limited rounded measured given costing worth "
    "only not but so as built made ready sent paid worth oral kind into through against because via like".split()
)
POLITE = ("can you {}?", "could you {}?", "could you please {}?", "please {}.", "please {}", "would you {}?",
          "I need you to {}.", "I want to {}.", "I'd like to {}.", "help me {}.", "we have to {}.",
          "I'm trying to {}.", "I'd like you to {}.", "go ahead and {}.", "kindly {}.", "now {}.")  # fmt: skip
OPENINGS = (
    "Hi!", "Hello,", "Hey,", "Good morning.", "Quick question:", "One more thing:", "Sorry to bother you.",
    "I'm preparing for an exam.", "My teacher asked me about this.", "This is for a school project.", "I'm in a hurry.",
    "I have a meeting in 10 minutes.", "My colleague is waiting for this.", "We talked about this at lunch.",
    "I've been at this for two hours.", "It's been a long day.", "I'm writing a report.", "A friend asked me this.",
    "I lost my notes.", "My calculator is broken.", "I'm new here.", "Let me try this again.",
    "I promised my boss an answer.",
    "I read about this yesterday.", "My sister says I can't do it by myself.", "We have guests on Sunday.",
    "I'm working on a small side project.", "There are 3 of us in the team and nobody knows.",
    "It's raining and I am bored.",
    "You are a data scientist who works on a project.", "You are planning a trip with two friends.",
    "Imagine you are a teacher with a class of 24.", "John is working on a project with his team.",
    "Suppose that you run a small shop.", "In our company we have had this question for 3 weeks.",
    "You are an engineer in a lab, and a colleague needs some figures.", "Anna and Ben argue about this.",
    "A customer called me this morning.", "We are a group of 12 students.", "Let us say I were your neighbour.",
    "I am in the middle of preparing a talk for 40 people.", "My parents are visiting next week.",
    "You are helping a researcher who writes her second paper.", "For an article on page 7 I need this:",
    "I just got back from a walk.", "I'm checking some old homework.", "For the newsletter I need one thing.",
)  # fmt: skip
CLOSINGS = (
    "Thanks!", "Thank you.", "Thanks in advance.", "That would help me a lot.", "No rush.", "It's urgent.", "Cheers.",
    "I need it for a report.", "Just a rough check for me.", "I'd be grateful.", "My boss wants to know.",
    "It's for my homework.", "We decide on it tomorrow.", "That's all for now.", "I could not find it anywhere else.",
)  # fmt: skip
SHORT_OPENINGS = ("hi, ", "hey, ", "ok, ", "so, ", "hello, ", "well, ", "quick one: ", "next: ")


@dataclass
class Request:
    """A user's request for one call.

    drawn    values and their words by parameter
    missing  required parameters that the text does not mention
    wordings the text before its values were filled in
    """

    tool: Tool
    text: str
    drawn: dict[str, Drawn]
    missing: list[Param]
    template: str = ""

    @property
    def call(self) -> dict[str, Any]:
        arguments = self.tool.arguments({name: one.value for name, one in self.drawn.items()})
        return {"name": self.tool.name, "arguments": arguments}

    def words(self) -> dict[str, str]:
        return {name: one.words for name, one in self.drawn.items()}


def is_attached(phrase: str) -> bool:
    """True if a phrase follows directly, without "with": "in Oslo", "sorted by name", "without the ends"."""
    first = phrase.partition(" ")[0].lower()
    return first in PREPOSITIONS or (first.endswith(("ing", "ed")) and first != "fixed")


def is_complete(tool: Tool, template: str) -> bool:
    """True if the template mentions all required parameters outside of optional segments."""
    sure = bases(template)
    return all(param.name in sure for param in tool.function.required)


class RequestWriter:
    """Writes requests with the values of one conversation."""

    def __init__(self, values: Values) -> None:
        self.values, self.rng = values, values.rng

    def complete(self, tool: Tool) -> Request | None:
        """A request with all required parameters, or None if the function has no words for one."""
        function = tool.function
        templates = [text for text in function.requests if is_complete(tool, text)]
        if function.do and all(param.say for param in function.required) and (not templates or self.rng.random() < 0.3):
            return self.assembled(tool, self._chosen(tool))
        return self.fill(tool, self.rng.choice(templates)) if templates else None

    def incomplete(self, tool: Tool) -> Request | None:
        """A request without one or two of the required parameters."""
        function, rng = tool.function, self.rng
        askable = [param for param in function.required if param.type not in {"boolean", "object"}]
        if not askable:
            return None
        templates = [text for text in function.requests if not is_complete(tool, text)]
        if templates and (not function.do or rng.random() < 0.4):
            request = self.fill(tool, rng.choice(templates))
            fits = request.missing and len(request.missing) < 4
            return request if fits and all(param in askable for param in request.missing) else None
        if not function.do or not all(param.say for param in function.required):
            return None
        left_out = rng.sample(askable, min(len(askable), rng.choice([1, 1, 1, 2])))
        return self.assembled(tool, [param for param in self._chosen(tool) if param not in left_out])

    def _chosen(self, tool: Tool) -> list[Param]:
        chance = self.rng.choice([0.0, 0.3, 0.6, 0.9])
        return [p for p in tool.function.params if p.required or (p.say and self.rng.random() < chance)]

    # -- two ways to write a request
    def fill(self, tool: Tool, template: str, drawn: dict[str, Drawn] | None = None) -> Request:
        """Fill a template; each optional segment is used or left out."""
        rng, params = self.rng, tool.params
        keep = rng.choice([0.2, 0.5, 0.9])
        required = {param.name for param in params.values() if param.required}

        def segment(match: re.Match[str]) -> str:
            names = set(bases(match[1]))
            return match[1] if names <= params.keys() and (names & required or rng.random() < keep) else ""

        template = _SEGMENT.sub(segment, template)
        values = {name: self._value(params[name], drawn) for name in bases(template) if not parts_of(template, name)}
        values = distinct(self.values, params, values)
        words = {name: one.words for name, one in values.items()}
        for name in bases(template):
            if parts := parts_of(template, name):
                inner = {part.name: part.draw(self.values) for part in params[name].parts if part.name in parts}
                values[name] = Drawn({key: one.value for key, one in inner.items()}, "")
                words |= {f"{name}.{key}": one.words for key, one in inner.items()}
        text = _put(self._typo(template), words)
        missing = [param for param in params.values() if param.required and param.name not in values]
        return Request(tool, _tidy(text), values, missing, template)

    def assembled(self, tool: Tool, chosen: list[Param], drawn: dict[str, Drawn] | None = None) -> Request:
        """A request made of the function's imperative phrase and the phrases of its parameters, in any order."""
        rng, params = self.rng, tool.params
        chosen = rng.sample(chosen, len(chosen))
        values = {param.name: self._value(param, drawn) for param in chosen}
        values = distinct(self.values, params, values)
        text = self._joined(tool.function.do, [self.phrase(param, values[param.name]) for param in chosen])
        missing = [param for param in params.values() if param.required and param.name not in values]
        return Request(tool, _tidy(text), values, missing)

    def phrase(self, param: Param, one: Drawn) -> str:
        return param.say.replace("{}", one.words)

    def _value(self, param: Param, drawn: dict[str, Drawn] | None) -> Drawn:
        return drawn[param.name] if drawn and param.name in drawn else param.draw(self.values)

    def _joined(self, do: str, phrases: list[str]) -> str:
        rng = self.rng
        attached = [text for text in phrases if is_attached(text)]
        nouns = [text for text in phrases if text not in attached]
        act = " ".join([do, *attached])
        roll = rng.random()
        if not nouns:
            return self._act(act)
        if roll < 0.45:
            return self._act(f"{act}{rng.choice([' with ', ' with ', ', with ', ' using ', ': '])}{in_words(nouns)}")
        if roll < 0.6:
            return f"{self._act(act).rstrip('.?')}: {', '.join(nouns)}"
        if roll < 0.75:
            return f"{rng.choice(['Given', 'With', 'For'])} {in_words(nouns)}, {act}."
        if roll < 0.9:
            first = rng.choice(["I have", "We have", "Here is the data:", "I got", "Suppose"])
            return f"{first} {in_words(nouns)}. {self._act(act)}"
        text = self._act(act)
        text += "" if text[-1] in ".?" else "."
        return f"{text} {rng.choice(['Use', 'Take', 'It is about'])} {in_words(nouns)}."

    def _act(self, act: str) -> str:
        if self.rng.random() < 0.45:
            text = f"{act[:1].upper()}{act[1:]}"
            return text + self.rng.choice([".", ".", ""])
        text = self.rng.choice(POLITE).format(act)
        return text[:1].upper() + text[1:]

    # -- registers
    def register(self, request: Request) -> str:
        """The text as one person might type it. Values keep their capitals, which the call must have too."""
        rng, text = self.rng, request.text
        starts_with_value = request.template.startswith("{")
        roll = rng.random()
        if roll < 0.09 and not starts_with_value:
            lower = text[1:2].islower() or text[:2] == "A "
            text = rng.choice(SHORT_OPENINGS) + (text[:1].lower() + text[1:] if lower else text)
        elif roll < 0.23:
            text = f"{rng.choice(OPENINGS)} {text[:1].upper() + text[1:] if not starts_with_value else text}"
        elif rng.random() < 0.35 and not starts_with_value:
            text = text[:1].upper() + text[1:]
        if rng.random() < 0.09:
            text = text + ("" if text[-1] in ".?!:" else ".") + " " + rng.choice(CLOSINGS)
        elif rng.random() < 0.1:
            text = text.rstrip("?.")
        return text

    def _typo(self, template: str) -> str:
        """Now and then two letters of one word swapped; never in a value."""
        rng = self.rng
        if rng.random() > 0.02:
            return template
        words = template.split(" ")
        long = [i for i, word in enumerate(words) if len(word) > 5 and word.isalpha()]
        if long:
            i, word = (place := rng.choice(long)), words[place]
            at = rng.randrange(1, len(word) - 2)
            words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        return " ".join(words)


def distinct(v: Values, params: dict[str, Param], drawn: dict[str, Drawn]) -> dict[str, Drawn]:
    """The values, drawn anew where two texts would be the same: nobody could tell which is meant."""
    for name, one in drawn.items():
        for _ in range(4):
            if (
                one.value is True
                or one.value is False
                or not any(other.value == one.value for key, other in drawn.items() if key != name)
            ):
                break
            one = params[name].draw(v)  # noqa: PLW2901
        drawn[name] = one
    # A period does not end before it begins.
    dates = [name for name in params if name in drawn and params[name].hints == HINTS["iso_date"]]
    ordered = sorted((drawn[name] for name in dates), key=lambda one: str(one.value))
    return drawn | dict(zip(dates, ordered, strict=True))


def _put(template: str, words: dict[str, str]) -> str:
    return re.sub(r"{([\w.]+)}", lambda match: words.get(match[1], match[0]), template)


def _tidy(text: str) -> str:
    """Remove the traces of left-out segments."""
    text = re.sub(r"\s+([,.?!])(?=\s|$)", r"\1", " ".join(text.split()))
    return re.sub(r",(?=[.?!](\s|$)|$)", "", text)
