"""One chat request: checked, rendered, its grammar compiled; then sampled, again where a call is invalid."""

from __future__ import annotations

import codecs
import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgefc import formats, grammar
from edgefc.chat.confidence import CallConfidence, Confidence
from edgefc.chat.decision import DecidingGuide, enumerations_of
from edgefc.chat.enforceable import enforceable, unsupported_option, with_enforceable
from edgefc.chat.guide import AnswerGuide, GuideSettings
from edgefc.chat.options import (
    ChatOptions,
    adapter_scales,
    given_options,
    grammar_option,
    guide_settings,
    max_tokens,
    response_format,
    sampling_options,
    stop_strings,
)
from edgefc.chat.prompt import ModelPrompt, render_prompt
from edgefc.chat.prompt_parts import PartFinder
from edgefc.chat.repeats import AnswerReader
from edgefc.chat.tool_budget import selected_tools
from edgefc.chat.trace import TracedRequest, prompt_bands
from edgefc.chat.validation import CallChecker
from edgefc.engine import Generation, GenerationResult, RequestOptions, SamplingOptions
from edgefc.engine.backend import Backend
from edgefc.errors import LocatedError, RequestError
from edgefc.tools import Omitted, ToolLike, ToolSet
from edgefc.tools.selection import ToolSelection
from edgefc.types import Call, CallDecision, Delta, Message, OutputSyntax, ToolChoice

if TYPE_CHECKING:
    from edgefc.tools.json_types import JsonType

RESAMPLE_TEMPERATURES = (0.7, 1.0, 1.3)  # at least, attempt by attempt


