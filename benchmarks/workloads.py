"""What is asked in the benchmarks: made-up tools, conversations, and the answers that are right.

A case knows nothing of a model: `Case.messages` and `Case.tools` go to `edgefc.Model.chat`, `answer_text` spells the
right answer as a family does. Each case has words of its own in its text ("reference …"), by which a scripted model
tells the cases apart (benchmarks/scripted.py), and a ticket number that can be changed so that a prompt is new.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from edgefc.tools.examples import EXAMPLE_TOOLS
from edgefc.types import FunctionCall, Message, OutputSyntax, Tool, ToolCall

TOLD = 160  # words of a plain text
TICKET = "00000"
# name: what it does: parameters, each name, type, what it is; those with "?" need not be given
_TOOLS = """
get_weather: Get the current weather for a city: city str City name, unit? enum celsius|fahrenheit
get_local_time: Get the current local time in a city: city str City name
send_email: Send an email to one person: recipient str Email address or name, subject str Subject line, body str Text
create_event: Put an event into the calendar: title str Title, day str Day, hour int Hour, minutes? int How long
search_files: Search the user's files by text: query str Words to look for, folder? str Folder, limit? int Most results
play_music: Play music by artist or title: artist str Artist, volume? int From 0 to 100, shuffle? bool Random order
set_thermostat: Set the temperature of a room: room str Room, degrees num Temperature, mode? enum heat|cool|auto
book_table: Book a table in a restaurant: restaurant str Name, people int Number of people, hour int Hour
convert_currency: Convert an amount of money: amount num Amount, source enum EUR|USD|GBP, target enum EUR|USD|GBP
translate_text: Translate text into a language: text str The text, language enum french|german|spanish|japanese
start_timer: Start a countdown: minutes int Length in minutes, label? str What it is for
find_route: Find a way from one place to another: origin str From, destination str To, by? enum car|train|foot
lookup_word: Look up a word in the dictionary: word str The word
get_stock_price: Get the price of a share: company str Company, currency? enum EUR|USD
add_note: Keep a note: title str Title, text str What it says, tags? list Tags
turn_light: Switch a lamp on or off: room str Room, on bool On or off, brightness? int From 1 to 100
order_item: Order something from the shop: item str What, count int How many, express? bool Deliver tomorrow
track_parcel: Find out where a parcel is: number str Number of the parcel
rate_film: Rate a film: film str Title, stars int From 1 to 5
list_flights: List flights between two cities: origin str Where from, destination str Where to, day str Day of the week
resize_image: Change the size of an image: file str File name, width int Pixels, height int Pixels
count_words: Count the words in a document: document str Document name
share_document: Share a document with a person: document str Document name, person str Name, may_edit? bool With changes
call_contact: Call somebody on the phone: person str Name
water_plants: Water the plants: zone enum garden|balcony|greenhouse, minutes int How long
read_sensor: Read a sensor: sensor str Name of the sensor, unit? enum metric|imperial
plan_meal: Plan a meal: dish str Dish, people int Number of people, diet? enum none|vegetarian|vegan
open_ticket: Open a ticket with support: topic str Topic, urgency enum low|normal|high, details str What is wrong
backup_folder: Back a folder up: folder str Folder, target enum disk|cloud, encrypt? bool Encrypted
draw_chart: Draw a chart: title str Title, kind enum line|bar|pie, points int How many points
"""
_VALUES = """Lisbon Oslo Lima Tokyo Rome Cairo Quito Accra Delhi Berlin Nairobi Madrid Vienna Toronto Dublin Athens
Prague Warsaw Havana Boston Jakarta Manila Seoul Perth Geneva Zurich Milan Sofia Riga Tunis Monday Tuesday Friday
Sunday kitchen cellar library Martha Oliver Sophie Victor Amelia harvest budget holiday invoice garden guitar window
travel winter summer report recipe ladder camera mirror planet bridge coffee pepper orange silver copper marble
velvet"""
_CITIES = _VALUES.split()[:30]
_WORDS = """time year people way day man thing woman life child world school state family student group country
problem hand part place case week company system program question work government number night point home water room
mother area money story fact month lot right study book eye job word business issue side kind head house service
friend father power hour game line end member law car city community name president team minute idea body
information back parent face others level office door health person art war history party result change morning
reason research girl guy moment air teacher force education foot boy age policy process music market sense nation
plan college interest death experience effect use class control care field development role effort rate heart drug
show leader light voice wife police mind price report decision son view relationship town road arm difference value
building action season society tax director position player record paper space ground form event official matter
center couple site project activity star table need court oil situation cost industry figure street image phone data
picture practice piece land product doctor wall patient worker news test movie north love support technology"""
_VERBS = "shows meets moves keeps needs finds makes brings holds leaves opens draws turns writes learns builds".split()
_JOINING = "because although while since before after unless where until and but so".split()


@dataclass(frozen=True, slots=True)
class Case:
    """One request and its right answer.

    calls    what is to be called
    text     what is said before the calls, or alone
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] | None
    choice: Literal["auto", "required"] = "auto"
    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    text: str = ""

    def with_ticket(self, number: int) -> Case:
        """The same request with another number in it: new to a cache, except for what comes before."""
        text = json.dumps(self.messages).replace(f"Ticket {TICKET}", f"Ticket {number:05}")
        return replace(self, messages=tuple(cast("list[Message]", json.loads(text))))


