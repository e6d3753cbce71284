"""Conversations with results of calls, written by hand: some are answered by them, others need one more call."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Step:
    """A question, the calls made for it with their results, and the tool that has to be called next; "": none."""

    question: str
    tools: tuple[str, ...]
    calls: tuple[tuple[str, dict[str, Any], Any], ...]
    next_tool: str = ""

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation, up to the results."""
        calls = [
            {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for n, (name, arguments, _) in enumerate(self.calls)
        ]
        results = [
            {"role": "tool", "tool_call_id": f"call_{n}", "content": json.dumps(result)}
            for n, (_, _, result) in enumerate(self.calls)
        ]
        question = {"role": "user", "content": self.question}
        return [question, {"role": "assistant", "content": None, "tool_calls": calls}, *results]


_PARAMETERS: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "find_contact": ("Find a contact by name.", {"name": ("string", "Name of the person")}),
    "send_email": (
        "Send an email.",
        {"to": ("string", "Email address"), "subject": ("string", "Subject"), "body": ("string", "Text")},
    ),
    "get_weather": ("Get the current weather of a city.", {"city": ("string", "City")}),
    "convert_currency": (
        "Convert an amount of money.",
        {
            "amount": ("number", "Amount"),
            "source": ("string", "Currency code"),
            "target": ("string", "Currency code"),
        },
    ),
    "get_product_price": ("Get the price of a product in euros.", {"product": ("string", "Product")}),
    "list_events": ("List calendar events of a day.", {"date": ("string", "YYYY-MM-DD")}),
    "create_event": (
        "Create a calendar event.",
        {"title": ("string", "Title"), "date": ("string", "YYYY-MM-DD"), "time": ("string", "HH:MM")},
    ),
    "set_light": (
        "Switch a light on or off.",
        {"room": ("string", "Room"), "on": ("boolean", "Whether it is on")},
    ),
    "read_sensor": ("Read the temperature of a room in Celsius.", {"room": ("string", "Room")}),
    "set_heating": (
        "Set the heating of a room.",
        {"room": ("string", "Room"), "celsius": ("number", "Target temperature")},
    ),
    "search_files": ("Search files by name.", {"query": ("string", "Words")}),
    "read_file": ("Read a file.", {"path": ("string", "Path")}),
}


def tools_of(step: Step) -> list[dict[str, Any]]:
    """Return the tools of a conversation."""
    return [_tool(name) for name in step.tools]


def _tool(name: str) -> dict[str, Any]:
    description, parameters = _PARAMETERS[name]
    properties = {key: {"type": kind, "description": text} for key, (kind, text) in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


CONTACTS, MONEY = ("find_contact", "send_email"), ("get_product_price", "convert_currency")
CALENDAR, ROOMS = ("list_events", "create_event"), ("read_sensor", "set_heating")
FILES, LIGHTS = ("search_files", "read_file"), ("read_sensor", "set_light")
BOB = ("find_contact", {"name": "Bob Miller"}, {"phone": "555-0101", "email": "bob@m.com"})
PARIS = ("get_weather", {"city": "Paris"}, {"temp_c": 18, "sky": "cloudy"})
KINDLE = ("get_product_price", {"product": "Kindle"}, {"eur": 119})
EMPTY_DAY = ("list_events", {"date": "2026-12-01"}, [])
EMAIL = ("send_email", {"to": "ann@x.org", "subject": "Hi", "body": "See you."}, {"status": "sent"})

ANSWERED = (
    Step("What is the weather in Paris?", ("get_weather", "send_email"), (PARIS,)),
    Step("Is it warm in Oslo right now?", ("get_weather",), (("get_weather", {"city": "Oslo"}, {"temp_c": 4}),)),
    Step("What does a Kindle cost?", MONEY, (KINDLE,)),
    Step("Send an email to ann@x.org with subject Hi and text See you.", ("send_email", "find_contact"), (EMAIL,)),
    Step(
        "What is on my calendar on 2026-12-01?",
        CALENDAR,
        (("list_events", {"date": "2026-12-01"}, [{"title": "Dentist", "time": "09:00"}]),),
    ),
    Step(
        "Turn on the kitchen light.",
        ("set_light", "read_sensor"),
        (("set_light", {"room": "kitchen", "on": True}, "ok"),),
    ),
    Step("How warm is the bedroom?", ROOMS, (("read_sensor", {"room": "bedroom"}, {"celsius": 19.5}),)),
    Step("What is Bob Miller's phone number?", CONTACTS, (BOB,)),
    Step(
        "Weather in Rome and in Milan?",
        ("get_weather",),
        (
            ("get_weather", {"city": "Rome"}, {"temp_c": 20}),
            ("get_weather", {"city": "Milan"}, {"temp_c": 15}),
        ),
    ),
    Step(
        "Convert 20 USD to EUR.",
        ("convert_currency", "get_product_price"),
        (("convert_currency", {"amount": 20, "source": "USD", "target": "EUR"}, {"amount": 18.4}),),
    ),
    Step("What does notes.txt say?", FILES, (("read_file", {"path": "notes.txt"}, "Buy milk."),)),
)

UNFINISHED = (
    Step(
        "Find Bob Miller's address and send him an email with subject Lunch and text At noon?",
        CONTACTS,
        (BOB,),
        "send_email",
    ),
    Step("What does a Kindle cost in US dollars?", MONEY, (KINDLE,), "convert_currency"),
    Step(
        "If I have nothing on 2026-12-01, create an event Gym at 18:00 that day.",
        CALENDAR,
        (EMPTY_DAY,),
        "create_event",
    ),
    Step(
        "Check how warm the bedroom is, and set its heating to 21 if it is below 20.",
        ROOMS,
        (("read_sensor", {"room": "bedroom"}, {"celsius": 17.5}),),
        "set_heating",
    ),
    Step(
        "Find the file about taxes and read it to me.",
        FILES,
        (("search_files", {"query": "taxes"}, ["docs/taxes-2025.txt"]),),
        "read_file",
    ),
    Step(
        "Get the weather in Paris and email it to ann@x.org.",
        ("get_weather", "send_email"),
        (PARIS,),
        "send_email",
    ),
    Step(
        "Look up the price of a bike and convert it to Swiss francs.",
        MONEY,
        (("get_product_price", {"product": "bike"}, {"eur": 800}),),
        "convert_currency",
    ),
    Step(
        "Read the temperature of the office, then turn off the office light.",
        LIGHTS,
        (("read_sensor", {"room": "office"}, {"celsius": 22}),),
        "set_light",
    ),
    Step(
        "Look up Eve in my contacts, then email her 'Call me' with subject Urgent.",
        CONTACTS,
        (("find_contact", {"name": "Eve"}, {"email": "eve@z.net"}),),
        "send_email",
    ),
    Step(
        "Search for the readme and show me its content.",
        FILES,
        (("search_files", {"query": "readme"}, ["README.md"]),),
        "read_file",
    ),
)