class Request:
    """A chat request, ready to be sampled as often as needed. Made by `new_request`.

    messages  the conversation before the answer
    tools     the checked tools; None: the request had none
    options   the caller's options
    prompt    the rendered conversation
    sampling  sampling of the first attempt
    answer_type  the type that was the response format, if one was
    selection  the tools of the prompt, if the request had more
    traced     what the trace of an answer needs, if the request asked for one
    """

    def __init__(
        self,
        engine: Backend,
        question: tuple[Sequence[Message], ToolSet | None, ChatOptions],
        prompt: ModelPrompt,
        answer: _AnswerForm,
        sampling: SamplingOptions,
        engine_options: RequestOptions,
        guide_settings: GuideSettings | None,
    ) -> None:
        messages, tools, options = question
        # The caller may append to the same list meanwhile.
        self.messages, self.tools, self.options = list(messages), tools, options
        self.prompt, self.sampling = prompt, sampling
        self.answer_type: JsonType | None = None
        self.selection: ToolSelection | None = None
        self.traced: TracedRequest | None = None
        self._guide_settings = guide_settings
        self._engine, self._answer, self._engine_options = engine, answer, engine_options
        unenforced = answer.grammar.unenforced
        self._checker = CallChecker(tools, unenforced) if tools is not None and unenforced else None

    def with_seed(self, seed: int | None) -> Request:
        """Return the same request, sampled with another seed; None: drawn anew."""
        other = copy.copy(self)
        other.options = {**self.options, "seed": seed}
        other.sampling = replace(self.sampling, seed=seed)
        return other

    @property
    def omitted(self) -> tuple[Omitted, ...]:
        """The tools that were left out."""
        return () if self.tools is None else self.tools.omitted

    @property
    def is_checked(self) -> bool:
        """True if calls have to be checked after decoding, because no grammar enforces all of their schema."""
        return self._checker is not None

    def reader(self, *, is_text: bool = False) -> AnswerReader:
        """Return a new reader of one answer; `is_text`: of one after a call was declined."""
        allow_repeated = bool(self.options.get("allow_repeated_calls"))
        if is_text:
            return AnswerReader(formats.plain_parser())
        stops = () if self._guide_settings is None else stop_strings(self.options)
        earlier = () if self._answer.decision is None else self._answer.decision.earlier
        return AnswerReader(self._answer.parser(), allow_repeated=allow_repeated, earlier=earlier, stops=stops)

    def first_problem(self, calls: Sequence[Call]) -> tuple[int, grammar.Finding] | None:
        """Return the position of the first invalid call and the reason; None: all calls are valid."""
        return self._checker.first_problem(calls) if self._checker else None

    def submit(self) -> Attempt:
        """Start the first attempt."""
        return self._submit(self.sampling)

    def resample(self, before: Attempt, call: int, attempt: int) -> Attempt:
        """Start another attempt that keeps the answer up to an invalid call.

        Greedy sampling would repeat the call, so the temperature rises with each attempt; it stays repeatable by seed.
        """
        result, greedy = before.generation.result(), self.sampling.temperature == 0
        sampling = replace(
            self.sampling,
            temperature=max(self.sampling.temperature, RESAMPLE_TEMPERATURES[attempt - 1]),
            seed=(self.sampling.seed or 0 if greedy else result.stats.seed) + attempt,
        )
        start = tuple(result.token_ids[: self._tokens_before(result.token_ids, call)])
        earlier = before.guide.confidence.calls[:call] if before.guide is not None else ()
        return self._submit(sampling, start, earlier)

    def answer_in_text(self, declined: Attempt) -> Attempt:
        """Start another attempt, after one whose call was declined: an answer without calls."""
        form = self._answer.decision
        assert form is not None
        options: RequestOptions = {**self._engine_options, "sampling": self.sampling, "grammar": form.text}
        stops = (*self._engine_options.get("stop", ()), *stop_strings(self.options))
        options |= {"call_grammar": None, "prefix": 0, "answer_spans": (), "stop": stops}
        return Attempt(self._engine.submit(form.text_prompt(), **options), None, declined.guide)

    def reasoning_tokens(self, result: GenerationResult) -> int:
        """Count the tokens up to the last one of the model's thoughts, their markers included."""
        last = 0
        for number, deltas in enumerate(self._token_deltas(result.token_ids), start=1):
            if any("reasoning_content" in delta for delta in deltas):
                last = number
        return last

    def _submit(
        self, sampling: SamplingOptions, answer: tuple[int, ...] = (), earlier: Sequence[CallConfidence] = ()
    ) -> Attempt:
        options: RequestOptions = {**self._engine_options, "sampling": sampling, "answer_start": answer}
        guide = None
        if self._guide_settings is not None:
            guide = self._guide(self._guide_settings, earlier)
            options["guide"] = guide
        return Attempt(self._engine.submit(self.prompt.ids, **options), guide)

    def _guide(self, settings: GuideSettings, earlier: Sequence[CallConfidence]) -> AnswerGuide:
        piece, decision = self._engine.tokenizer.piece, self._answer.decision
        if decision is None:
            return AnswerGuide(self.reader(), settings, piece, earlier)
        return DecidingGuide(
            self.reader(),
            settings,
            piece,
            earlier,
            syntax=decision.syntax,
            biases=decision.biases,
        )

    def _tokens_before(self, tokens: list[int], call: int) -> int:
        """Count the tokens of an answer before the call at this position."""
        started = 0
        for number, deltas in enumerate(self._token_deltas(tokens)):
            started += sum("id" in part for delta in deltas for part in delta.get("tool_calls", ()))
            if started > call:
                return number
        return 0

    def _token_deltas(self, tokens: Sequence[int]) -> Iterator[Sequence[Delta]]:
        """Yield the deltas that each token of an answer completes."""
        parser, decode = self._answer.parser(), codecs.getincrementaldecoder("utf-8")("replace").decode
        for token in tokens:
            yield parser.feed(decode(self._engine.tokenizer.piece(token)))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sampled answer, and the guide that follows it; None: the answer has no calls.

    declined  the guide of the attempt before this one, if the model declined its call: the answer is text
    """

    generation: Generation
    guide: AnswerGuide | None
    declined: AnswerGuide | None = None

    @property
    def confidence(self) -> Confidence | None:
        """The model's confidence, once the answer is complete; None if it could not call."""
        guide = self.guide or self.declined
        return None if guide is None else guide.confidence