def tools() -> tuple[Tool, ...]:
    """The 30 tools, in OpenAI's form."""
    return tuple(map(_tool, _TOOLS.strip().splitlines()))


def _tool(line: str) -> Tool:
    name, description, parameters = line.split(": ", 2)
    properties: dict[str, Any] = {}
    required = []
    for parameter in parameters.split(", "):
        key, kind, *about = parameter.split(" ")
        if not key.endswith("?"):
            required.append(key)
        types = {"str": "string", "int": "integer", "num": "number", "bool": "boolean", "enum": "string"}
        if kind == "enum":
            schema: dict[str, Any] = {"type": "string", "enum": about[0].split("|")}
        elif kind == "list":
            schema = {"type": "array", "items": {"type": "string"}, "description": " ".join(about)}
        else:
            schema = {"type": types[kind], "description": " ".join(about)}
        properties[key.removesuffix("?")] = schema
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {"type": "object", "properties": properties, "required": required},
        },
    }


def asked(rng: random.Random, offered: Sequence[Tool], word: str) -> Case:
    """One of the tools is to be called with values that the user says."""
    name, arguments = _call(rng, rng.choice(offered))
    said = ", ".join(f"{key.replace('_', ' ')} {_spoken(value)}" for key, value in arguments.items())
    text = f"Ticket {TICKET}, reference {word}. Please {name.replace('_', ' ')} with {said}."
    return Case(({"role": "user", "content": text},), tuple(offered), "required", ((name, arguments),))


def simple(rng: random.Random, offered: Sequence[Tool], word: str) -> Case:  # noqa: ARG001 - as `asked`
    """The same for edgefc's example tools, in words that the demo model knows."""
    city, a, b = rng.choice(_CITIES), rng.randrange(2, 90), rng.randrange(2, 9)
    known: dict[str, tuple[str, dict[str, Any]]] = {
        "get_weather": (f"What is the weather in {city}?", {"location": city}),
        "get_time": (f"What time is it in {city}?", {"city": city}),
        "calculate": (f"What's {a}*{b}?", {"expression": f"{a}*{b}"}),
        "convert_units": (f"Convert {a} km to miles", {"value": a, "from_unit": "km", "to_unit": "miles"}),
        "roll_dice": (f"Roll {b} dice", {"count": b}),
    }
    name = rng.choice([tool["function"]["name"] for tool in offered if tool["function"]["name"] in known])
    text, arguments = known[name]
    return Case(({"role": "user", "content": text},), tuple(offered), "required", ((name, arguments),))


def _call(rng: random.Random, tool: Tool) -> tuple[str, dict[str, Any]]:
    parameters = tool["function"].get("parameters", {})
    arguments = {
        key: _value(rng, schema)
        for key, schema in parameters["properties"].items()
        if key in parameters["required"] or rng.random() < 0.5
    }
    return tool["function"]["name"], arguments


