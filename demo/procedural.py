"""Plain tools by the thousand: a verb, an object and a few parameters, named and described in many ways.

They teach what the hand-written ones cannot: that a tool is known by its words in the prompt, whatever they are.
"""

from __future__ import annotations

import random

from demo.bank import Concept, Param, made_up

# verb: (names in tools, words in descriptions, words in utterances)
VERBS = {
    "create": ("create make add new", "Create|Make|Set up", "create|make|set up|I need|add"),
    "delete": ("delete remove drop erase", "Delete|Remove|Erase", "delete|remove|get rid of|erase"),
    "find": ("find search lookup locate", "Find|Search for|Look up", "find|search for|look up|where is"),
    "show": ("get show fetch read view", "Show|Get|Fetch|Display", "show|show me|get|display|let me see"),
    "update": ("update change edit modify", "Update|Change|Edit", "update|change|edit|modify"),
    "send": ("send deliver forward", "Send|Deliver|Forward", "send|deliver|forward"),
    "book": ("book reserve", "Book|Reserve", "book|reserve|I want to book"),
    "cancel": ("cancel revoke abort", "Cancel|Call off", "cancel|call off"),
    "start": ("start launch run begin", "Start|Launch|Run", "start|launch|run|fire up"),
    "stop": ("stop halt end", "Stop|Halt|End", "stop|halt|end|shut down"),
    "order": ("order buy purchase", "Order|Buy|Purchase", "order|buy|purchase|I want to buy"),
    "rent": ("rent hire borrow", "Rent|Hire", "rent|hire|I'd like to rent"),
    "rate": ("rate review", "Rate|Review", "rate|review"),
    "share": ("share publish post", "Share|Publish|Post", "share|publish|post"),
    "export": ("export download save", "Export|Download|Save", "export|download|save"),
    "import": ("import upload load", "Import|Upload|Load", "import|upload|load"),
    "archive": ("archive store", "Archive|Put away", "archive|put away"),
    "rename": ("rename relabel", "Rename|Relabel", "rename|relabel"),
    "copy": ("copy duplicate clone", "Copy|Duplicate|Clone", "copy|duplicate|clone"),
    "check": ("check verify inspect", "Check|Verify|Inspect", "check|verify|inspect|have a look at"),
    "enable": ("enable activate", "Enable|Activate", "enable|activate|switch on"),
    "disable": ("disable deactivate", "Disable|Deactivate", "disable|deactivate|switch off"),
    "approve": ("approve accept confirm", "Approve|Accept|Confirm", "approve|accept|confirm"),
    "reject": ("reject decline refuse", "Reject|Decline|Turn down", "reject|decline|turn down"),
    "assign": ("assign give allocate", "Assign|Allocate", "assign|allocate|give out"),
    "print": ("print printout", "Print|Print out", "print|print out"),
    "repair": ("repair fix mend", "Repair|Fix", "repair|fix|mend"),
    "clean": ("clean wash tidy", "Clean|Wash", "clean|wash|tidy up"),
    "measure": ("measure gauge", "Measure|Gauge", "measure|gauge"),
    "compare": ("compare contrast", "Compare", "compare"),
    "summarize": ("summarize digest", "Summarize|Sum up", "summarize|sum up"),
    "schedule": ("schedule plan arrange", "Schedule|Plan|Arrange", "schedule|plan|arrange"),
    "count": ("count tally", "Count|Tally", "count|tally"),
    "move": ("move shift transfer", "Move|Shift", "move|shift"),
    "sell": ("sell offer", "Sell|Offer", "sell|put up for sale"),
}
OBJECTS = """invoice ticket playlist contract document photo album meeting survey backup server container branch package parcel
shipment recipe workout budget loan appointment prescription table room car bike taxi lesson course exam quiz poll contact customer
lead refund coupon subscription membership alarm lamp camera robot sprinkler oven speaker channel podcast newsletter banner campaign
report dashboard query index cluster job pipeline test bug feature release certificate domain account role key webhook sensor drone
boat hotel seat visa passport license permit garden tree plant tank pump engine battery printer scanner projector whiteboard desk
locker tool machine vehicle bus tram ferry parking space warehouse shelf box pallet bottle cake menu voucher gift badge medal
score game match tournament team player coach trainer stadium song album movie book chapter article comment blog page template
theme font icon logo sticker poster flyer map route trip tour museum castle cabin tent canoe kayak helmet jacket dress shoe ring
watch necklace phone tablet laptop keyboard router switch firewall network queue topic message thread channel bucket volume
snapshot image model dataset label experiment notebook chart diagram spreadsheet slide presentation form field checklist goal habit
mood symptom diet meal snack vaccine dentist doctor nurse clinic claim policy insurance mortgage deposit payment salary bonus
expense receipt tax donation fund portfolio auction bid listing rental lease tenant landlord apartment elevator door window gate
fence roof boiler fridge freezer dishwasher washer dryer vacuum mower fountain pool sauna gym class webinar conference speaker
panel booth exhibit petition complaint request proposal quote estimate draft memo letter signature stamp archive folder""".split()
# A repeated object would be on both sides of the split: the training side has it.
HELD_BACK_OBJECTS = [x for x in OBJECTS[::7] if x not in {y for i, y in enumerate(OBJECTS) if i % 7}]
TRAINED_OBJECTS = [x for i, x in enumerate(OBJECTS) if i % 7]
# Quantities and qualities that are asked for by their own name: "with a radius of 5"; every seventh is held back.
MEASURES = """width height length radius depth speed mass volume area distance angle temperature pressure voltage current power
energy density force charge frequency age score goal target budget salary income price discount interest principal rate
years months weeks quantity capacity version level step index offset threshold margin ratio factor base exponent dividend
divisor numerator denominator altitude latitude longitude rows columns pages floors seats players guests rooms calories""".split()
QUALITIES = """brand model genre category style material author director actor subject department role position industry sector
species breed symptom disease ingredient cuisine nationality surname nickname username account domain keyword phrase source
destination origin origin_city start end sender hobby instrument vehicle fuel currency state region district planet element
compound formula gene protein era event holiday court case judge plaintiff mode platform browser device""".split()
# parameter: (names, type, kind, descriptions, ways to say it, question, also as plain enum)
PARAMS = [
    ("id code reference", "string", "code", "Its id|Identifier|Reference code", "with id {}|{}|number {}|with the code {}", "What is the id?|Which one?"),
    ("name title label", "string", "title", "Its name|Title|What it is called", "called {}|named {}|with the name {}|'{}'", "What is its name?|How is it called?"),
    ("date day when", "string", "date", "Date|Which day|Day it is for", "on {}|for {}|dated {}", "On which date?|For which day?"),
    ("time at start_time", "string", "time", "Time of day|At what time", "at {}|starting at {}", "At what time?"),
    ("person owner assignee", "string", "person", "Person|Who it belongs to|Responsible person", "for {}|of {}|owned by {}", "For whom?|Which person?"),
    ("city location place", "string", "city", "City|Location|Place", "in {}|at {}|near {}", "In which city?|Where?"),
    ("country region", "string", "country", "Country|Region", "in {}|from {}", "Which country?"),
    ("price amount cost", "number", "money", "Price|Amount of money|What it costs", "for {}|at a price of {}|costing {}", "What is the price?|How much?"),
    ("count quantity number", "integer", "small_int", "How many|Number of items|Quantity", "{} of them|{} times|quantity {}", "How many?"),
    ("limit max_results top", "integer", "small_int", "Most results|Limit", "at most {}|limited to {}|only {}", "How many at most?"),
    ("email address contact", "string", "email", "E-mail address|Where to send it", "to {}|by mail to {}|using {}", "To which address?"),
    ("colour color tint", "string", "colour", "Colour|Color", "in {}|coloured {}|that is {}", "Which colour?"),
    ("minutes duration length", "integer", "small_int", "Length in minutes|Duration in minutes", "for {} minutes|lasting {} minutes|{} minutes long", "For how many minutes?"),
    ("hours time_span", "integer", "small_int", "Hours|Length in hours", "for {} hours|lasting {} hours", "For how many hours?"),
    ("language lang", "string", "language", "Language", "in {}|translated to {}", "In which language?"),
    ("note comment remark", "string", "sentence", "Remark|Comment|A note", "with the note {}|saying {}|with the comment {}", "What should the note say?"),
    ("tags labels keywords", "array", "word_list", "Tags|Labels|Keywords", "tagged {}|with the tags {}|labelled {}", "With which tags?"),
    ("file filename path", "string", "filename", "File|Path of the file", "from the file {}|as {}|using {}", "Which file?"),
    ("url link", "string", "url", "Link|Web address", "from {}|at {}|linked to {}", "Which link?"),
    ("company vendor supplier", "string", "company", "Company|Vendor", "from {}|by {}|with {}", "Which company?"),
    ("percent rate share", "integer", "percent", "Percentage|Rate in percent", "at {} percent|with {}%", "What percentage?"),
    ("weight mass", "number", "number", "Weight in kilograms|Weight", "weighing {} kilograms|of {} kg", "How heavy is it?"),
    ("topic subject theme", "string", "topic", "Subject|Topic|What it is about", "about {}|on {}|concerning {}", "About what?|On which subject?"),
    ("room place area", "string", "room", "Room|Area", "in the {}|from the {}", "In which room?"),
    ("recipient to receiver", "string", "person", "Who receives it|Receiver", "to {}|addressed to {}", "To whom?|Who should get it?"),
    ("group team department", "string", "word", "Group|Team", "in the group {}|for team {}|of the {} team", "For which group?"),
]  # fmt: skip
ENUMS = [
    ("priority urgency", ["low", "medium", "high"], "Priority|How urgent", "with {} priority|{} priority", "Which priority?"),
    ("size format", ["small", "medium", "large"], "Size", "in size {}|{} size|that is {}", "Which size?"),
    ("format type", ["pdf", "csv", "json", "html"], "File format|Output format", "as {}|in {} format", "In which format?"),
    ("status state", ["open", "closed", "pending"], "Status|Only with this status", "with status {}|that is {}", "Which status?"),
    ("period range", ["day", "week", "month", "year"], "Period", "for the {}|of this {}|per {}", "For which period?"),
    ("method mode", ["fast", "normal", "careful"], "Mode|How to do it", "in {} mode|using the {} mode", "In which mode?"),
    ("sort order", ["ascending", "descending"], "Sort order", "in {} order|sorted {}", "In which order?"),
    ("level tier plan", ["basic", "plus", "premium"], "Level|Plan", "at the {} level|{} plan", "Which level?"),
    ("environment env target", ["dev", "staging", "production"], "Environment", "in {}|on {}", "In which environment?"),
]  # fmt: skip
FLAGS = [
    ("urgent rush", "Whether it is urgent", "urgently", "not urgent"), ("public visible", "Whether everybody sees it", "publicly", "privately"),
    ("notify alert", "Whether to tell people", "and notify everyone", "without notifying anyone"), ("force", "Whether to skip checks", "by force", "without force"),
    ("dry_run simulate", "Only pretend", "as a dry run", "for real"), ("recursive", "Whether parts are included", "including everything inside", "without what is inside"),
]  # fmt: skip
RESULTS = {"id": "code", "status": "status", "count": "small_int", "total": "money", "name": "title", "progress": "percent", "position": "small_int", "owner": "first_name", "due": "date"}  # fmt: skip


