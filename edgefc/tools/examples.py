"""Example tools: offline and harmless. The weather is invented, but constant for each city."""

from __future__ import annotations

import ast
import datetime as dt
import hashlib
import math
import operator
import random
import zoneinfo
from typing import Any, Literal

from edgefc.tools import PythonTool, tool

CONDITIONS = (
    "light rain",
    "sunshine",
    "clear sky",
    "clouds",
    "fog",
    "heavy rain",
    "strong wind",
    "a few clouds",
    "snow",
)
ZONES = {
    city.replace("_", " "): f"{region}/{zone or city}"
    for region, cities in {
        "Europe": "amsterdam athens berlin brussels bucharest budapest copenhagen dublin helsinki istanbul lisbon "
        "london madrid moscow oslo paris prague rome sofia stockholm vienna warsaw zurich milan:rome munich:berlin "
        "hamburg:berlin barcelona:madrid geneva:zurich",
        "Asia": "bangkok beijing:shanghai delhi:kolkata dubai hong_kong jakarta karachi kolkata kuala_lumpur manila "
        "mumbai:kolkata osaka:tokyo seoul shanghai singapore taipei tehran tokyo hanoi:bangkok",
        "America": "bogota boston:new_york buenos_aires chicago dallas:chicago denver havana lima los_angeles "
        "mexico_city "
        "miami:new_york montreal:toronto new_york san_francisco:los_angeles santiago sao_paulo seattle:los_angeles "
        "toronto vancouver washington:new_york houston:chicago phoenix atlanta:new_york",
        "Africa": "accra cairo casablanca johannesburg lagos nairobi tunis",
        "Australia": "brisbane melbourne perth sydney",
        "Pacific": "auckland honolulu wellington:auckland",
    }.items()
    for city, _, zone in (entry.partition(":") for entry in cities.split())
}


@tool
def get_weather(location: str, unit: Literal["celsius", "fahrenheit"] | None = None) -> dict[str, Any]:
    """Get the current weather for a city

    Args:
        location: City name
        unit: Unit of the temperature
    """
    unit = unit or "celsius"  # no default in the schema: the demo model was trained without one
    digest = hashlib.sha256(location.strip().lower().encode()).digest()
    celsius = digest[0] % 30 - 2
    temperature = celsius if unit == "celsius" else round(celsius * 9 / 5 + 32)
    choices = CONDITIONS if celsius < 2 else CONDITIONS[:-1]
    return {
        "location": location,
        "temperature": temperature,
        "unit": unit,
        "conditions": choices[digest[1] % len(choices)],
    }


@tool
def get_time(city: str) -> dict[str, str]:
    """Get the current local time in a city

    Args:
        city: City name
    """
    zone = ZONES.get(city.strip().lower())
    if zone is None:
        raise ValueError(f"unknown city {city}")
    region, _, name = zone.partition("/")
    now = dt.datetime.now(zoneinfo.ZoneInfo(f"{region}/{name.title().replace(' ', '_')}"))
    return {"city": city, "time": now.strftime("%H:%M"), "date": f"{now:%A} {now.day} {now:%B %Y}"}


@tool
def calculate(expression: str) -> dict[str, Any]:
    """Work out an arithmetic expression

    Args:
        expression: The expression, for example 17*23
    """
    if len(expression) > 200:
        raise ValueError("the expression is too long")
    value = _evaluate(ast.parse(expression.strip().replace("^", "**"), mode="eval").body)
    rounded = round(value, 10) if isinstance(value, float) else value
    return {"expression": expression, "result": int(rounded) if rounded == int(rounded) else rounded}