@dataclass(frozen=True, slots=True)
class _DecidingForm:
    """The decision that a family makes before anything is written.

    syntax       the spelling of its calls
    text         the grammar of the answer if it decides against a call
    text_prompt  returns the prompt of that answer, which does not mention tools
    earlier      name and arguments of the calls since the last question, which may not be repeated
    """

    biases: CallDecision
    syntax: OutputSyntax
    text: grammar.CompiledGrammar
    text_prompt: Callable[[], list[int]]
    earlier: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _AnswerForm:
    """The grammar of an answer, the parser that reads it, and what decides between a call and text, if anything."""

    grammar: grammar.CompiledGrammar
    parser: Callable[[], formats.StreamParser]
    decision: _DecidingForm | None = None


def new_request(
    engine: Backend,
    parts: PartFinder,
    messages: Sequence[Message],
    tools: Sequence[ToolLike] | ToolSet | None,
    options: ChatOptions,
) -> Request:
    """Check a request, render its prompt and compile its grammar.

    Raises RequestError, SchemaError, FormatError, or TypeError for an unknown option.
    """
    options = given_options(options)
    mode = unsupported_option(options.get("on_unsupported"))
    toolset = None if tools is None else ToolSet.of(tools, omit=mode != "refuse")

    def prepare(toolset: ToolSet | None, choice: ToolChoice) -> Request:
        tools, choice, selection = selected_tools(engine, parts, messages, toolset, choice, options)
        try:
            request = _prepared(engine, parts, (messages, tools, options), choice)
        except LocatedError as error:
            raise error if selection is None else _in_all_tools(error, tools, toolset) from None
        request.selection = selection
        return request

    return with_enforceable(toolset, options.get("tool_choice"), mode, prepare)


def _in_all_tools(error: LocatedError, tools: ToolSet | None, everything: ToolSet | None) -> LocatedError:
    """Return an error about one of some tools with its number among all tools."""
    path = error.path
    if tools is None or everything is None or path[:1] != ("tools",) or len(path) < 2:
        return error
    assert isinstance(path[1], int)
    return error.at("tools", everything.names.index(tools.names[path[1]]), *path[2:])


def _prepared(
    engine: Backend,
    parts: PartFinder,
    question: tuple[Sequence[Message], ToolSet | None, ChatOptions],
    choice: ToolChoice,
) -> Request:
    family = parts.family
    messages, toolset, options = question
    thinking = options.get("thinking")
    answer = _answer_form(engine, family, list(messages), toolset, choice, options)
    prompt = render_prompt(
        family,
        engine.tokenizer,
        messages,
        toolset,
        choice=choice,
        thinking=thinking,
        tells_results=answer.parser is not formats.plain_parser,  # which reads what a caller's grammar or schema binds
        n_ctx=engine.n_ctx,
    )
    found = parts.find(prompt.ids, messages, toolset, choice, thinking=thinking)
    engine_options: RequestOptions = {
        "max_tokens": max_tokens(options),
        "loop_guard": options.get("loop_guard") is not False,
        "grammar": answer.grammar,
        "stop": (*family.stop, *stop_strings(options)),
        "prefix": found.prefix,
        "adapters": adapter_scales(options),
        "answer_spans": found.answers,
        "logprobs": options.get("logprobs"),
        "trace": bool(options.get("trace")),
    }
    settings = None
    if toolset and choice.mode != "none":
        settings = guide_settings(options, choice, family.call_bias)
        if answer.decision is not None:
            settings = replace(settings, enumerations=enumerations_of(toolset))
        engine_options["stop"] = family.stop  # the caller's stop strings apply to text only: the guide looks for them
        if choice.mode == "auto":
            engine_options["call_grammar"] = (
                _call_grammar(engine, family, toolset, choice, options)
                if answer.decision is None
                else grammar.compile_call_beginnings(formats.every_spelling())
            )
    request = Request(engine, question, prompt, answer, sampling_options(options, family), engine_options, settings)
    if options.get("trace"):
        bands = functools.partial(prompt_bands, parts, prompt.ids, messages, toolset, choice, thinking=thinking)
        request.traced = TracedRequest(engine.tokenizer, answer.grammar, bands)
    return request


