"""Generators of values, each with the words that a user says for it.

Many values are said just as they are written; others have to be normalised ("March 5" → "2026-03-05"), and `HINTS` has
the formats that the description of such a parameter must tell.
"""

from __future__ import annotations

import datetime as dt
import random
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.concepts import Param as DemoParam
from demo.values import MONTHS, POOLS, pseudoword, split
from demo.values import Values as DemoValues

LISTS: dict[str, list[Any]] = tomllib.loads(
    (Path(__file__).parent / "data" / "values.toml").read_text(encoding="utf-8")
)
CODES: dict[str, dict[str, str]] = tomllib.loads(
    (Path(__file__).parent / "data" / "codes.toml").read_text(encoding="utf-8")
)
HAND_POOLS = {
    held_back: {name: split(items, held_back=held_back) if len(items) >= 14 else items for name, items in LISTS.items()}
    for held_back in (False, True)
}
SMALL = "zero one two three four five six seven eight nine ten eleven twelve".split()
HINTS: dict[str, tuple[str, ...]] = {
    "iso_date": ("in YYYY-MM-DD format", "formatted as YYYY-MM-DD", "as YYYY-MM-DD", "ISO 8601, e.g. 2021-12-31"),
    "us_date": ("in MM/DD/YYYY format", "formatted as MM/DD/YYYY"),
    "dotted_date": ("in DD.MM.YYYY format", "formatted as DD.MM.YYYY"),
    "time24": ("in 24-hour HH:MM format", "as HH:MM, 24-hour clock", "24-hour time, e.g. 07:45 or 21:15"),
    "iso_datetime": ("in ISO 8601 format, e.g. 2021-12-31T18:00", "formatted as YYYY-MM-DDTHH:MM"),
    "fraction": ("as a decimal fraction, e.g. 0.25 for 25%", "as a decimal (0.1 means 10 percent)",
                 "between 0 and 1, so 40% is 0.4"),
    "percentage": ("in percent, e.g. 5 for 5%", "as a percentage", "in percent"),
    "currency_code": ("as a three-letter ISO code, e.g. CHF", "ISO 4217 code", "three-letter code such as SEK"),
    "country_code": ("as a two-letter ISO code, e.g. CH", "two-letter country code", "ISO 3166 alpha-2 code"),
    "language_code": ("as a two-letter ISO 639-1 code", "two-letter language code, e.g. sv"),
    "state_code": ("as a two-letter abbreviation", "two-letter state code, e.g. NV"),
    "month_number": ("as a number from 1 to 12", "1 for January to 12 for December"),
    "weekday_number": ("as a number, 1 for Monday to 7 for Sunday",),
    "whole_percentage": ("in percent", "as a percentage", "from 0 to 100 percent"),
    "metres": ("in metres", "in meters"),
    "kilometres": ("in kilometres", "in km", "in kilometers", "in kms"),
    "miles": ("in miles",),
    "hours": ("in hours",),
    "days": ("in days",),
    "hour24": ("as an hour from 0 to 23", "24-hour clock, whole hours", "hour of the day, 0 to 23"),
    "month_year": ("as 'Month YYYY', e.g. 'June 2019'", "month and year, e.g. 'June 2019'"),
    "month_digits": ("as MM-YYYY", "in MM-YYYY format, e.g. 06-2019"),
    "minutes": ("in minutes",),
    "seconds": ("in seconds",),
    "grams": ("in grams",),
    "months_span": ("in months",),
    "python_expression": ("in Python syntax with * and **", "as a Python expression, e.g. 5*x**2"),
    "city_country": ("as 'City, Country'", "in the form City, Country, e.g. 'Bern, Switzerland'"),
    "city_state": ("in the form 'City, ST', e.g. 'Reno, NV'", "as city and state abbreviation, e.g. 'Reno, NV'"),
    "slug": ("in lower case with hyphens", "lower case, words joined by hyphens"),
    "upper": ("in upper case", "in capital letters"),
    "range_pair": ("as [low, high]", "as a list of two numbers, lowest first"),
    "coordinates": ("as [latitude, longitude]", "as a list of latitude and longitude"),
    "hex_colour": ("as a hex code such as #1A2B3C",),
    "initials": ("as initials",),
}  # fmt: skip


@dataclass
class Drawn:
    """A value as the call has it, and the words for it."""

    value: Any
    words: str


