"""A chat's request: check what was asked, render the prompt, compile the grammar; then sample, perhaps again.

Each step is another package's; this module only joins them, for whatever computes.
"""

from __future__ import annotations

import codecs
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from edgefc import formats, grammar
from edgefc.chat.options import ChatOptions, answer_grammar, check_names, sampling, stop_strings, text_schema
from edgefc.chat.prompt_parts import PartFinder
from edgefc.chat.validation import CallChecker
from edgefc.engine import Generation, GenerationResult, RequestOptions, SamplingOptions
from edgefc.engine.backend import Backend
from edgefc.tools import ToolLike, as_tools, check_tools, parse_tool_choice
from edgefc.types import Delta, Message, Tool, ToolCall

RESAMPLE_TEMPERATURES = (0.7, 1.0, 1.3)  # at least, attempt by attempt


class Request:
    """One chat's request, as often as it has to be sampled.

    options  what is the same each time: the prompt's parts, the grammar, the limits
    """

    def __init__(
        self,
        engine: Backend,
        parser: Callable[[], formats.StreamParser],
        checker: CallChecker | None,
        prompt: list[int],
        sampling: SamplingOptions,
        options: RequestOptions,
    ) -> None:
        self.parser, self.sampling = parser, sampling
        self._engine, self._checker, self._prompt, self._options = engine, checker, prompt, options

    @property
    def is_checked(self) -> bool:
        return self._checker is not None

    def first_problem(self, calls: Sequence[ToolCall]) -> tuple[int, grammar.Finding] | None:
        return self._checker.first_problem(calls) if self._checker else None

    def submit(self) -> Generation:
        """The first attempt."""
        return self._submit(self.sampling)

    def again(self, result: GenerationResult, call: int, attempt: int) -> Generation:
        """From the tokens before the call. Greedy sampling would say the same again; it stays repeatable."""
        greedy = self.sampling.temperature == 0
        sampling = replace(
            self.sampling,
            temperature=max(self.sampling.temperature, RESAMPLE_TEMPERATURES[attempt - 1]),
            seed=(self.sampling.seed or 0 if greedy else result.stats.seed) + attempt,
        )
        return self._submit(sampling, tuple(result.token_ids[: self._before(result.token_ids, call)]))

    def reasoning_tokens(self, result: GenerationResult) -> int:
        """Tokens up to the last that thoughts came with, their marks among them."""
        told = [any("reasoning_content" in delta for delta in deltas) for deltas in self._parsed(result.token_ids)]
        return max((number + 1 for number, thinks in enumerate(told) if thinks), default=0)

    def _submit(self, sampling: SamplingOptions, answer: tuple[int, ...] = ()) -> Generation:
        options: RequestOptions = {**self._options, "sampling": sampling, "answer": answer}
        return self._engine.submit(self._prompt, **options)

    def _before(self, tokens: list[int], call: int) -> int:
        """How many tokens were said before a call began."""
        begun = 0
        for number, deltas in enumerate(self._parsed(tokens)):
            begun += sum("id" in part for delta in deltas for part in delta.get("tool_calls", ()))
            if begun > call:
                return number
        return 0

    def _parsed(self, tokens: Sequence[int]) -> Iterator[Sequence[Delta]]:
        """What each token of an answer tells."""
        parser, decode = self.parser(), codecs.getincrementaldecoder("utf-8")("replace").decode
        for token in tokens:
            yield parser.feed(decode(self._engine.tokenizer.piece(token)))


def new_request(
    engine: Backend,
    family: formats.Family,
    parts: PartFinder,
    messages: Sequence[Message],
    tools: Sequence[ToolLike] | None,
    options: ChatOptions,
) -> Request:
    """A request, checked, with its prompt and grammar.

    Raises RequestError, SchemaError, FormatError, or TypeError for an option there is not.
    """
    checked = checked_tools(tools or ())
    check_names(options)
    choice = parse_tool_choice(options.get("tool_choice", "auto"), checked)
    tokenizer, thinking = engine.tokenizer, options.get("thinking")
    shown = checked if tools is not None else None
    parser: Callable[[], formats.StreamParser] = formats.plain_parser
    compiled = answer_grammar(options, () if choice.mode == "none" else checked)
    if compiled is None:
        schema = text_schema(options)
        parser = functools.partial(family.parser, checked, choice, thinking=thinking, text_schema=schema)
        compiled = grammar.compile_output(
            family.syntax_for(shown, choice, thinking=thinking, text_schema=schema),
            checked,
            choice,
            parallel=options.get("parallel_tool_calls", True),
            control=tokenizer.control,
        )
    rendered = family.render(messages, shown, choice=choice, thinking=thinking, special_tokens=tokenizer.special_tokens)
    prompt = tokenizer.encode(rendered, bos=family.bos)
    found = parts.find(prompt, messages, shown, choice, thinking=thinking)
    return Request(
        engine,
        parser,
        CallChecker(checked, compiled.unenforced) if compiled.unenforced else None,
        prompt,
        sampling(options, family),
        {
            "max_tokens": options.get("max_tokens"),
            "grammar": compiled,
            "stop": (*family.stop, *stop_strings(options)),
            "prefix": found.prefix,
            "answers": found.answers,
            "logprobs": options.get("logprobs"),
        },
    )


def checked_tools(tools: Sequence[ToolLike]) -> list[Tool]:
    """Tools in OpenAI's form, whatever they came as. Raises RequestError with the place."""
    return check_tools(as_tools(tools)[0])
