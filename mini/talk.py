"""The turns of a conversation, by kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mini.answers import answer, could_do, follower, question_for
from mini.functions import slots
from mini.parallel import SeveralCalls
from mini.requests import Request, distinct, is_attached
from mini.schemas import Tool
from mini.toolbox import clash, others, show
from mini.transcript import LINES
from mini.values import Drawn, in_words

ERRORS = ("not found", "connection failed", "permission denied", "rate limit exceeded", "service unavailable")


class Talk(SeveralCalls):
    """Writes one conversation of a kind."""

    def write(self, kind: str) -> bool:
        """Write a conversation of this kind; false if the functions drawn do not allow it."""
        return bool(getattr(self, kind)())

    # -- kinds with one turn
    def single(self) -> bool:
        count = self.rng.choices([0, 1, 2, 3], [62, 22, 10, 6])[0]
        return self._one_call(count, near=0.3)

    def choice(self) -> bool:
        count = self.rng.choices([1, 2, 3, 4, 6, 9, 11], [32, 36, 20, 6, 3, 2, 1])[0]
        return self._one_call(count, near=0.75)

    def one_of_these(self) -> bool:
        """A request for one of the tools that are there."""
        return self._one_call(0, near=0)

    def _one_call(self, count: int, *, near: float) -> bool:
        [tool] = self.offer([self.bank.pick(self.v)], count, near=near)
        request = self.requests.complete(tool)
        if request is None:
            return False
        text = self.requests.register(request)
        if len(self.tools) > 1 and self.rng.random() < 0.05:
            text = self._with_negation(text, tool)
        self.user(text)
        return self.call([request])

    def _with_negation(self, text: str, tool: Tool) -> str:
        """The request, after words against using another tool."""
        acts = [other.function.do for other in self.tools if other is not tool and other.function.do]
        if not acts:
            return text
        return str(self.rng.choice(LINES["but_not"])).format(do=self.rng.choice(acts), request=text)

    def missing(self) -> bool:
        """A question for missing values, mostly answered."""
        rng = self.rng
        [tool] = self.offer([self.bank.pick(self.v)], rng.choice([0, 0, 0, 1, 1, 2]), near=0.3)
        request = self.requests.incomplete(tool)
        if request is None or not request.missing:
            return False
        self.user(self.requests.register(request))
        self.say(" ".join(question_for(param) for param in request.missing))
        if rng.random() < 0.4:
            return True
        drawn = dict(request.drawn)
        texts = []
        for param in request.missing:
            drawn[param.name] = one = param.draw(self.v)
            uses_phrase = param.say and (len(request.missing) > 1 or rng.random() < 0.3)
            texts.append(self.requests.phrase(param, one) if uses_phrase else one.words)
        if len(texts) > 1 and not all(param.say for param in request.missing):
            return True
        reply = in_words(texts)
        forms = ["{}", "{}."] if is_attached(reply) else ["{}", "{}", "{}.", "It's {}.", "{}, please"]
        self.user(rng.choice(forms).format(reply))
        return self.call([replace(request, drawn=drawn, missing=[])])

    def chat(self) -> bool:
        """Talk without tools."""
        for question, reply in self._small_talk(self.rng.choice([1, 1, 2])):
            self.user(question)
            self.say(reply)
        return True

    def _small_talk(self, count: int) -> list[tuple[str, str]]:
        pairs = self.rng.sample(LINES["facts"] + LINES["small_talk"], count)
        return [(self.rng.choice(pair["ask"]), self.rng.choice(pair["answer"])) for pair in pairs]

    # -- no call
    def no_tool(self) -> bool:
        roll = self.rng.random()
        if roll < 0.26:
            return self._unfit(near=0.0)
        if roll < 0.66:
            return self._unfit(near=1.0)
        if roll < 0.8:
            return self._negation()
        if roll < 0.88:
            return self._from_conversation()
        return self._beside_the_tools()

    def _unfit(self, *, near: float) -> bool:
        """A request for a tool that is not there; a near miss where the tools are of the same field."""
        rng = self.rng
        absent = self.bank.pick(self.v)
        if self.are_given:
            near_one = rng.choice(self.tools).function
            absent = self.bank.near(self.v, near_one) if rng.random() < near else absent
            if any(clash(tool.function, absent) or could_do(tool.function, absent) for tool in self.tools):
                return False
        else:
            count = rng.choices([1, 2, 3, 4], [55, 25, 15, 5])[0]
            functions = others(self.v, [absent], count, near=near)
            functions = [one for one in functions if not could_do(one, absent)]
            if not functions:
                return False
            self.offer(functions, 0, near=0)
        request = self.requests.complete(show(self.v, [absent])[0])
        if request is None:
            return False
        self.user(self.requests.register(request))
        if absent.do and rng.random() < 0.5:
            return self.say(rng.choice(LINES["cannot_do"]).format(do=absent.do))
        return self.say(rng.choice(LINES["cannot"]))

    def _negation(self) -> bool:
        """A request that is taken back, or words about a tool that must not be used."""
        rng = self.rng
        [tool] = self.offer([self.bank.pick(self.v)], rng.choice([0, 0, 1, 2]), near=0.3)
        if tool.function.do and rng.random() < 0.6:
            pair = rng.choice(LINES["do_not"])
            text = rng.choice(pair["ask"]).format(do=tool.function.do)
        else:
            request = self.requests.complete(tool)
            if request is None:
                return False
            pair = rng.choice(LINES["taken_back"])
            text = rng.choice(pair["ask"]).format(request=request.text.rstrip(".?!"))
        if "{chat}" in pair["answer"]:
            question, reply = self._aside()
            self.user(text.replace("<chat>", question))
            return self.say(reply)
        self.user(text)
        return self.say(rng.choice(pair["answer"]))

    def _aside(self) -> tuple[str, str]:
        """Something to ask in the middle of a sentence, with its answer."""
        pair = self.rng.choice(LINES["asides"])
        return self.rng.choice(pair["ask"]), self.rng.choice(pair["answer"])

    def _from_conversation(self) -> bool:
        """A question that something said before answers."""
        rng = self.rng
        entry = rng.choice(LINES["told"])
        values = {name: self._source(source) for name, source in entry["values"].items()}
        self.offer([self.bank.pick(self.v)], rng.choice([0, 1, 2]), near=0.3)
        if "first" in entry and rng.random() < 0.6:
            self.user(rng.choice(entry["first"]).format(**values))
            self.say(rng.choice(entry["reply"]).format(**values))
            self.user(rng.choice(entry["ask"]).format(**values))
        else:
            self.user(f"{rng.choice(entry['first']).format(**values)} {rng.choice(entry['ask']).format(**values)}")
        return self.say(rng.choice(entry["answer"]).format(**values))

    def _source(self, source: str) -> str:
        return self.v.drawn(source).words

    def _beside_the_tools(self) -> bool:
        """Small talk and general knowledge while unfit tools are there."""
        self.offer([self.bank.pick(self.v)], self.rng.choice([0, 0, 1, 2]), near=0.3)
        for question, reply in self._small_talk(1):
            self.user(question)
            self.say(reply)
        return True

    # -- several turns
    def multi_turn(self) -> bool:
        roll = self.rng.random()
        if roll < 0.25 and LINES["chains"]:
            return self._chain()
        if roll < 0.6:
            return self._with_results()
        if roll < 0.8:
            return self._with_several_results()
        return self._second_request()

    def _with_results(self) -> bool:
        """A call, its result and an answer; then perhaps another question."""
        rng = self.rng
        knows = rng.random() < 0.75 and self.bank.with_results
        function = rng.choice(self.bank.with_results) if knows else self.bank.pick(self.v)
        [tool] = self.offer([function], rng.choice([0, 0, 0, 1, 2]), near=0.4)
        function = tool.function
        if not function.result:
            return False
        aspect = rng.choice(function.aspects) if function.aspects and rng.random() < 0.75 else None
        usable = aspect and set(slots(aspect[0])) <= {param.name for param in tool.function.params}
        request = self.requests.fill(tool, aspect[0]) if aspect and usable else self.requests.complete(tool)
        if request is None or request.missing:
            return False
        self.user(self.requests.register(request))
        self.call([request])
        if rng.random() < 0.06:
            reason = rng.choice(ERRORS)
            self.results([{"error": reason}])
            return self.say(f"That did not work: {reason}.")
        result = self.result_of(request)
        self.results([result])
        self.say(answer(function, request, result, aspect[1] if aspect and usable else "", rng.random()))
        return self._after(tool, request, result) if rng.random() < 0.5 else True

    def _with_several_results(self) -> bool:
        """Calls in one message, of one tool or of two, and an answer from all of their results."""
        rng = self.rng
        functions = [rng.choice(self.bank.with_results)]
        if rng.random() < 0.5:
            functions += [one for one in others(self.v, functions, 1, near=0.3) if one.result]
        tools = self.offer(functions, rng.choice([0, 0, 1, 2]), near=0.3)
        asked = tools if len(tools) > 1 else tools * rng.choice([2, 2, 3])
        requests = [self.requests.complete(tool) for tool in asked]
        if not asked[0].function.params or not self._ask_for_all(requests):
            return False
        complete = [request for request in requests if request is not None]
        if not all(one.tool.function.result for one in complete):
            return False
        results = [self.result_of(one) for one in complete]
        self.results(results)
        roll = rng.random()  # the same sentence for results of the same tool
        texts = [
            answer(one.tool.function, one, result, "", roll) for one, result in zip(complete, results, strict=True)
        ]
        return self.say(" ".join(text if text.endswith(".") else f"{text}." for text in texts))

    def _after(self, tool: Tool, request: Request, result: dict[str, Any]) -> bool:
        """A further turn: thanks, another field of the same result, or the same for another value."""
        rng, function = self.rng, tool.function
        others_ = [pair for pair in function.aspects if set(slots(pair[0])) <= request.drawn.keys()]
        roll = rng.random()
        if roll < 0.35 and others_:
            question, reply = rng.choice(others_)
            self.user(self.requests.fill(tool, question, request.drawn).text)
            return self.say(answer(function, request, result, reply, 0))
        param = follower(request)
        if roll < 0.8 and param:
            one = param.draw(self.v)
            if one.value == request.drawn[param.name].value:
                return True
            phrase = self.requests.phrase(param, one) if param.say else ""
            if phrase.split(" ")[0] in {"in", "for", "on"} and rng.random() < 0.5:
                self.user(rng.choice(["And {}?", "and {}?", "What about {}?"]).format(phrase))
            else:
                self.user(rng.choice(LINES["follow_ups"]).format(one.words))
            return self.call([replace(request, drawn={**request.drawn, param.name: one})])
        pair = rng.choice(LINES["thanks"])
        self.user(rng.choice(pair["ask"]))
        return self.say(rng.choice(pair["answer"]))

    def _second_request(self) -> bool:
        """Two turns with calls of two tools."""
        rng = self.rng
        functions = [self.bank.pick(self.v)]
        functions += others(self.v, functions, 1, near=0.3)
        tools = self.offer(functions, rng.choice([0, 0, 1]), near=0.2)
        requests = [self.requests.complete(tool) for tool in tools]
        complete = [request for request in requests if request is not None]
        if len(complete) < 2 or not tools[0].function.result:
            return False
        self.user(self.requests.register(complete[0]))
        self.call([complete[0]])
        result = self.result_of(complete[0])
        self.results([result])
        self.say(answer(tools[0].function, complete[0], result, "", rng.random()))
        self.user(self.requests.register(complete[1]))
        return self.call([complete[1]])

    def _chain(self) -> bool:
        """Two calls, of which the second needs the result of the first."""
        rng = self.rng
        chains = [c for c in LINES["chains"] if c["first"] in self.bank.by_name and c["second"] in self.bank.by_name]
        if not chains or self.are_given:
            return False
        chain = rng.choice(chains)
        functions = [self.bank.by_name[chain["first"]], self.bank.by_name[chain["second"]]]
        first, second = self.offer(functions, rng.choice([0, 0, 1]), near=0.2)
        template = rng.choice(chain["requests"])
        drawn: list[dict[str, Drawn]] = []
        for tool in (second, first):  # a slot that both have belongs to the second
            names = set(slots(template)) - {name for each in drawn for name in each}
            params = {param.name: param for param in tool.function.params if param.name in names}
            drawn.append(distinct(self.v, params, {name: param.draw(self.v) for name, param in params.items()}))
        drawn.reverse()
        words = {name: one.words for each in drawn for name, one in each.items()}
        if set(slots(template)) - words.keys():
            return False
        self.user(self.requests.register(Request(first, template.format(**words), drawn[0], [])))
        self.call([Request(first, "", drawn[0], [])])
        result = self.result_of(Request(first, "", drawn[0], []))
        self.results([result])
        link = {param: Drawn(result[key], str(result[key])) for param, key in chain["link"].items()}
        last = Request(second, "", {**drawn[1], **link}, [])
        self.call([last])
        if rng.random() < 0.5:
            return True
        final = self.result_of(last)
        self.results([final])
        return self.say(answer(functions[1], replace(last, drawn={**drawn[0], **last.drawn}), final, "", rng.random()))