def in_words(items: list[str], conjunction: str = "and") -> str:
    """A list in words: "a, b and c"."""
    return f" {conjunction} ".join(filter(None, (", ".join(items[:-1]), items[-1]))) if items else ""


def plain(number: float, digits: int = 6) -> float | int:
    """The number without the noise of floating point, as an integer where it is one."""
    number = round(number, digits)
    return int(number) if number == int(number) else number


class Values(DemoValues):
    """Draws values with their words, in the way of `demo.values.Values`.

    `today` is set if the conversation tells the date; words like "tomorrow" are used only then.
    """

    def __init__(self, rng: random.Random, *, held_back: bool) -> None:
        super().__init__(rng, held_back=held_back)
        self.today: dt.date | None = None

    # -- plain sources
    def choice(self, items: list[Any]) -> Drawn:
        value = self.rng.choice(items)
        return Drawn(value, self.number_words(value) if isinstance(value, int | float) else value)

    def listed_value(self, name: str) -> Drawn:
        value = self.rng.choice(HAND_POOLS[self.held_back][name] if name in LISTS else POOLS[self.held_back][name])
        return Drawn(value, str(value))

    def drawn(self, generator: str) -> Drawn:
        """A value of a generator of this class or of demo's. Raises KeyError if there is none."""
        value = self.draw(generator)
        return value if isinstance(value, Drawn) else Drawn(value, str(value))

    def in_range(self, low: float, high: float, step: float) -> Drawn:
        steps = int((high - low) / step + 0.5)
        rng = self.rng
        number = low + step * rng.randint(0, steps)
        if step < 1 and rng.random() < 0.4:  # people like round numbers
            number = min(high, max(low, float(round(number)))) or number
        value = plain(number)
        return Drawn(value, self.number_words(value))

    def number_words(self, value: float) -> str:
        """The number as people write it: 25000 as "25,000", 2500000 as "2.5 million"."""
        rng = self.rng
        if isinstance(value, int):
            if abs(value) >= 10**6 and value % 10**5 == 0 and rng.random() < 0.6:
                return f"{plain(value / 10**6)} million"
            if abs(value) >= 1000 and not 1500 <= value <= 2100 and rng.random() < 0.5:
                return f"{value:,}"
        return str(value)

    def flag(self, yes: str, no: str) -> Drawn:
        """A boolean; false only where there are words for it."""
        value = not no or self.rng.random() < 0.6
        return Drawn(value, yes if value else no)

    def listed(self, items: list[Drawn]) -> Drawn:
        words = [item.words for item in items]
        together = self.rng.random()
        are_texts = isinstance(items[0].value, str)
        if together < (0.04 if are_texts else 0.25):
            joined = "[" + ", ".join(words) + "]"
        elif together < 0.5:
            joined = ", ".join(words)
        else:
            joined = in_words(words, self.rng.choice(["and", "and", "and", "as well as", "and also"]))
        if any("," in word for word in words):
            joined = in_words([str(item.value) for item in items])
        if len(items) == 2 and isinstance(items[0].value, int | float):
            joined = self.rng.choice(["({}, {})", "[{}, {}]", "({}, {})"]).format(*(item.value for item in items))
        return Drawn([item.value for item in items], joined)

    def for_demo(self, param: DemoParam) -> Drawn:
        """A value of a parameter of a tool of demo/."""
        rng = self.rng
        if param.type == "boolean":
            yes = rng.random() < 0.6
            return Drawn(yes, param.say_true if yes else param.say_false)
        if param.enum:
            key = rng.choice(list(param.enum))
            return Drawn(key, param.enum[key])
        value = rng.choice(param.values) if param.values else self.draw(param.value)
        if isinstance(value, Drawn):
            return value
        if isinstance(value, list):
            texts = [str(item) for item in value]
            return Drawn(value, in_words(texts) if rng.random() < 0.7 else ", ".join(texts))
        return Drawn(value, str(value))

    # -- dates and times
    def _day(self) -> dt.date:
        return dt.date(2015, 1, 1) + dt.timedelta(days=self.rng.randrange(365 * 15))

    def _date_words(self, day: dt.date) -> str:
        month, rng = MONTHS[day.month - 1], self.rng
        suffix = "th" if 10 < day.day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
        return rng.choice([
            f"{month} {day.day}, {day.year}", f"{day.day} {month} {day.year}", f"{month} {day.day}{suffix}, {day.year}",
            f"the {day.day}{suffix} of {month} {day.year}", f"{day.day} {month[:3]} {day.year}", day.isoformat(),
        ])  # fmt: skip

    def iso_date(self) -> Drawn:
        if self.today and self.rng.random() < 0.7:
            shift = self.rng.choice([0, 1, 1, 2, -1])
            day = self.today + dt.timedelta(days=shift)
            words = {0: "today", 1: "tomorrow", 2: "the day after tomorrow", -1: "yesterday"}[shift]
            return Drawn(day.isoformat(), words)
        day = self._day()
        return Drawn(day.isoformat(), self._date_words(day))

    def us_date(self) -> Drawn:
        day = self._day()
        return Drawn(f"{day:%m/%d/%Y}", self._date_words(day))

    def dotted_date(self) -> Drawn:
        day = self._day()
        return Drawn(f"{day:%d.%m.%Y}", self._date_words(day))

    def time24(self) -> Drawn:
        rng, hour, minute = self.rng, self.rng.randrange(24), self.rng.choice([0, 0, 0, 15, 30, 45, 5, 20, 40, 50])
        half, hour12 = ("am" if hour < 12 else "pm"), (hour - 1) % 12 + 1
        clock = f"{hour12}:{minute:02} {half}" if minute or rng.random() < 0.3 else f"{hour12} {half}"
        words = [f"{hour:02}:{minute:02}", clock, clock, clock.replace(" ", "")]
        day_part = "in the morning" if 0 < hour < 12 else "in the afternoon" if 12 < hour < 18 else "in the evening"
        if 5 < hour < 23 and hour != 12:
            words.append(f"{hour12}:{minute:02} {day_part}" if minute else f"{hour12} o'clock {day_part}")
            if minute == 30:
                words.append(f"half past {SMALL[hour12]} {day_part}")
        return Drawn(f"{hour:02}:{minute:02}", "noon" if (hour, minute) == (12, 0) else rng.choice(words))

    def iso_datetime(self) -> Drawn:
        day, time = self.iso_date(), self.time24()
        return Drawn(f"{day.value}T{time.value}", f"{day.words} at {time.words}")

    def year(self) -> int:
        return self.rng.randrange(1950, 2027)

    def month_number(self) -> Drawn:
        month = self.rng.randrange(12)
        return Drawn(month + 1, MONTHS[month])

    # -- numbers that are said in another unit or form
    def fraction(self) -> Drawn:
        small = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 1.25, 2.75, 3.2, 4.8]
        large = [14, 15, 18, 20, 22, 25, 30, 35, 40, 50, 60, 75, 80, 90]
        percent = self.rng.choice(small if self.rng.random() < 0.7 else large)
        return Drawn(plain(percent / 100), self.rng.choice([f"{percent}%", f"{percent} percent", f"{percent} %"]))

    def times_a_year(self) -> Drawn:
        """How often a year something happens: 4 as "quarterly"."""
        times, words = self.rng.choice([
            (1, "annually"), (1, "yearly"), (1, "once a year"), (2, "semi-annually"), (2, "twice a year"),
            (2, "every six months"), (4, "quarterly"), (4, "quarterly"), (4, "every quarter"), (12, "monthly"),
            (12, "monthly"), (12, "every month"), (52, "weekly"), (365, "daily"), (6, "6 times a year"),
            (24, "24 times a year"),
        ])  # fmt: skip
        return Drawn(times, words)

    def percentage(self) -> Drawn:
        percent = self.rng.choice([self.rng.randrange(1, 100), plain(self.rng.randrange(2, 40) / 4)])
        return Drawn(percent, self.rng.choice([f"{percent}%", f"{percent} percent", f"{percent}%"]))

    def whole_percentage(self) -> Drawn:
        percent = self.rng.randrange(1, 101)
        return Drawn(percent, self.rng.choice([f"{percent}%", f"{percent} percent"]))

    def metres(self) -> Drawn:
        if self.rng.random() < 0.5:
            km = self.rng.choice([1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 8, 10, 12, 15, 21, 42])
            return Drawn(plain(km * 1000), f"{km} {self.rng.choice(['km', 'kilometres', 'kilometers'])}")
        metres = self.rng.randrange(10, 900)
        return Drawn(metres, f"{metres} {self.rng.choice(['m', 'metres', 'meters'])}")

    def _with_unit(self, amounts: list[float], units: list[str]) -> Drawn:
        """An amount in the unit that the parameter has."""
        amount = plain(self.rng.choice(amounts))
        gap = "" if self.rng.random() < 0.15 and len(units[-1]) < 4 else " "
        unit = self.rng.choice(units)
        return Drawn(amount, f"{amount}{gap if len(unit) < 4 else ' '}{unit}")

    def kilometres(self) -> Drawn:
        return self._with_unit([1, 2, 3, 4, 5, 8, 10, 12, 15, 20, 25, 30, 50, 75, 100, 2.5, 7.5],
                               ["kilometres", "kilometers", "km", "km"])  # fmt: skip

    def miles(self) -> Drawn:
        return self._with_unit([2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 50, 60, 1.5], ["miles"])

    def hours(self) -> Drawn:
        return self._with_unit([2, 3, 4, 5, 6, 8, 10, 12, 24, 36, 48, 1.5, 2.5], ["hours", "hours", "h"])

    def days(self) -> Drawn:
        days = self.rng.choice([2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 21, 30])
        if days in {7, 14, 21} and self.rng.random() < 0.5:
            return Drawn(days, {7: "a week", 14: "two weeks", 21: "three weeks"}[days])
        return Drawn(days, f"{SMALL[days] if days < 13 and self.rng.random() < 0.3 else days} days")

    def hour24(self) -> Drawn:
        hour = self.rng.randrange(1, 24)
        half = "noon" if hour == 12 else f"{(hour - 1) % 12 + 1} {'am' if hour < 12 else 'pm'}"
        return Drawn(hour, self.rng.choice([f"{hour:02}:00", f"{hour}:00", half, half, f"{hour} o'clock"]))

    def _month_of_year(self) -> tuple[int, int]:
        return self.rng.randrange(12), self.rng.randrange(2012, 2030)

    def month_year(self) -> Drawn:
        month, year = self._month_of_year()
        text = f"{MONTHS[month]} {year}"
        return Drawn(text, self.rng.choice([text, text, f"{MONTHS[month]} of {year}", f"{MONTHS[month]}, {year}"]))

    def month_digits(self) -> Drawn:
        month, year = self._month_of_year()
        name = self.rng.choice([MONTHS[month], MONTHS[month], MONTHS[month][:3]])
        return Drawn(f"{month + 1:02}-{year}", f"{name} {year}")

    def minutes(self) -> Drawn:
        rng = self.rng
        if rng.random() < 0.5:
            minutes, words = rng.choice([(30, "half an hour"), (60, "an hour"), (90, "an hour and a half"),
                                         (120, "two hours"), (120, "2 hours"), (15, "a quarter of an hour"),
                                         (180, "3 hours"), (180, "three hours"), (240, "4 hours")])  # fmt: skip
            return Drawn(minutes, words)
        minutes = rng.randrange(5, 120)
        return Drawn(minutes, f"{minutes} {rng.choice(['minutes', 'min'])}")

    def seconds(self) -> Drawn:
        if self.rng.random() < 0.5:
            minutes = self.rng.choice([1, 2, 3, 4, 5, 10])
            return Drawn(minutes * 60, "a minute" if minutes == 1 else f"{minutes} minutes")
        seconds = self.rng.randrange(5, 600)
        return Drawn(seconds, f"{seconds} seconds")

    def grams(self) -> Drawn:
        if self.rng.random() < 0.4:
            kilos = self.rng.choice([0.5, 1, 1.5, 2, 2.5, 3])
            return Drawn(plain(kilos * 1000), "half a kilo" if kilos == 0.5 else f"{kilos} kg")
        grams = self.rng.randrange(1, 90) * 10
        return Drawn(grams, f"{grams} {self.rng.choice(['g', 'grams'])}")

    def months_span(self) -> Drawn:
        if self.rng.random() < 0.25:
            years = self.rng.choice([1, 2, 3, 4, 5, 10])
            return Drawn(years * 12, "one year" if years == 1 else f"{years} years")
        months = self.rng.randrange(2, 40)
        return Drawn(months, f"{months} months")

    def count(self) -> Drawn:
        """A small number, often in words."""
        number = self.rng.randrange(2, 13)
        return Drawn(number, SMALL[number] if self.rng.random() < 0.5 else str(number))

    def money_amount(self) -> Drawn:
        amount = self.rng.choice([100, 250, 500, 1000, 2000, 5000]) * self.rng.randrange(1, 60)
        if self.rng.random() < 0.25 and amount % 1000 == 0 and amount < 10**6:
            return Drawn(amount, f"{amount // 1000}k")
        return Drawn(amount, self.number_words(amount))

    # -- codes and names
    def code_of(self, table: str) -> Drawn:
        codes = CODES[table]
        code = self.rng.choice(split(list(codes), held_back=self.held_back) if len(codes) >= 14 else list(codes))
        return Drawn(code, codes[code])

    def currency_code(self) -> Drawn:
        drawn = self.code_of("currencies")
        return drawn if self.rng.random() < 0.7 else Drawn(drawn.value, drawn.value)

    def country_code(self) -> Drawn:
        return self.code_of("countries")

    def language_code(self) -> Drawn:
        return self.code_of("languages")

    def state_code(self) -> Drawn:
        return self.code_of("states")

    def city_country(self) -> Drawn:
        value = self.listed_value("cities_with_countries").value
        return Drawn(value, value if self.rng.random() < 0.5 else value.replace(", ", " in "))

    def city_state(self) -> Drawn:
        city, _, state = str(self.listed_value("cities_with_states").value).partition(", ")
        name = CODES["states"][state]
        return Drawn(f"{city}, {state}", f"{city}, {name if self.rng.random() < 0.6 else state}")

    def slug(self) -> Drawn:
        words = [self.adjective(), self.noun(), *([self.noun()] if self.rng.random() < 0.4 else [])]
        text = " ".join(words)
        return Drawn("-".join(words).lower(), self.rng.choice([text, text.title()]))

    def python_expression(self) -> Drawn:
        """A polynomial in x."""
        rng = self.rng
        powers = sorted(rng.sample([0, 1, 2, 3], rng.choice([1, 2, 2, 3])), reverse=True)
        if powers == [0]:
            powers = [2, 0]
        code = words = ""
        for power in powers:
            factor = rng.randrange(1, 10)
            sign = rng.choice("+-") if code else ""
            gap = f" {sign} " if sign else ""
            number = "" if factor == 1 and power else str(factor)
            star = "*" if number and power else ""
            name = "x" if power else ""
            code += f"{gap}{number}{star}{name}" + (f"**{power}" if power > 1 else "")
            words += f"{gap}{number}{name}" + (f"^{power}" if power > 1 else "")
        squared = words.replace("^2", "²").replace("^3", "³")
        return Drawn(code, rng.choice([words, words, squared, code]))

    def path(self) -> str:
        rng = self.rng
        folders = [self.word() for _ in range(rng.choice([1, 1, 2]))]
        root = rng.choice(["/var/", "/home/" + self.first_name().lower() + "/", "./", "/data/", "C:/", "src/", "~/"])
        return root + "/".join(folders) + "/" + self.filename()

    def folder(self) -> str:
        return self.path().rpartition("/")[0]

    def identifier(self) -> str:
        rng = self.rng
        number = "".join(rng.choices("0123456789", k=rng.randrange(3, 7)))
        letters = "".join(rng.choices("ABCDEFGHKLMNPRSTUVWXYZ", k=rng.randrange(1, 4)))
        return rng.choice([f"{letters}-{number}", letters + number, f"{letters.lower()}_{number}", number,
                           "".join(rng.choices("0123456789abcdef", k=8))])  # fmt: skip

    def column(self) -> str:
        return str(self.listed_value("columns").value)

    def dna(self) -> str:
        return "".join(self.rng.choices("ACGT", k=self.rng.randrange(6, 14)))

    def ip_address(self) -> str:
        return ".".join(str(self.rng.randrange(1, 255)) for _ in range(4))

    def version(self) -> str:
        return ".".join(str(self.rng.randrange(0, 15)) for _ in range(self.rng.choice([2, 3])))

    def latitude(self) -> float:
        return round(self.rng.uniform(-70, 70), self.rng.choice([2, 4]))

    def longitude(self) -> float:
        return round(self.rng.uniform(-180, 180), self.rng.choice([2, 4]))

    def full_name(self) -> str:
        return f"{self.first_name()} {self.last_name()}"

    def quoted(self) -> Drawn:
        """A text to copy, in quotation marks."""
        text = self.sentence() if self.rng.random() < 0.6 else self.title()
        marks = self.rng.choice(["''", '""', "“”"])
        return Drawn(text, f"{marks[0]}{text}{marks[1]}")

    def invented(self) -> str:
        return pseudoword(self.rng, held_back=self.held_back)