def style(rng: random.Random, verb: str, thing: str) -> str:
    """A tool's name in one of the usual styles."""
    camel = "".join(part.capitalize() for part in thing.split("_"))
    return rng.choice([f"{verb}_{thing}", f"{verb}_{thing}", f"{verb}{camel}", f"{thing}.{verb}", f"{thing}_{verb}",
                       f"{verb}-{thing}", f"{verb}_the_{thing}", f"{verb}{thing}", f"api.{verb}_{thing}"])  # fmt: skip


def concept(rng: random.Random, held_back: bool, thing: str | None = None, verb: str | None = None) -> Concept:
    """A new concept; held-back objects (every seventh, and other made-up words) appear only when asked for."""
    objects = HELD_BACK_OBJECTS if held_back else TRAINED_OBJECTS
    if thing is None:
        thing = made_up(rng, held_back) if rng.random() < 0.25 else rng.choice(objects)
        if rng.random() < 0.15:
            thing = f"{rng.choice(objects)}_{thing}"
    verb = verb or rng.choice(list(VERBS))
    names, about, said = VERBS[verb]
    kept: list[Param] = []
    phrases: dict[str, list[str]] = {}
    for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 2, 3, 3, 4])):
        param, phrase = _param(rng, held_back)
        # Two that could be said alike would leave it to chance which is which.
        if not any(_alike(param, other) for other in kept):
            kept.append(param)
            phrases[param.name] = phrase
    spoken = thing.replace("_", " ")
    result = rng.sample(list(RESULTS), rng.choice([1, 1, 2, 3]))
    return Concept(
        names=[style(rng, name, thing) for name in names.split()],
        about=[f"{word} {rng.choice(['a', 'the', 'one'])} {spoken}" for word in about.split("|")],
        params=kept,
        say=_utterances(rng, said.split("|"), spoken, kept, phrases),
        result={key: RESULTS[key] for key in result},
    )  # fmt: skip


