"""The requests of the benchmarks: made-up tools, conversations, and the right answers.

A case is independent of a model: `Case.messages` and `Case.tools` go to `edgefc.Model.chat`, `answer_text` writes the
right answer in a family's syntax. Each case has a unique word in its text ("reference …"), by which a scripted model
recognizes it (benchmarks/scripted.py), and a ticket number that can be changed to make the prompt a new one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from edgefc.tools.examples import EXAMPLE_TOOLS
from edgefc.types import FunctionCall, Message, OutputSyntax, Tool, ToolCall

STORY_WORDS = 160
TICKET = "00000"
# name: description: parameters, each with name, type and description; "?" marks optional ones
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

    calls    name and arguments of each call of the right answer
    text     text before the calls, or the whole answer
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] | None
    choice: Literal["auto", "required"] = "auto"
    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    text: str = ""

    def with_ticket(self, number: int) -> Case:
        """Return the same request with another ticket number: new to a cache from the number on."""
        text = json.dumps(self.messages).replace(f"Ticket {TICKET}", f"Ticket {number:05}")
        return replace(self, messages=tuple(cast("list[Message]", json.loads(text))))


def tools() -> tuple[Tool, ...]:
    """Return the 30 tools in OpenAI's form."""
    return tuple(map(_tool, _TOOLS.strip().splitlines()))


def _tool(line: str) -> Tool:
    name, summary, parameters = line.split(": ", 2)
    properties: dict[str, Any] = {}
    required = []
    for parameter in parameters.split(", "):
        key, kind, *description = parameter.split(" ")
        if not key.endswith("?"):
            required.append(key)
        types = {"str": "string", "int": "integer", "num": "number", "bool": "boolean", "enum": "string"}
        if kind == "enum":
            schema: dict[str, Any] = {"type": "string", "enum": description[0].split("|")}
        elif kind == "list":
            schema = {"type": "array", "items": {"type": "string"}, "description": " ".join(description)}
        else:
            schema = {"type": types[kind], "description": " ".join(description)}
        properties[key.removesuffix("?")] = schema
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": summary,
            "parameters": {"type": "object", "properties": properties, "required": required},
        },
    }


def call_request(rng: random.Random, offered: Sequence[Tool], word: str) -> Case:
    """Request a call of one of the tools, with all values in the user's text."""
    name, arguments = _call(rng, rng.choice(offered))
    values = ", ".join(f"{key.replace('_', ' ')} {_in_words(value)}" for key, value in arguments.items())
    text = f"Ticket {TICKET}, reference {word}. Please {name.replace('_', ' ')} with {values}."
    return Case(({"role": "user", "content": text},), tuple(offered), "required", ((name, arguments),))


def simple_request(rng: random.Random, offered: Sequence[Tool], word: str) -> Case:  # noqa: ARG001 - as `call_request`
    """Request a call of one of edgefc's example tools, in words that the demo model understands."""
    city, a, b = rng.choice(_CITIES), rng.randrange(2, 90), rng.randrange(2, 9)
    requests: dict[str, tuple[str, dict[str, Any]]] = {
        "get_weather": (f"What is the weather in {city}?", {"location": city}),
        "get_time": (f"What time is it in {city}?", {"city": city}),
        "calculate": (f"What's {a}*{b}?", {"expression": f"{a}*{b}"}),
        "convert_units": (f"Convert {a} km to miles", {"value": a, "from_unit": "km", "to_unit": "miles"}),
        "roll_dice": (f"Roll {b} dice", {"count": b}),
    }
    name = rng.choice([tool["function"]["name"] for tool in offered if tool["function"]["name"] in requests])
    text, arguments = requests[name]
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