def _value(rng: random.Random, schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return rng.choice(schema["enum"])
    kinds: dict[str, Any] = {
        "string": lambda: " ".join(rng.sample(_VALUES.split(), rng.choice((1, 1, 2)))),
        "integer": lambda: rng.randrange(1, 100),
        "number": lambda: rng.randrange(10, 1000) / 2,
        "boolean": lambda: rng.random() < 0.5,
        "array": lambda: rng.sample(_VALUES.split(), 2),
    }
    return kinds[schema["type"]]()


def _spoken(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def copied(rng: random.Random, word: str, *, before: int = 40, length: int = 35) -> Case:
    """A paragraph of the user's text goes into an argument as it is."""
    person, subject = rng.sample(_VALUES.split(), 2)
    body = prose(rng, length + rng.randrange(25))
    opening = f"Ticket {TICKET}, reference {word}. {prose(rng, before)} " if word else ""
    text = f"{opening}Send an email to {person} with the subject {subject} and exactly this text: {body}"
    arguments = {"recipient": person, "subject": subject, "body": body}
    return Case(({"role": "user", "content": text},), tools()[:4], "required", (("send_email", arguments),))


def conversation(
    asking: Callable[[random.Random, Sequence[Tool], str], Case],
    rng: random.Random,
    offered: Sequence[Tool],
    words: Sequence[str],
) -> list[Case]:
    """An agent's turns: each answer is a call, each result names the next thing to do."""
    cases = [asking(rng, offered, words[0])]
    for word in words[1:]:
        before = cases[-1]
        name, arguments = before.calls[0]
        id_ = f"call_{len(cases):06}"
        function: FunctionCall = {"name": name, "arguments": json.dumps(arguments)}
        called: ToolCall = {"id": id_, "type": "function", "function": function}
        after = asking(rng, offered, word)
        result = {
            "status": "done",
            "seconds": rng.randrange(100),
            "remark": prose(rng, 8),
            "next": str(after.messages[0].get("content")).removeprefix(f"Ticket {TICKET}, "),
        }
        messages: tuple[Message, ...] = (
            *before.messages,
            {"role": "assistant", "content": None, "tool_calls": [called]},
            {"role": "tool", "tool_call_id": id_, "content": json.dumps(result)},
        )
        cases.append(replace(after, messages=messages))
    return cases


def thought(case: Case, rng: random.Random, length: int) -> Case:
    """So many words, and then the case's call."""
    return replace(case, choice="auto", text=prose(rng, length))


def told(rng: random.Random, word: str, length: int, *, asking: int = 0) -> Case:
    """A text, without any tools."""
    request = f"Ticket {TICKET}, reference {word}. {prose(rng, asking) if asking else ''}Tell me a story."
    return Case(({"role": "user", "content": request},), None, "auto", (), prose(rng, length))


def prose(rng: random.Random, count: int) -> str:
    """Sentences of about so many words, none like another."""
    nouns = _WORDS.split()
    words: list[str] = []
    while len(words) < count:
        clauses = []
        for _ in range(rng.choice((1, 2))):
            subject, other = rng.sample(nouns, 2)
            clauses.append(f"the {subject} {rng.choice(_VERBS)} {rng.choice(('the', 'a', 'no', 'another'))} {other}")
        sentence = f" {rng.choice(_JOINING)} ".join(clauses)
        words += (sentence[0].upper() + sentence[1:] + ".").split()
    return " ".join(words)


def answer_text(case: Case, syntax: OutputSyntax) -> str:
    """The right answer as a family writes it."""
    calls = [
        syntax.call.replace("{name}", name).replace("{arguments}", json.dumps(arguments, ensure_ascii=False))
        for name, arguments in case.calls
    ]
    said = syntax.calls_begin + syntax.calls_separator.join(calls) + syntax.calls_end if calls else ""
    if case.text and calls:
        return case.text + (syntax.calls_preamble or "") + said
    return case.text + said


@dataclass(frozen=True, slots=True)
class Plan:
    """All cases of all workloads, made from one seed."""

    one_tool: list[Case]
    many_tools: list[Case]
    copying: list[Case]
    agent: list[list[Case]]
    alternating: list[Case]
    restarting: list[list[Case]]
    parallel: list[Case]
    thinking: list[Case]
    plain: list[Case]

    def every(self) -> Iterator[Case]:
        for cases in (self.one_tool, self.many_tools, self.copying, *self.agent, self.alternating, *self.restarting,
                      self.parallel, self.thinking, self.plain):  # fmt: skip
            yield from cases


WORDS = 20 + 20 + 20 + 3 * 10 + 20 + 2 * 4 + 24 + 2 + 2  # that a plan takes


def plan(words: Sequence[str], *, free: int = 1500) -> Plan:
    """`words` are WORDS different words; `free` counts words, of which a hundred are about 135 tokens."""
    left, rng, every = iter(words), random.Random(0), tools()
    few, half = every[:3], len(every) // 2
    return Plan(
        one_tool=[asked(rng, every[number % 12 :][:1], next(left)) for number in range(20)],
        many_tools=[asked(rng, every, next(left)) for _ in range(20)],
        copying=[copied(rng, next(left)) for _ in range(20)],
        agent=[conversation(asked, rng, every[:8], [next(left) for _ in range(10)]) for _ in range(3)],
        alternating=[asked(rng, (every[:half], every[half:])[number % 2], next(left)) for number in range(20)],
        restarting=[[asked(rng, offered, next(left)) for _ in range(4)] for offered in (few, every[:26])],
        parallel=[asked(rng, few, next(left)) for _ in range(24)],
        thinking=[thought(asked(rng, every, next(left)), rng, free) for _ in range(2)],
        plain=[told(rng, next(left), TOLD) for _ in range(2)],
    )


def small_plan() -> Plan:
    """For a model with a small context: fewer tools, shorter texts, shorter conversations."""
    rng = random.Random(0)
    every = tuple(tool.schema for tool in EXAMPLE_TOOLS[:5])
    return Plan(
        one_tool=[simple(rng, every[number % 5 :][:1], "") for number in range(20)],
        many_tools=[simple(rng, every, "") for _ in range(20)],
        copying=[copied(rng, "", before=0, length=12) for _ in range(20)],
        agent=[conversation(simple, rng, every, [""] * 4) for _ in range(3)],
        alternating=[simple(rng, (every[:2], every[2:])[number % 2], "") for number in range(20)],
        restarting=[[simple(rng, offered, "") for _ in range(4)] for offered in (every[:1], every)],
        parallel=[simple(rng, every[:3], "") for _ in range(24)],
        thinking=[replace(simple(rng, every, ""), choice="auto") for _ in range(2)],
        plain=[told(rng, "0", TOLD) for _ in range(2)],
    )
