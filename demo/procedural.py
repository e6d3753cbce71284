"""Made-up tools by the thousand: a verb, an object and a few parameters, with many names and descriptions.

They teach what hand-written tools cannot: that a tool is recognised by the words in its prompt, whatever they are. The
parts come from `data/made_up.toml`.
"""

from __future__ import annotations

import random
import tomllib
from typing import Any

from demo.concepts import DATA, Concept, Param
from demo.values import pseudoword, split

_PARTS: dict[str, Any] = tomllib.loads((DATA / "made_up.toml").read_text(encoding="utf-8"))
VERBS, PARAMS, CHOICES, FLAGS = (_PARTS[key] for key in ("verb", "param", "choice", "flag"))
RESULTS: dict[str, str] = _PARTS["results"]
OBJECTS: list[str] = _PARTS["objects"]
TRAINED_OBJECTS = split(OBJECTS, held_back=False)
# An object listed twice could be on both sides of the split: it then counts as trained.
HELD_BACK_OBJECTS = [word for word in split(OBJECTS, held_back=True) if word not in TRAINED_OBJECTS]
# Any two of these would be filled by the same words.
_PLACE_LIKE = {"city", "country", "language", "colour", "company", "room"}


def concept(rng: random.Random, *, held_back: bool, thing: str | None = None) -> Concept:
    """A new tool, for this object if one is named. Only held-back tools have held-back objects and words."""
    objects = HELD_BACK_OBJECTS if held_back else TRAINED_OBJECTS
    if thing is None:
        thing = pseudoword(rng, held_back=held_back) if rng.random() < 0.25 else rng.choice(objects)
        if rng.random() < 0.15:
            thing = f"{rng.choice(objects)}_{thing}"
    verb = rng.choice(VERBS)
    params: list[Param] = []
    phrases: dict[str, list[str]] = {}
    for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 2, 3, 3, 4])):
        param, wordings = _param(rng, held_back=held_back)
        # Of two that could be filled by the same words, nobody could tell which is meant.
        if not any(_ambiguous(param, other) for other in params):
            params.append(param)
            phrases[param.name] = wordings
    words = thing.replace("_", " ")
    result = rng.sample(list(RESULTS), rng.choice([1, 1, 2, 3]))
    return Concept(
        names=[_tool_name(rng, name, thing) for name in verb["names"]],
        about=[f"{word} {rng.choice(['a', 'the', 'one'])} {words}" for word in verb["about"]],
        requests=_requests(rng, verb["requests"], words, params, phrases),
        params=params,
        result={key: RESULTS[key] for key in result},
        held_back=held_back,
    )


def _tool_name(rng: random.Random, verb: str, thing: str) -> str:
    """A name in one of the usual styles."""
    camel = "".join(part.capitalize() for part in thing.split("_"))
    return rng.choice([f"{verb}_{thing}", f"{verb}_{thing}", f"{verb}{camel}", f"{thing}.{verb}", f"{thing}_{verb}",
                       f"{verb}-{thing}", f"{verb}_the_{thing}", f"{verb}{thing}", f"api.{verb}_{thing}"])  # fmt: skip


def _ambiguous(a: Param, b: Param) -> bool:
    """True if two parameters share a name or could be filled by the same words."""
    both_places = a.value in _PLACE_LIKE and b.value in _PLACE_LIKE
    return bool(set(a.names) & set(b.names)) or both_places or a.value == b.value == "topic"


def _param(rng: random.Random, *, held_back: bool) -> tuple[Param, list[str]]:
    """A parameter and the phrases that mention it, with `{}` for its value."""
    required = rng.random() < 0.55
    if rng.random() < 0.3:
        return _measure_or_quality(rng, held_back=held_back, required=required)
    roll = rng.random()
    if roll < 0.72:
        part = rng.choice(PARAMS)
        names = list(part["names"])
        rng.shuffle(names)
        param = Param(names, part["type"], part["value"], required=required, about=part["about"], ask=part["ask"])
        return param, part["phrases"]
    if roll < 0.92:
        part = rng.choice(CHOICES)
        values = rng.sample(part["enum"], len(part["enum"]))
        enum = {value: value for value in values}
        param = Param(part["names"], "string", enum=enum, required=required, about=part["about"], ask=part["ask"])
        return param, part["phrases"]
    part = rng.choice(FLAGS)
    param = Param(part["names"], "boolean", about=part["about"], say_true=part["say_true"], say_false=part["say_false"])
    return param, ["{}"]


def _measure_or_quality(rng: random.Random, *, held_back: bool, required: bool) -> tuple[Param, list[str]]:
    """A parameter that requests call by its name: "with a radius of 5"."""
    is_number = rng.random() < 0.5
    pool = split(_PARTS["measures" if is_number else "qualities"], held_back=held_back)
    name = pseudoword(rng, held_back=held_back) if rng.random() < 0.2 else rng.choice(pool)
    if rng.random() < 0.15:
        name = f"{rng.choice(pool)}_{name}"
    words = name.replace("_", " ")
    numbers, texts = ["small_int", "big_int", "percent"], ["word", "title", "person", "code", "phrase"]
    value = rng.choice(numbers if is_number else texts)
    json_type = "integer" if is_number else "string"
    if is_number and rng.random() < 0.3:
        json_type = value = "number"
    phrases = [f"with a {words} of {{}}", f"with {words} {{}}", f"{words} {{}}", f"{words}: {{}}",
               f"whose {words} is {{}}", f"where the {words} is {{}}", f"using {{}} as the {words}"]  # fmt: skip
    about = [f"The {words}", f"{words.capitalize()} of it", f"What {words} it has"]
    return Param([name], json_type, value, required=required, about=about, ask=[f"What is the {words}?"]), phrases


def _requests(
    rng: random.Random, verbs: list[str], thing: str, params: list[Param], phrases: dict[str, list[str]]
) -> list[str]:
    """Six requests, each with its own choice and order of parameters; some lack a required one."""
    requests = []
    for _ in range(6):
        chosen = [param for param in params if param.required or rng.random() < 0.4]
        required = [param for param in chosen if param.required]
        if required and rng.random() < 0.3:
            chosen.remove(rng.choice(required))
        rng.shuffle(chosen)
        tail = " ".join(rng.choice(phrases[param.name]).replace("{}", f"{{{param.name}}}") for param in chosen)
        article = rng.choice(["the", "a", "my", "this"]) if rng.random() < 0.85 else ""
        order = [f"{rng.choice(verbs)} {article} {thing}", tail]
        if chosen and rng.random() < 0.12:
            order = [tail + ",", order[0]]
        requests.append(" ".join(" ".join(order).split()))
    return requests
