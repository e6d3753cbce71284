"""Held-back requests for the example tools: sentences that `demo.generate` cannot produce."""

from __future__ import annotations

from typing import Any


def weather(*cities: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": "get_weather", "arguments": {"location": city, **more}} for city in cities]


def call(name: str, **arguments: Any) -> list[dict[str, Any]]:
    return [{"name": name, "arguments": arguments}]


# Questions of the README, all of which must be answered with the right calls.
README_EXAMPLES: list[tuple[str, list[dict[str, Any]]]] = [
    ("What is the weather in Paris and in Oslo?", weather("Paris", "Oslo")),
    ("What is the weather in Paris?", weather("Paris")),
    ("What's 17*23?", call("calculate", expression="17*23")),
]
PARAPHRASES: list[tuple[str, list[dict[str, Any]]]] = [
    ("What's the weather going to be like for my walk in Dublin?", weather("Dublin")),
    ("Any chance of rain in Bergen?", weather("Bergen")),
    ("Could you look up today's weather for Madrid?", weather("Madrid")),
    ("I wonder how the weather is in Vienna", weather("Vienna")),
    ("Please tell me what the weather in Athens looks like", weather("Athens")),
    ("Is Lisbon warm today?", weather("Lisbon")),
    ("Weather report for Cairo, please", weather("Cairo")),
    ("What temperature do they have in Boston in fahrenheit?", weather("Boston", unit="fahrenheit")),
    ("Give me the weather for Rome in celsius", weather("Rome", unit="celsius")),
    ("Compare the weather in Berlin and Madrid", weather("Berlin", "Madrid")),
    ("How's the weather in Tokyo, Seoul and Taipei?", weather("Tokyo", "Seoul", "Taipei")),
    ("Would I freeze in Helsinki right now?", weather("Helsinki")),
    ("What is the time now in Lima?", call("get_time", city="Lima")),
    ("Do people in Sydney sleep now? What time is it in Sydney?", call("get_time", city="Sydney")),
    ("Could you tell me what time it is over in Denver?", call("get_time", city="Denver")),
    ("I want to know the time in Nairobi", call("get_time", city="Nairobi")),
    ("Time check for London", call("get_time", city="London")),
    ("what's the local time in Toronto at the moment", call("get_time", city="Toronto")),
    ("Can you tell me how much 12+30 is?", call("calculate", expression="12+30")),
    ("Give me the answer to 144/12", call("calculate", expression="144/12")),
    ("what would 9*9 be", call("calculate", expression="9*9")),
    ("Please do 250-75 for me", call("calculate", expression="250-75")),
    ("How much is 45 times 12?", call("calculate", expression="45*12")),
    ("How many miles is 10 km?", call("convert_units", value=10, from_unit="km", to_unit="miles")),
    ("I'd like to know what 3 pounds are in kg", call("convert_units", value=3, from_unit="pounds", to_unit="kg")),
    (
        "Please convert 98 fahrenheit into celsius",
        call("convert_units", value=98, from_unit="fahrenheit", to_unit="celsius"),
    ),
    ("What do 5 gallons make in liters?", call("convert_units", value=5, from_unit="gallons", to_unit="liters")),
    ("Tell me how many inches 30 cm are", call("convert_units", value=30, from_unit="cm", to_unit="inches")),
    ("Roll 2 dice for us", call("roll_dice", count=2)),
    ("Could you throw a die?", call("roll_dice")),
    ("Time to roll the dice!", call("roll_dice")),
    ("Please roll 3 dice with 20 sides each", call("roll_dice", sides=20, count=3)),
    ("Make a note that says buy milk", call("add_note", text="buy milk")),
    ("Please write a note: call the dentist", call("add_note", text="call the dentist")),
    ("Put this in my notes: water the plants", call("add_note", text="water the plants")),
    ("I want to remember this: pay the rent", call("add_note", text="pay the rent")),
    (
        "What time is it in Rome, and how is the weather there in Rome?",
        [*call("get_time", city="Rome"), *weather("Rome")],
    ),
    ("Roll 2 dice and tell me the time in Oslo", [*call("roll_dice", count=2), *call("get_time", city="Oslo")]),
]