def checked_tools(
    engine: Backend,
    parts: PartFinder,
    messages: Sequence[Message],
    tools: Sequence[ToolLike] | ToolSet | None,
    options: ChatOptions,
) -> tuple[ToolSet | None, ToolChoice]:
    """Check a request's tools, tool choice and names of options, without compiling a grammar unless it must be.

    The tools are those that the model is shown.
    """
    options = given_options(options)
    mode = unsupported_option(options.get("on_unsupported"))
    toolset = None if tools is None else ToolSet.of(tools, omit=mode != "refuse")
    toolset, choice = enforceable(toolset, options.get("tool_choice"), mode)
    toolset, choice, _ = selected_tools(engine, parts, messages, toolset, choice, options)
    return toolset, choice


def _answer_form(
    engine: Backend,
    family: formats.Family,
    messages: Sequence[Message],
    tools: ToolSet | None,
    choice: ToolChoice,
    options: ChatOptions,
) -> _AnswerForm:
    can_call = bool(tools) and choice.mode != "none"
    if (own := grammar_option(options, has_tools=can_call)) is not None:
        return _AnswerForm(own, formats.plain_parser)
    form = response_format(options)
    if form is not None and not can_call:
        return _AnswerForm(form.grammar, formats.plain_parser)
    if form is not None and form.schema is None:
        raise RequestError("response_format", "cannot be combined with tools, unless it is JSON", "Use one at a time.")
    schema, thinking = "" if form is None else form.schema or "", options.get("thinking")
    if tools and can_call and family.decision is not None and form is None:
        return _deciding_form(engine, family, family.decision, messages, tools, choice, options)
    compiled = grammar.compile_output(
        family.syntax_for(tools, choice, thinking=thinking, text_schema=schema),
        tools or (),
        choice,
        parallel=options.get("parallel_tool_calls") is not False,
        control=engine.tokenizer.control,
        check_patterns=options.get("on_unsupported") == "check",
    )
    parser = functools.partial(family.parser, tools or (), choice, thinking=thinking, text_schema=schema)
    return _AnswerForm(compiled, parser)


def _deciding_form(
    engine: Backend,
    family: formats.Family,
    biases: CallDecision,
    messages: Sequence[Message],
    tools: ToolSet,
    choice: ToolChoice,
    options: ChatOptions,
) -> _AnswerForm:
    """Return the form of an answer that begins with a call, and is one in text if the model declines it."""
    syntax = family.syntax_for(tools, choice, thinking=options.get("thinking"))
    control, parallel = engine.tokenizer.control, options.get("parallel_tool_calls") is not False
    required = ToolChoice("required", choice.names)
    check = options.get("on_unsupported") == "check"
    calls = grammar.compile_output(syntax, tools, required, parallel=parallel, control=control, check_patterns=check)
    none = ToolChoice("none", ())
    text = grammar.compile_output(family.syntax_for(tools, none), (), none, control=control)

    def text_prompt() -> list[int]:
        thinking = options.get("thinking")
        return render_prompt(
            family, engine.tokenizer, messages, tools, choice=none, thinking=thinking, tells_results=True
        ).ids

    parser = functools.partial(family.parser, tools, required, thinking=options.get("thinking"))
    earlier = formats.calls_since_question(messages) if choice.mode == "auto" else ()
    return _AnswerForm(calls, parser, _DecidingForm(biases, syntax, text, text_prompt, earlier))


def _call_grammar(
    engine: Backend, family: formats.Family, tools: ToolSet, choice: ToolChoice, options: ChatOptions
) -> grammar.CompiledGrammar:
    """Compile the grammar of answers that are calls alone, with which the probability of a call is found."""
    required = ToolChoice("required", choice.names)
    return grammar.compile_output(
        family.syntax_for(tools, required, thinking=options.get("thinking")),
        tools,
        required,
        parallel=options.get("parallel_tool_calls") is not False,
        control=engine.tokenizer.control,
        any_spelling=True,
        check_patterns=options.get("on_unsupported") == "check",
    )
