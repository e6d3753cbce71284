"""Constructors of the concept bank (`T`, `P`) and the value generators that fill utterances.

A concept is a tool with its many names, ways to be described and ways to be asked for. Values are drawn anew for
each conversation; `held_back=True` draws from a part of each list (and of the made-up words) never trained on.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass, field
from typing import Any

CITIES = """Paris Oslo London Berlin Madrid Rome Vienna Prague Warsaw Dublin Lisbon Athens Helsinki Stockholm Copenhagen
Brussels Amsterdam Zurich Geneva Milan Naples Turin Munich Hamburg Cologne Lyon Marseille Nice Bordeaux Toulouse Seville
Valencia Porto Krakow Budapest Bucharest Sofia Belgrade Zagreb Kyiv Istanbul Ankara Cairo Tunis Nairobi Lagos Accra Dakar
Johannesburg Tokyo Kyoto Osaka Seoul Busan Beijing Shanghai Hangzhou Taipei Manila Jakarta Bangkok Hanoi Singapore Mumbai
Delhi Chennai Kolkata Karachi Lahore Dhaka Colombo Kathmandu Dubai Doha Riyadh Tehran Baghdad Sydney Melbourne Perth
Brisbane Auckland Wellington Honolulu Toronto Montreal Vancouver Ottawa Calgary Boston Chicago Seattle Denver Dallas
Houston Austin Phoenix Miami Atlanta Detroit Portland Nashville Memphis Cleveland Havana Lima Bogota Quito Santiago
Montevideo Caracas Recife Brasilia Edinburgh Glasgow Manchester Liverpool Bristol Leeds Cardiff Belfast Bergen Malmo
Tampere Riga Vilnius Tallinn Antwerp Ghent Rotterdam Utrecht Basel Graz Salzburg Leipzig Dresden Nuremberg Florence
Venice Bologna Palermo Granada Bilbao Split|New York|Los Angeles|San Francisco|San Diego|Las Vegas|Mexico City|Buenos
Aires|Sao Paulo|Rio de Janeiro|Cape Town|Hong Kong|Kuala Lumpur|Ho Chi Minh City|Tel Aviv|Abu Dhabi|St Petersburg|New
Delhi|Salt Lake City|Santa Fe|The Hague""".replace("\n", " ")
CITIES = CITIES.split("|")[0].split() + CITIES.split("|")[1:]
FIRST = """Anna Ben Clara David Emma Felix Greta Hugo Ines Jack Karen Liam Maria Noah Olga Peter Quinn Rosa Sam Tina Umar
Vera Will Xenia Yusuf Zoe Alice Bob Carlos Diana Ethan Fatima George Hannah Ivan Julia Kevin Laura Mike Nina Oscar Paula
Ravi Sara Tom Ursula Victor Wendy Amir Bella Chen Daniel Elena Frank Gina Hiro Isla Jonas Kira Leo Mona Nils Omar Priya
Rita Simon Tara Uma Vince Walter Yara Adam Beth Cara Dylan Erik Fiona Glen Heidi Ian Jane Kurt Lily Marco Nora""".split()
LAST = """Smith Jones Brown Garcia Miller Davis Lopez Wilson Moore Taylor Lee White Harris Clark Lewis Young King Wright
Hill Green Adams Baker Nelson Carter Meyer Fischer Weber Wagner Becker Rossi Ferrari Silva Santos Kim Park Tanaka Sato
Suzuki Singh Patel Khan Ahmed Novak Horvat Kowalski Larsen Hansen Olsen Virtanen Dubois Martin Bernard Petit Moreau""".split()
NOUNS = """apple anchor arrow badge basket beach bell bird blanket boat bottle bridge brush bucket button cable camera candle
canvas castle chair cheese circle clock cloud coat coffee corner cotton cradle desert desk diamond dinner door dragon dream
eagle engine falcon feather fence field finger fire flower forest fork garden gate ghost glass glove grape guitar hammer
harbor hat helmet honey horse island jacket jungle kettle key kitchen ladder lake lamp leaf lemon letter library lion lizard
magnet maple marble meadow mirror monkey moon mountain mushroom needle nest notebook ocean olive onion orange orchard oven
owl paint palace panda paper parrot pearl pencil pepper piano pillow pirate planet plate pocket pony potato prince pumpkin
puzzle rabbit radio rainbow ribbon river robot rocket root rope rose saddle salt school shadow sheep shell ship shoe silver
snow soap spider spoon spring square stone storm street sugar summer sword table temple thunder tiger tower train tree
tunnel turtle valley velvet violin wagon wallet water whale wheel window winter wolf yogurt zebra""".split()
ADJECTIVES = """red blue green golden quiet early late daily weekly final main old new small big cold warm happy broken fresh
silent brave lucky gentle northern southern eastern western royal simple strong""".split()
VERB_PHRASES = """buy milk|call the dentist|water the plants|pay the rent|book the tickets|feed the cat|send the contract|clean
the kitchen|pick up the parcel|finish the slides|renew the passport|charge the bike|return the books|fix the printer|email
the landlord|check the oil|walk the dog|order new paper|cancel the gym|back up the laptop|bring an umbrella|thank the
team|review the budget|print the photos|update the website|meet the plumber|buy flowers for mum|take out the bins|learn ten
new words|call grandma on sunday|try the new bakery|bake bread|sell the old sofa|ask about the deposit|read chapter
four""".replace("\n", " ").split("|")
FOODS = """pizza pasta sushi ramen tacos burritos salad soup curry noodles dumplings pancakes waffles lasagna risotto paella
hummus falafel kebab goulash chili omelette sandwich burger cheesecake brownies croissant muesli tofu salmon""".split()
ANIMALS = (
    "dog cat horse rabbit hamster parrot turtle goat cow sheep fox bear wolf deer owl penguin dolphin tiger".split()
)
COLOURS = "red blue green yellow purple orange pink white black grey brown teal gold silver navy beige".split()
SPORTS = (
    "football tennis basketball hockey rugby cricket golf swimming volleyball handball cycling rowing chess".split()
)
LANGUAGES = """French German Spanish Italian Portuguese Dutch Polish Czech Greek Turkish Arabic Hindi Japanese Korean Chinese
Swedish Norwegian Danish Finnish Russian Ukrainian Hungarian Thai Vietnamese Swahili English Latin Irish""".split()
COUNTRIES = """France Germany Spain Italy Portugal Poland Greece Turkey Egypt Kenya India Japan Korea China Sweden Norway Denmark
Finland Canada Mexico Brazil Peru Chile Australia Ireland Austria Hungary Thailand Vietnam Morocco Iceland Cuba""".split()
CURRENCIES = "USD EUR GBP JPY CHF CAD AUD SEK NOK DKK PLN CZK INR CNY KRW BRL MXN ZAR".split() + [
    "dollars", "euros", "pounds", "yen", "francs", "kroner", "rupees", "pesos"]  # fmt: skip
UNITS = """km miles meters feet inches cm yards kg pounds ounces grams liters gallons pints celsius fahrenheit kelvin hours
minutes seconds days weeks acres hectares knots stone tons cups mph""".split()
TOPICS = """solar panels|black holes|the French Revolution|machine learning|vegan cooking|electric cars|the stock
market|climate change|medieval castles|jazz history|space travel|gene editing|urban gardening|football transfers|renewable
energy|artificial intelligence|cheap flights|deep sea fish|ancient Rome|remote work|home insulation|volcanoes|quantum
computing|sourdough bread|marathon training|film festivals|battery recycling|world championships""".replace(
    "\n", " "
).split("|")
COMPANIES = """Apple Google Microsoft Amazon Tesla Nvidia Intel Siemens Toyota Honda Samsung Sony Nokia Ericsson Volvo Shell
Nestle Novartis Pfizer Airbus Boeing Adidas Nike Puma Ikea Lego Philips Bosch Spotify Netflix Adobe Oracle""".split()
TICKERS = (
    "AAPL GOOG MSFT AMZN TSLA NVDA INTC META NFLX ADBE ORCL IBM CSCO AMD PYPL UBER SHOP SPOT BABA DIS KO PEP".split()
)
PRODUCTS = """desk lamp|running shoes|coffee machine|office chair|winter jacket|water
bottle|backpack|toaster|vacuum cleaner|electric kettle|mountain bike|yoga mat|novel|board game|tent|sunglasses|wrist watch|gas
grill|garden hose|tablet|printer|speaker|rain coat|blender|mixer|camera|drone|skateboard|laptop|phone|headphones|keyboard|monitor""".replace(
    "\n", " "
).split("|")
STREETS = "Main Street|High Street|Park Avenue|Oak Lane|Mill Road|Station Road|Church Street|Elm Street|River Road|Kings Road".split(
    "|"
)
ROOMS = "kitchen|living room|bedroom|bathroom|garage|office|hallway|basement|attic|dining room|nursery|porch|garden|study".split(
    "|"
)
SYLLABLES = "ba be bo da de di do fa fe fi ga go ha ka ke ko la le li lo lu ma me mi mo na ne ni no pa pe po ra re ri ro ru sa se si so ta te ti to tu va ve vi vo wa we za ze zo zu bra cro dri fle gra kla plo qui stra tri".split()  # fmt: skip
CODAS = ["", "", "", "n", "r", "s", "l", "x", "k", "th", "nd", "rt"]
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()


PARTS = [x.lower() for items in (NOUNS, CITIES, FIRST, LAST) for i, x in enumerate(items) if i % 7 and x.isalpha()]


def made_up(rng: random.Random, held_back: bool = False) -> str:
    """A word nobody has seen; held-back ones are of syllables, with a first that training words of syllables never have."""
    roll = 0.0 if held_back else rng.random()
    if roll < 0.5:
        first = rng.choice(["ja", "yo", "wi", "nu", "fu"] if held_back else SYLLABLES)
        return first + "".join(rng.choice(SYLLABLES) for _ in range(rng.choice([1, 1, 2]))) + rng.choice(CODAS)
    # Parts of known words and plain letters, so that every piece of a word is something to copy.
    if roll < 0.85:
        a, b = (rng.choice(PARTS) for _ in range(2))
        return a[: rng.randrange(2, 6)] + b[-rng.randrange(2, 5) :]
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randrange(3, 8)))


class Values:
    """Draws values by the name of their kind."""

    def __init__(self, rng: random.Random, held_back: bool = False) -> None:
        self.rng, self.held_back = rng, held_back

    def pick(self, items: list[str]) -> str:
        """One item; every seventh of a longer list is kept for the evaluation."""
        if len(items) >= 14:
            items = items[::7] if self.held_back else [x for i, x in enumerate(items) if i % 7]
        return self.rng.choice(items)

    def draw(self, kind: str) -> Any:
        maker = getattr(self, kind, None)
        if maker is None:
            raise KeyError(f"no value generator {kind!r}")
        return maker()

    def word(self) -> str:
        return made_up(self.rng, self.held_back) if self.rng.random() < 0.5 else self.pick(NOUNS)

    def city(self) -> str:
        return made_up(self.rng, self.held_back).capitalize() if self.rng.random() < 0.3 else self.pick(CITIES)

    def country(self) -> str:
        return self.pick(COUNTRIES)

    def first_name(self) -> str:
        return made_up(self.rng, self.held_back).capitalize() if self.rng.random() < 0.3 else self.pick(FIRST)

    def person(self) -> str:
        return self.first_name() + (f" {self.pick(LAST)}" if self.rng.random() < 0.5 else "")

    def email(self) -> str:
        host = self.rng.choice(["mail.com", "example.org", "corp.net", f"{self.word()}.io"])
        return f"{self.first_name().lower()}{self.rng.choice(['', '.' + self.pick(LAST).lower()])}@{host}"

    def phone(self) -> str:
        digits = "".join(self.rng.choices(string.digits, k=7))
        return self.rng.choice([f"555-{digits[:4]}", f"+{self.rng.randrange(1, 99)} {digits}", digits])

    def date(self) -> str:
        rng, day, month = self.rng, self.rng.randrange(1, 29), self.rng.randrange(12)
        return rng.choice([
            f"{rng.randrange(2024, 2030)}-{month + 1:02}-{day:02}", f"{MONTHS[month]} {day}", f"{day} {MONTHS[month]}",
            "tomorrow", "today", rng.choice(WEEKDAYS), f"next {rng.choice(WEEKDAYS)}",
        ])  # fmt: skip

    def time(self) -> str:
        hour, minute = self.rng.randrange(0, 24), self.rng.choice([0, 5, 10, 15, 20, 30, 40, 45, 50])
        return self.rng.choice([f"{hour:02}:{minute:02}", f"{hour % 12 + 1} {self.rng.choice(['am', 'pm'])}",
                                f"{hour % 12 + 1}:{minute:02} {self.rng.choice(['am', 'pm'])}"])  # fmt: skip

    def duration(self) -> str:
        return f"{self.rng.randrange(2, 60)} {self.rng.choice(['minutes', 'hours', 'days', 'seconds'])}"

    def small_int(self) -> int:
        return self.rng.randrange(1, 13) if self.rng.random() < 0.7 else self.rng.randrange(1, 100)

    def big_int(self) -> int:
        return self.rng.randrange(10, 10 ** self.rng.randrange(2, 7))

    def percent(self) -> int:
        return self.rng.randrange(0, 101)

    def money(self) -> float | int:
        return self.rng.randrange(1, 2000) if self.rng.random() < 0.6 else round(self.rng.uniform(1, 900), 2)

    def number(self) -> float | int:
        rng = self.rng
        return rng.randrange(0, 500) if rng.random() < 0.6 else round(rng.uniform(0, 300), rng.randrange(1, 3))

    def bool(self) -> bool:
        return self.rng.random() < 0.5

    def code(self) -> str:
        rng = self.rng
        letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randrange(1, 4)))
        digits = "".join(rng.choices(string.digits, k=rng.randrange(2, 6)))
        return rng.choice([letters + digits, f"{letters}-{digits}", digits, f"#{digits}"])

    def ticker(self) -> str:
        return self.pick(TICKERS)

    def company(self) -> str:
        return made_up(self.rng, self.held_back).capitalize() if self.rng.random() < 0.2 else self.pick(COMPANIES)

    def product(self) -> str:
        return self.pick(PRODUCTS)

    def food(self) -> str:
        return self.pick(FOODS)

    def animal(self) -> str:
        return self.pick(ANIMALS)

    def colour(self) -> str:
        return self.pick(COLOURS)

    def sport(self) -> str:
        return self.pick(SPORTS)

    def language(self) -> str:
        return self.pick(LANGUAGES)

    def currency(self) -> str:
        return self.pick(CURRENCIES)

    def unit(self) -> str:
        return self.pick(UNITS)

    def topic(self) -> str:
        return self.pick(TOPICS) if self.rng.random() < 0.6 else self.phrase()

    def street(self) -> str:
        return f"{self.rng.randrange(1, 200)} {self.pick(STREETS)}"

    def room(self) -> str:
        return self.pick(ROOMS)

    def hashtag(self) -> str:
        return f"#{self.word()}"

    def team(self) -> str:
        return f"{self.city()} {self.pick(NOUNS).capitalize()}s"

    def title(self) -> str:
        words = [self.pick(ADJECTIVES), self.pick(NOUNS)]
        text = self.rng.choice([" ".join(words), f"the {words[1]}", f"{words[1]} of {self.word()}", self.word()])
        return text.title() if self.rng.random() < 0.7 else text

    song = book = movie = title

    def artist(self) -> str:
        return self.person() if self.rng.random() < 0.5 else f"The {self.pick(NOUNS).capitalize()}s"

    def url(self) -> str:
        tail = self.rng.choice(["", f"/{self.word()}", f"/{self.word()}/{self.rng.randrange(100)}"])
        return f"https://{self.rng.choice(['', 'www.'])}{self.word()}.{self.rng.choice(['com', 'org', 'net'])}{tail}"

    def filename(self) -> str:
        stem = self.rng.choice([self.word(), f"{self.word()}_{self.word()}", f"{self.word()}{self.rng.randrange(30)}"])
        return f"{stem}.{self.rng.choice(['txt', 'pdf', 'csv', 'png', 'docx', 'py', 'json', 'md', 'xlsx'])}"

    def phrase(self) -> str:
        rng = self.rng
        return rng.choice([
            f"{self.pick(ADJECTIVES)} {self.word()}", f"{self.word()} {self.word()}", self.pick(VERB_PHRASES),
            f"{self.pick(ADJECTIVES)} {self.pick(NOUNS)} {self.word()}",
        ])  # fmt: skip

    def sentence(self) -> str:
        rng = self.rng
        return rng.choice([
            self.pick(VERB_PHRASES), f"{self.pick(VERB_PHRASES)} {rng.choice(['tomorrow', 'at noon', 'before ' + rng.choice(WEEKDAYS)])}",
            f"the {self.pick(NOUNS)} is {self.pick(ADJECTIVES)}", f"I am running {self.small_int()} minutes late",
            f"meet me at the {self.pick(NOUNS)} at {self.time()}", f"{self.first_name()} likes {self.food()}",
            f"{self.pick(VERB_PHRASES)} for {self.first_name()}",
        ])  # fmt: skip

    def word_list(self) -> list[str]:
        return [self.word() for _ in range(self.rng.randrange(2, 5))]

    def sentence_list(self) -> list[str]:
        return [self.pick(VERB_PHRASES) for _ in range(self.rng.randrange(2, 4))]

    def expression(self) -> str:
        rng = self.rng
        number = lambda: str(rng.choice([rng.randrange(2, 100), rng.randrange(2, 1000), round(rng.uniform(1, 60), 1)]))  # noqa: E731
        text = f"{number()}{rng.choice([' ', ''])}"
        gap = " " if text.endswith(" ") else ""
        text = text.strip()
        for _ in range(rng.choice([1, 1, 1, 2])):
            text += f"{gap}{rng.choice('+-*/')}{gap}{number()}"
        return f"({text}){gap}{rng.choice('+-*/')}{gap}{number()}" if rng.random() < 0.12 else text


@dataclass
class Param:
    names: list[str]
    type: str
    kind: str = ""
    about: list[str] = field(default_factory=list)
    ask: list[str] = field(default_factory=list)
    required: bool = False
    values: list[Any] | None = None
    enum: dict[str, str] | None = None  # value -> how it is said
    say_true: str = ""
    say_false: str = ""

    @property
    def name(self) -> str:
        return self.names[0]


@dataclass
class Concept:
    names: list[str]
    about: list[str]
    params: list[Param]
    say: list[str]
    result: dict[str, str] = field(default_factory=dict)
    tell: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.names[0]


def P(names, type, kind="", *, about=(), ask=(), required=False, values=None, enum=None, say_true="", say_false=""):  # noqa: A002
    spoken = {value: str(value) for value in enum} if isinstance(enum, list) else enum
    return Param(names.split(), type, kind, list(about), list(ask), required, values, spoken, say_true, say_false)


def T(names, about, params=(), say=(), result=None, tell=()):
    return Concept(names.split(), list(about), list(params), list(say), dict(result or {}), list(tell))