_OPERATORS: dict[type, Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Mod: operator.mod, ast.FloorDiv: operator.floordiv, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip


def _evaluate(node: ast.expr) -> float | int:
    """Evaluate an arithmetic syntax tree; names, calls and huge powers are refused."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return node.value
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        result: float = _OPERATORS[type(node.op)](_evaluate(node.operand))
        return result
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left), _evaluate(node.right)
        if isinstance(node.op, ast.Pow):
            result = math.pow(left, right)
        elif type(node.op) in _OPERATORS:
            result = _OPERATORS[type(node.op)](left, right)
        else:
            raise ValueError("only + - * / % ** and parentheses are supported")
        return result
    raise ValueError("only numbers and + - * / % ** are supported")


_SIZES: dict[str, dict[str, float]] = {
    "length": {
        "km kilometer kilometers kilometre kilometres": 1000,
        "m meter meters metre metres": 1,
        "cm centimeter centimeters": 0.01,
        "mm millimeter millimeters": 0.001,
        "mile miles mi": 1609.344,
        "yard yards yd": 0.9144,
        "foot feet ft": 0.3048,
        "inch inches in": 0.0254,
    },
    "mass": {
        "kg kilogram kilograms kilos": 1,
        "g gram grams": 0.001,
        "pound pounds lb lbs": 0.45359237,
        "ounce ounces oz": 0.028349523125,
        "ton tons tonnes": 1000,
        "stone stones": 6.35029318,
    },
    "volume": {
        "l liter liters litre litres": 1,
        "ml milliliter milliliters": 0.001,
        "gallon gallons": 3.785411784,
        "pint pints": 0.473176473,
        "cup cups": 0.2365882365,
    },
    "time": {
        "s second seconds": 1,
        "minute minutes min": 60,
        "hour hours h": 3600,
        "day days": 86400,
        "week weeks": 604800,
    },
    "speed": {"mph": 1609.344 / 3600, "knot knots": 1852 / 3600, "kmh": 1 / 3.6},
    "area": {"hectare hectares": 10000, "acre acres": 4046.8564224},
}
# unit → (dimension, size in the dimension's base unit)
_UNITS = {
    name: (dimension, size)
    for dimension, units in _SIZES.items()
    for names, size in units.items()
    for name in names.split()
}
_TO_KELVIN = {
    **dict.fromkeys(("celsius", "c"), (1, 273.15)),
    **dict.fromkeys(("fahrenheit", "f"), (5 / 9, 459.67 * 5 / 9)),
    "kelvin": (1, 0),
}


@tool
def convert_units(value: float, from_unit: str, to_unit: str) -> dict[str, Any]:
    """Convert a quantity from one unit to another

    Args:
        value: The quantity
        from_unit: Unit to convert from
        to_unit: Unit to convert to
    """
    source, target = from_unit.strip().lower(), to_unit.strip().lower()
    if source in _TO_KELVIN and target in _TO_KELVIN:
        (a, b), (c, d) = _TO_KELVIN[source], _TO_KELVIN[target]
        result = (value * a + b - d) / c
    elif source in _UNITS and target in _UNITS and _UNITS[source][0] == _UNITS[target][0]:
        result = value * _UNITS[source][1] / _UNITS[target][1]
    else:
        raise ValueError(f"cannot convert {from_unit} to {to_unit}")
    return {"value": value, "from_unit": from_unit, "to_unit": to_unit, "result": round(result, 4)}


@tool
def roll_dice(sides: int | None = None, count: int | None = None) -> dict[str, Any]:
    """Roll dice

    Args:
        sides: Number of sides
        count: Number of dice
    """
    sides, count = 6 if sides is None else sides, 1 if count is None else count
    if not 2 <= sides <= 1000 or not 1 <= count <= 100:
        raise ValueError("use 2 to 1000 sides and 1 to 100 dice")
    rolls = [random.randint(1, sides) for _ in range(count)]  # noqa: S311 - dice
    return {"rolls": rolls, "total": sum(rolls)}


NOTES: list[str] = []


@tool
def add_note(text: str) -> dict[str, Any]:
    """Save a short note

    Args:
        text: The note
    """
    NOTES.append(text)
    return {"saved": True, "notes": len(NOTES)}


EXAMPLE_TOOLS: list[PythonTool] = [get_weather, get_time, calculate, convert_units, roll_dice, add_note]