def _alike(a: Param, b: Param) -> bool:
    """Whether two parameters share a name or could be filled by the same words."""
    places = {"city", "country", "language", "colour", "company", "room"}
    return bool(set(a.names) & set(b.names)) or (a.kind in places and b.kind in places) or a.kind == b.kind == "topic"


def _named(rng: random.Random, held_back: bool, required: bool) -> tuple[Param, list[str]]:
    """A parameter that the request calls by its name."""
    number = rng.random() < 0.5
    pool = MEASURES if number else QUALITIES
    pool = pool[::7] if held_back else [x for i, x in enumerate(pool) if i % 7]
    name = made_up(rng, held_back) if rng.random() < 0.2 else rng.choice(pool)
    if rng.random() < 0.15:
        name = f"{rng.choice(pool)}_{name}"
    spoken = name.replace("_", " ")
    kind = (
        rng.choice(["small_int", "big_int", "percent"])
        if number
        else rng.choice(["word", "title", "person", "code", "phrase"])
    )
    type_ = "integer" if number else "string"
    if number and rng.random() < 0.3:
        type_, kind = "number", "number"
    ways = [f"with a {spoken} of {{}}", f"with {spoken} {{}}", f"{spoken} {{}}", f"{spoken}: {{}}", f"whose {spoken} is {{}}",
            f"where the {spoken} is {{}}", f"using {{}} as the {spoken}"]  # fmt: skip
    about = [f"The {spoken}", f"{spoken.capitalize()} of it", f"What {spoken} it has"]
    return Param([name], type_, kind, about, [f"What is the {spoken}?"], required), ways


