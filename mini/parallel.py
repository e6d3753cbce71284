"""Requests for several calls in one message."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from mini.answers import follower, listable, repeats
from mini.functions import Param
from mini.requests import Request, distinct, is_attached
from mini.toolbox import has_phrases, legs_of, others
from mini.transcript import LINES, Transcript
from mini.values import Drawn, in_words

JOINTS = (" and ", ", and ", ". Also, ", ", then ", "; ", ". ", " and also ", ". Then ", ". After that, ", " plus ")
NTH = ("first", "second", "third", "fourth")
_NOUNS = re.compile(r"\b(with|given|has|have|is) {")  # what may stand before nouns alone
PREPOSITIONS = {"in", "for", "to", "on", "at", "from", "of"}


def _ends_with_mark(request: Request) -> bool:
    """True if a value may end a sentence with a mark of its own, which must not be taken for the sentence's."""
    return any(one.words.endswith((".", "?", "!")) for one in request.drawn.values())


class SeveralCalls(Transcript):
    """Writes requests that need several calls."""

    def parallel(self) -> bool:
        ways = {
            self._list_of_values: 20,
            self._combinations: 16,
            self._each_with_each: 18,
            self._same_again: 14,
            self._changed: 9,
            self._sets_of_values: 19,
            self._columns: 10,
            self._same_tool: 6,
            self._legs: 5,
            self._different_tools: 17,
        }
        write = self.rng.choices(list(ways), list(ways.values()))[0]
        return any(write() for _ in range(12))

    def _list_of_values(self) -> bool:
        """One request with several values for one parameter: "the weather in Paris and in Oslo"."""
        rng = self.rng
        [tool] = self.offer([self.bank.pick(self.v)], rng.choice([0, 0, 1, 1, 2]), near=0.4)
        found = [(text, param) for text in tool.function.requests for param in listable(tool, text)]
        if not found:
            return False
        template, param = rng.choice(found)
        first = self.requests.fill(tool, template)
        if param.name not in first.drawn or first.missing:
            return False
        values = self._several(param, rng.choice([2, 2, 2, 3, 3, 4, 5]))
        if values is None:
            return False
        joined = Drawn(None, self._listed(first.template, param, values))
        request = self.requests.fill(tool, first.template, {**first.drawn, param.name: joined})
        request = self._with_one_for_each(request) if rng.random() < 0.4 else request
        self.user(self.requests.register(request))
        return self.call([replace(request, drawn={**request.drawn, param.name: one}) for one in values])

    def _listed(self, template: str, param: Param, values: list[Drawn]) -> str:
        """The values in a row; the preposition before the first one may be said again."""
        rng, words = self.rng, [one.words for one in values]
        before = template.partition(param.slot)[0].split()
        repeats_word = before and before[-1] in PREPOSITIONS and rng.random() < 0.4
        gap = f" {before[-1]} " if repeats_word else " "
        if all(word.isdigit() for word in words) and rng.random() < 0.15:
            return f"{','.join(words[:-1])} and {words[-1]}"
        return f"{(',' + gap).join(words[:-1])} {rng.choice(['and', 'and', 'and', 'as well as'])}{gap}{words[-1]}"

    def _with_one_for_each(self, request: Request) -> Request:
        """The request with an optional value more, which is said to be the same for all: "each with 5 results"."""
        free = [
            param
            for param in request.tool.function.params
            if not param.required and param.say and param.name not in request.drawn and param.type != "object"
        ]
        if not free:
            return request
        param = self.rng.choice(free)
        one = param.draw(self.v)
        phrase = self.requests.phrase(param, one)
        word = "each" if is_attached(phrase) else "each with"
        text = f"{request.text.rstrip('.?! ')}, {word} {phrase}"
        return replace(request, text=text, drawn={**request.drawn, param.name: one})

    def _behind(self, param: Param, one: Drawn) -> str:
        """A value as it stands behind a request: "in degrees", "with two decimals"."""
        phrase = self.requests.phrase(param, one)
        return phrase if is_attached(phrase) else f"with {phrase}"

    def _combinations(self) -> bool:
        """Two lists in one request: each value with each, or "respectively" the first with the first."""
        rng = self.rng
        [tool] = self.offer([self.bank.pick(self.v)], rng.choice([0, 0, 1, 1]), near=0.4)
        found = [(text, pair) for text in tool.function.requests if len(pair := listable(tool, text)) == 2]
        if not found:
            return False
        template, pair = rng.choice(found)
        one, other = sorted(pair, key=lambda param: template.index(param.slot))
        first = self.requests.fill(tool, template)
        if first.missing or not {one.name, other.name} <= first.drawn.keys():
            return False
        is_paired = rng.random() < 0.4
        count = rng.choice([2, 2, 3, 4]) if is_paired else 2
        lists = [self._several(param, count) or [] for param in (one, other)]
        if not all(lists):
            return False
        pairs = list(zip(*lists, strict=True)) if is_paired else [(a, b) for a in lists[0] for b in lists[1]]
        words = {}
        for param, values in zip((one, other), lists, strict=True):
            listed = in_words([each.words for each in values])
            words[param.name] = Drawn(listed, listed)
        request = self.requests.fill(tool, first.template, {**first.drawn, **words})
        ends = ["", "", "", "", ", in all combinations", ", each with each", ", all of them"]
        end = ", respectively" if is_paired else rng.choice(ends)
        request = replace(request, text=request.text.rstrip(".?! ") + end)
        self.user(self.requests.register(request))
        return self.call([replace(request, drawn={**request.drawn, one.name: a, other.name: b}) for a, b in pairs])

    def _each_with_each(self) -> bool:
        """Several values in a request, and several behind it: "in Oslo and in Rome, for 2 and for 3 days"."""
        rng = self.rng
        [tool] = self.offer([self.bank.pick(self.v)], rng.choice([0, 0, 1]), near=0.4)
        found = [(text, param) for text in tool.function.requests for param in listable(tool, text)]
        if not found:
            return False
        template, one = rng.choice(found)
        first = self.requests.fill(tool, template)
        if one.name not in first.drawn or first.missing or _ends_with_mark(first):
            return False
        behind = [
            param
            for param in tool.function.params
            if param.say and not param.parts and param.name not in first.drawn and param.type not in {"array", "object"}
        ]
        if not behind:
            return False
        other = rng.choice(behind)
        heads, tails = self._several(one, rng.choice([2, 2, 2, 3])), self._several(other, rng.choice([2, 2, 2, 3]))
        if heads is None or tails is None:
            return False
        listed = Drawn(None, self._listed(first.template, one, heads))
        request = self.requests.fill(tool, first.template, {**first.drawn, one.name: listed})
        form = rng.choice(LINES["each_with_each"])
        tails = tails if form.get("lists") else tails[:2]
        drawn = [{**request.drawn, one.name: head, other.name: tail} for tail in tails for head in heads]
        if any(distinct(self.v, tool.params, dict(each)) != each for each in drawn):
            return False
        phrases = [self._behind(other, tail) for tail in tails]
        if form.get("lists"):
            phrases = [self._behind(other, Drawn(None, in_words([tail.words for tail in tails])))]
            drawn = [{**request.drawn, one.name: head, other.name: tail} for head in heads for tail in tails]
        text = request.text.rstrip(".?! ") + form["first"].format(phrases[0])
        text += form["next"].format(phrases[1]) if len(phrases) > 1 else ""
        self.user(self.requests.register(replace(request, text=text + rng.choice(["", ".", "."]))))
        return self.call([replace(request, drawn=each) for each in drawn])

    def _same_again(self) -> bool:
        """A request, and the same again with other values: "then do the same for Oslo"."""
        rng = self.rng
        [tool] = self.offer([self.bank.pick(self.v)], rng.choice([0, 0, 0, 1, 2]), near=0.4)
        first = self.requests.complete(tool)
        if first is None or _ends_with_mark(first):
            return False
        changeable = [
            param
            for param in tool.function.params
            if param.say and param.name in first.drawn and param.type not in {"object", "array"} and not param.parts
        ]
        only = follower(first)
        if not changeable and not only:
            return False
        count = 1 if rng.random() < 0.4 else min(2, max(1, len(changeable)))
        chosen = rng.sample(changeable, min(count, len(changeable))) if changeable else [only]
        requests, phrases = [first], []
        for _ in range(rng.choice([1, 1, 2, 2, 3])):
            values = {param.name: param.draw(self.v) for param in chosen if param is not None}
            if any(one.value == each.drawn[name].value for each in requests for name, one in values.items()):
                return False
            drawn = {**first.drawn, **values}
            # Two places may be the same now, or a period end too soon.
            if distinct(self.v, tool.params, dict(drawn)) != drawn:
                return False
            requests.append(replace(first, drawn=drawn))
            said = [self.requests.phrase(param, values[param.name]) for param in chosen if param and param.say]
            said = [f"for {phrase[3:]}" if phrase.startswith("of ") else phrase for phrase in said]
            attached = [phrase for phrase in said if is_attached(phrase)]
            nouns = [phrase for phrase in said if phrase not in attached]
            text = " ".join([*attached, *([f"with {in_words(nouns)}"] if nouns else [])])
            phrases.append(text or f"for {next(iter(values.values())).words}")
        form = rng.choice(LINES["again"])
        text = first.text.rstrip(".?! ") + form["first"].format(phrases[0])
        text += "".join(form["next"].format(phrase) for phrase in phrases[1:])
        self.user(self.requests.register(replace(first, text=text + rng.choice(["", ".", "."]))))
        return self.call(requests)

    def _several(self, param: Param, count: int) -> list[Drawn] | None:
        """Different values that can stand in a list, or None."""
        drawn: dict[str, Drawn] = {}
        for _ in range(3 * count):
            one = param.draw(self.v)
            if isinstance(one.value, int | float) and one.words.replace(",", "") == str(one.value):
                one = Drawn(one.value, str(one.value))
            if "," in one.words or " and " in one.words:
                return None
            drawn.setdefault(str(one.value), one)
            if len(drawn) == count:
                return list(drawn.values())
        return None

    def _sets_of_values(self) -> bool:
        """One task for several sets of values, perhaps with optional ones."""
        rng = self.rng
        [tool] = self.offer([rng.choice(self.bank.with_phrases)], rng.choice([0, 0, 1, 2]), near=0.4)
        function = tool.function
        if not has_phrases(function):
            return False
        free = [param for param in function.params if not param.required and param.say and not param.parts]
        more = rng.sample(free, 1) if free and rng.random() < 0.5 else []
        sets = []
        # One of the values may be the same in all cases, and is then said once.
        same = rng.choice(free) if free and not more and rng.random() < 0.3 else None
        common = {} if same is None else {same: same.draw(self.v)}
        for _ in range(rng.choice([2, 2, 3, 4])):
            params = [*function.required, *(more if rng.random() < 0.7 else [])]
            drawn = distinct(self.v, tool.params, {param.name: param.draw(self.v) for param in params})
            sets.append({param: drawn[param.name] for param in params})
        if len({str([one.value for one in each.values()]) for each in sets}) < len(sets):
            return False
        phrases = [[self.requests.phrase(param, one) for param, one in each.items()] for each in sets]
        loose = any(is_attached(phrase) for each in phrases for phrase in each)
        texts = [", ".join(each) if loose else in_words(each) for each in phrases]
        forms = [form for form in LINES["sets"] if not loose or not _NOUNS.search(form["text"] + form.get("each", ""))]
        form = rng.choice(forms)
        if "each" in form:
            texts = [form["each"].format(nth=NTH[i], Nth=NTH[i].capitalize(), set=text) for i, text in enumerate(texts)]
        listed = f"{form['joint'].join(texts[:-1])}{form['last']}{texts[-1]}"
        text = form["text"].format(do=function.do, Do=function.do[:1].upper() + function.do[1:], sets=listed)
        for param, one in common.items():
            phrase = self._behind(param, one)
            if form["text"].startswith("{Do}") and rng.random() < 0.5:
                text = f"{phrase[:1].upper()}{phrase[1:]}, {text[:1].lower()}{text[1:]}"
                continue
            text = f"{text.rstrip('.?! ')}. {rng.choice(LINES['in_all_cases']).format(phrase)}"
        self.user(self.requests.register(Request(tool, text, {}, [])))
        return self.call(
            [Request(tool, "", {param.name: one for param, one in {**each, **common}.items()}, []) for each in sets]
        )

    def _columns(self) -> bool:
        """Several cases, told parameter by parameter: "rates of 5% and 6% and terms of 2 and 3 years, respectively"."""
        rng = self.rng
        [tool] = self.offer([rng.choice(self.bank.with_phrases)], rng.choice([0, 0, 1, 2]), near=0.4)
        function = tool.function
        if not has_phrases(function):
            return False
        plain_ones = [p for p in function.required if p.type in {"string", "integer", "number"} and not p.parts]
        if len(plain_ones) < len(function.required):
            return False
        free = [param for param in function.params if not param.required and param.say and param.type == "string"]
        params = [*function.required, *(rng.sample(free, 1) if free and rng.random() < 0.3 else [])]
        count = rng.choice([2, 2, 3, 3, 4])
        columns = [self._several(param, count) for param in params]
        if any(column is None for column in columns):
            return False
        rows = [
            {param.name: one for param, one in zip(params, row, strict=True)}
            for row in zip(*(column for column in columns if column is not None), strict=True)
        ]
        if any(distinct(self.v, tool.params, dict(row)) != row for row in rows):
            return False
        listed = [Drawn(None, in_words([row[param.name].words for row in rows])) for param in params]
        phrases = [self.requests.phrase(param, one) for param, one in zip(params, listed, strict=True)]
        text = rng.choice(LINES["columns"]).format(
            do=function.do, Do=function.do[:1].upper() + function.do[1:], columns=", ".join(phrases), count=count
        )
        self.user(self.requests.register(Request(tool, text, {}, [])))
        return self.call([Request(tool, "", row, []) for row in rows])

    def _changed(self) -> bool:
        """A request, and the same again with something optional: "then once more, but in degrees"."""
        rng = self.rng
        [tool] = self.offer([self.bank.pick(self.v)], rng.choice([0, 0, 0, 1, 2]), near=0.4)
        first = self.requests.complete(tool)
        if first is None or _ends_with_mark(first):
            return False
        free = [
            param
            for param in tool.function.params
            if not param.required and param.say and not param.parts and param.name not in first.drawn
        ]
        if not free:
            return False
        changes = [(param, param.draw(self.v)) for param in rng.sample(free, min(len(free), rng.choice([1, 1, 2, 3])))]
        requests = [first, *(replace(first, drawn={**first.drawn, param.name: one}) for param, one in changes)]
        if repeats(requests):
            return False
        phrases = [self._behind(param, one) for param, one in changes]
        form = rng.choice(LINES["changed"])
        text = first.text.rstrip(".?! ") + form["first"].format(phrases[0])
        text += "".join(form["next"].format(phrase) for phrase in phrases[1:])
        self.user(self.requests.register(replace(first, text=text + rng.choice(["", ".", "."]))))
        return self.call(requests)

    def _legs(self) -> bool:
        """One task from place to place: "from Oslo to Bergen, then to Stavanger, and back to Oslo"."""
        rng = self.rng
        [tool] = self.offer([rng.choice(self.bank.with_legs)], rng.choice([0, 0, 1, 2]), near=0.4)
        ends = legs_of(tool.function)
        if ends is None:
            return False
        start, end = ends
        places = self._several(start, rng.choice([3, 3, 4]))
        if places is None:
            return False
        is_round = rng.random() < 0.5
        stops = [*places, places[0]] if is_round else places
        first = {param.name: param.draw(self.v) for param in tool.function.required if param not in ends}
        phrases = [self.requests.phrase(tool.params[name], one) for name, one in first.items()]
        names = [one.words for one in stops]
        if rng.random() < 0.5:
            legs = [f"from {a} to {b}" for a, b in pairwise(names)]
        else:
            legs = [f"from {names[0]} to {names[1]}", *(f"on to {name}" for name in names[2:])]
        if is_round:
            legs[-1] = f"back to {names[0]}"
        gap = rng.choice([", then ", ", and then ", ", "])
        text = " ".join([f"{tool.function.do[:1].upper()}{tool.function.do[1:]}", gap.join(legs)])
        text += f", {in_words(phrases)}" if phrases else ""
        self.user(self.requests.register(Request(tool, text, {}, [])))
        calls = [{**first, start.name: a, end.name: b} for a, b in pairwise(stops)]
        return self.call([Request(tool, "", drawn, []) for drawn in calls])

    def _same_tool(self) -> bool:
        """Different requests for one tool."""
        rng = self.rng
        [tool] = self.offer([self.bank.pick(self.v)], rng.choice([0, 0, 1, 2]), near=0.5)
        requests = [self.requests.complete(tool) for _ in range(rng.choice([2, 2, 3]))]
        return bool(tool.function.params) and self._ask_for_all(requests)

    def _ask_for_all(self, requests: list[Request | None]) -> bool:
        """One message for these requests and their calls; false if one is missing or two are the same."""
        complete = [request for request in requests if request is not None]
        if len(complete) < len(requests) or len(complete) < 2 or repeats(complete):
            return False
        self.user(self.requests.register(replace(complete[0], text=self._join(self.rng.choice(JOINTS), complete))))
        return self.call(complete)

    def _different_tools(self) -> bool:
        """Requests for different tools in one message, in their order."""
        rng = self.rng
        functions = [self.bank.pick(self.v)]
        for _ in range(rng.choice([1, 1, 1, 2, 2, 3])):
            functions += others(self.v, functions, 1, near=0.35)
        tools = self.offer(functions, rng.choice([0, 0, 0, 1, 2]), near=0.2)
        requests = [self.requests.complete(tool) for tool in tools]
        if len(tools) > 2 and rng.random() < 0.2:  # one of the tools twice
            requests.append(self.requests.complete(tools[0]))
        return self._ask_for_all(requests)

    def _join(self, joint: str, requests: list[Request]) -> str:
        texts = [request.text for request in requests]
        if any("." in text.rstrip(".?! ") for text in texts):
            joint = ". "
        parts = [texts[0].rstrip(".?! ")]
        for request, text in zip(requests[1:], texts[1:], strict=True):
            starts_with_value = request.template.startswith("{") or text[:2] == "I " or text[:2].isupper()
            capital = joint.rstrip().endswith(".")
            first = (
                text[:1]
                if starts_with_value or text[:2] in {"I'", "I "}
                else text[:1].upper()
                if capital
                else text[:1].lower()
            )
            parts.append((first + text[1:]).rstrip(".?! "))
        return joint.join(parts) + (texts[-1][-1] if texts[-1][-1] in ".?!" else "")