def _in_words(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def copy_request(rng: random.Random, word: str, *, before: int = 40, length: int = 35) -> Case:
    """Request a call with a paragraph of the user's text, word for word, as an argument."""
    person, subject = rng.sample(_VALUES.split(), 2)
    body = prose(rng, length + rng.randrange(25))
    opening = f"Ticket {TICKET}, reference {word}. {prose(rng, before)} " if word else ""
    text = f"{opening}Send an email to {person} with the subject {subject} and exactly this text: {body}"
    arguments = {"recipient": person, "subject": subject, "body": body}
    return Case(({"role": "user", "content": text},), tools()[:4], "required", (("send_email", arguments),))


def conversation(
    make_request: Callable[[random.Random, Sequence[Tool], str], Case],
    rng: random.Random,
    offered: Sequence[Tool],
    words: Sequence[str],
) -> list[Case]:
    """Make an agent's turns: each answer is a call, each result names the next task."""
    cases = [make_request(rng, offered, words[0])]
    for word in words[1:]:
        before = cases[-1]
        name, arguments = before.calls[0]
        id_ = f"call_{len(cases):06}"
        function: FunctionCall = {"name": name, "arguments": json.dumps(arguments)}
        call: ToolCall = {"id": id_, "type": "function", "function": function}
        after = make_request(rng, offered, word)
        result = {
            "status": "done",
            "seconds": rng.randrange(100),
            "remark": prose(rng, 8),
            "next": str(after.messages[0].get("content")).removeprefix(f"Ticket {TICKET}, "),
        }
        messages: tuple[Message, ...] = (
            *before.messages,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": id_, "content": json.dumps(result)},
        )
        cases.append(replace(after, messages=messages))
    return cases


def with_text_before_call(case: Case, rng: random.Random, length: int) -> Case:
    """Return the case with `length` words of text before the call of its answer."""
    return replace(case, choice="auto", text=prose(rng, length))


def story_request(rng: random.Random, word: str, length: int, *, prompt_words: int = 0) -> Case:
    """Request a text of `length` words, without any tools."""
    request = f"Ticket {TICKET}, reference {word}. {prose(rng, prompt_words) if prompt_words else ''}Tell me a story."
    return Case(({"role": "user", "content": request},), None, "auto", (), prose(rng, length))


def prose(rng: random.Random, count: int) -> str:
    """Write random sentences of about `count` words in all."""
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
    """Write the right answer in a family's syntax."""
    calls = [
        syntax.call.replace("{name}", name).replace("{arguments}", json.dumps(arguments, ensure_ascii=False))
        for name, arguments in case.calls
    ]
    text = syntax.calls_begin + syntax.calls_separator.join(calls) + syntax.calls_end if calls else ""
    if case.text and calls:
        return case.text + (syntax.calls_preamble or "") + text
    return case.text + text


@dataclass(frozen=True, slots=True)
class Plan:
    """All cases of all workloads, generated from one seed."""

    one_tool: list[Case]
    many_tools: list[Case]
    copying: list[Case]
    agent: list[list[Case]]
    alternating: list[Case]
    restarting: list[list[Case]]
    parallel: list[Case]
    thinking: list[Case]
    plain: list[Case]

    def all_cases(self) -> Iterator[Case]:
        for cases in (self.one_tool, self.many_tools, self.copying, *self.agent, self.alternating, *self.restarting,
                      self.parallel, self.thinking, self.plain):  # fmt: skip
            yield from cases


WORDS = 20 + 20 + 20 + 3 * 10 + 20 + 2 * 4 + 24 + 2 + 2  # words that a plan uses up


def make_plan(words: Sequence[str], *, free: int = 1500) -> Plan:
    """Generate the plan from WORDS different words; `free` counts words of text (a hundred are about 135 tokens)."""
    unused, rng, all_tools = iter(words), random.Random(0), tools()
    few, halves = all_tools[:3], (all_tools[: len(all_tools) // 2], all_tools[len(all_tools) // 2 :])
    return Plan(
        one_tool=[call_request(rng, all_tools[number % 12 :][:1], next(unused)) for number in range(20)],
        many_tools=[call_request(rng, all_tools, next(unused)) for _ in range(20)],
        copying=[copy_request(rng, next(unused)) for _ in range(20)],
        agent=[conversation(call_request, rng, all_tools[:8], [next(unused) for _ in range(10)]) for _ in range(3)],
        alternating=[call_request(rng, halves[number % 2], next(unused)) for number in range(20)],
        restarting=[[call_request(rng, offered, next(unused)) for _ in range(4)] for offered in (few, all_tools[:26])],
        parallel=[call_request(rng, few, next(unused)) for _ in range(24)],
        thinking=[with_text_before_call(call_request(rng, all_tools, next(unused)), rng, free) for _ in range(2)],
        plain=[story_request(rng, next(unused), STORY_WORDS) for _ in range(2)],
    )


def make_small_plan() -> Plan:
    """Generate a plan for a small context: fewer tools, shorter texts, shorter conversations."""
    rng = random.Random(0)
    all_tools = tuple(tool.schema for tool in EXAMPLE_TOOLS[:5])
    return Plan(
        one_tool=[simple_request(rng, all_tools[number % 5 :][:1], "") for number in range(20)],
        many_tools=[simple_request(rng, all_tools, "") for _ in range(20)],
        copying=[copy_request(rng, "", before=0, length=12) for _ in range(20)],
        agent=[conversation(simple_request, rng, all_tools, [""] * 4) for _ in range(3)],
        alternating=[simple_request(rng, (all_tools[:2], all_tools[2:])[number % 2], "") for number in range(20)],
        restarting=[[simple_request(rng, offered, "") for _ in range(4)] for offered in (all_tools[:1], all_tools)],
        parallel=[simple_request(rng, all_tools[:3], "") for _ in range(24)],
        thinking=[replace(simple_request(rng, all_tools, ""), choice="auto") for _ in range(2)],
        plain=[story_request(rng, "0", STORY_WORDS) for _ in range(2)],
    )