def _param(rng: random.Random, held_back: bool) -> tuple[Param, list[str]]:
    required = rng.random() < 0.55
    if rng.random() < 0.3:
        return _named(rng, held_back, required)
    roll = rng.random()
    if roll < 0.72:
        names, type_, kind, about, say, ask = rng.choice(PARAMS)
        parts = names.split()
        rng.shuffle(parts)
        return Param(parts, type_, kind, about.split("|"), ask.split("|"), required), say.split("|")
    if roll < 0.92:
        names, values, about, say, ask = rng.choice(ENUMS)
        values = rng.sample(values, len(values))
        return Param(names.split(), "string", about=about.split("|"), ask=[ask], required=required,
                     enum={value: value for value in values}), say.split("|")  # fmt: skip
    names, about, yes, no = rng.choice(FLAGS)
    return Param(names.split(), "boolean", about=[about], say_true=yes, say_false=no), ["{}"]


def _utterances(rng, said, thing, params, phrases) -> list[str]:
    """Ways to ask, each with its own choice and order of parameters; some lack a required one."""
    ways = []
    for _ in range(6):
        chosen = [p for p in params if p.required or rng.random() < 0.4]
        lacking = [p for p in chosen if p.required]
        if lacking and rng.random() < 0.3:
            chosen.remove(rng.choice(lacking))
        rng.shuffle(chosen)
        tail = " ".join(rng.choice(phrases[p.name]).replace("{}", f"{{{p.name}}}") for p in chosen)
        article = rng.choice(["the", "a", "my", "this"]) if rng.random() < 0.85 else ""
        order = [f"{rng.choice(said)} {article} {thing}", tail]
        if chosen and rng.random() < 0.12:
            order = [tail + ",", order[0]]
        ways.append(" ".join(" ".join(order).split()))
    return ways
