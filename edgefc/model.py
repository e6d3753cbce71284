"""`load()` and `Model`: edgefc's Python API, offline, thread-safe, several models at once.

A chat is: check the request → render the prompt → compile the grammar → generate → parse. Each step is
another package's; this module only joins them.
"""

from __future__ import annotations

import codecs
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol, overload

from typing_extensions import Self, TypedDict, Unpack

from edgefc import formats, gguf, grammar, registry
from edgefc.engine import (
    Engine,
    EngineOptions,
    Generation,
    GenerationResult,
    RequestOptions,
    SamplingOptions,
    Tokenizer,
    gbnf_grammar,
)
from edgefc.errors import RequestError, SchemaError
from edgefc.loop import OnCall, OnDelta, OnResult, RunResult, run_rounds
from edgefc.reply import ChatStream, Reply
from edgefc.tools import ToolLike, as_tools, check_tools, parse_tool_choice
from edgefc.types import Message, Tool, ToolCall
from edgefc.validation import CallChecker

log = logging.getLogger("edgefc.model")
RESAMPLE_TEMPERATURES = (0.7, 1.0, 1.3)  # at least, attempt by attempt


def load(
    name: str | Path,
    *,
    family: str | None = None,
    n_ctx: int | None = None,
    n_gpu_layers: int | None = None,
    n_threads: int | None = None,
    n_parallel: int = 4,
    progress: Callable[[float], bool] | None = None,
) -> Model:
    """Load a model for inference.

    name          an id of models.toml (`edgefc list --all` shows them), such as "demo", or the path of a .gguf
    family        the chat format; None: the model card's, else detected from the file
    n_ctx         context in tokens; None: what the model was trained for, at most 8192, if memory allows
    n_gpu_layers  layers on the GPU; None: all when one is there and they fit, else none
    n_threads     None: one per physical core
    n_parallel    requests generated at the same time; more wait in a queue
    progress      called with the loaded share, 0 to 1; returning False cancels

    Raises ModelNotFoundError, ModelFileError, ModelLoadError or FormatError.
    """
    found = registry.resolve(str(name))
    metadata = gguf.read_metadata(found.path)
    family_name = family or (found.card.family if found.card else None)
    chat_format, detection = formats.family_of(metadata, found.path.name, family_name)
    engine = Engine.load(
        found.path,
        EngineOptions(n_ctx=n_ctx, n_gpu_layers=n_gpu_layers, n_threads=n_threads, n_seq_max=n_parallel),
        progress=progress,
    )
    if detection.template == formats.OWN:
        chat_format, _ = formats.family_of(metadata, found.path.name, family_name, eos=engine.tokenizer.eos_text)
    for warning in (
        detection.note,
        *chat_format.missing_tokens(engine.tokenizer.special_tokens),
        *engine.tokenizer.notes,
    ):
        if warning:
            log.warning("%s: %s", found.path.name, warning)
    return Model(engine, chat_format, path=found.path, name=found.card.id if found.card else found.path.stem)


class Backend(Protocol):
    """What a model computes with: edgefc's own engine, or a stock Llama."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def n_ctx(self) -> int: ...

    def submit(self, prompt: list[int], **options: Unpack[RequestOptions]) -> Generation: ...

    def close(self) -> None: ...


class ChatOptions(TypedDict, total=False):
    """The options of `Model.chat` and `Model.run`, in OpenAI's spelling where it has one.

    tool_choice          "auto", "none", "required", one tool by name, or allowed_tools (OpenAI's objects)
    parallel_tool_calls  False: at most one call in an answer
    max_tokens           most tokens to generate; None: what the context has room for
    stop                 strings that end the answer and are not part of it
    temperature …        sampling; None: the family's recommendation, which is greedy for most
    seed                 makes sampling repeatable; None: drawn anew for each request
    logit_bias           token id → what is added to its logit
    thinking             False: a family that thinks before it answers is told not to
    response_format      what an answer without tools must be: OpenAI's json_object or json_schema
    grammar              GBNF that an answer without tools must follow
    """

    tool_choice: str | Mapping[str, Any]
    parallel_tool_calls: bool
    max_tokens: int | None
    stop: str | Sequence[str]
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repeat_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    seed: int | None
    logit_bias: Mapping[int, float] | None
    thinking: bool | None
    response_format: Mapping[str, Any] | None
    grammar: str | None


class Model:
    """A loaded model. Any thread may use it; `close()`, or the end of a `with` block, frees its memory."""

    def __init__(self, engine: Backend, family: formats.Family, *, path: Path, name: str) -> None:
        self.engine, self.family, self.path, self.name = engine, family, path, name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Model({self.name!r}, family={self.family.name!r}, n_ctx={self.n_ctx})"

    @property
    def n_ctx(self) -> int:
        """The context, in tokens, that prompt and answer of one request share."""
        return self.engine.n_ctx

    def close(self) -> None:
        """Cancel what is running and free the model; further calls raise EngineClosedError."""
        self.engine.close()

    def render(self, messages: Sequence[Message], tools: Sequence[ToolLike] | None = None) -> formats.Prompt:
        """The exact prompt that `chat` would send for these messages and tools."""
        schemas, _ = as_tools(tools or ())
        shown = check_tools(schemas) if tools is not None else None
        return self.family.render(messages, shown, special_tokens=self.engine.tokenizer.special_tokens)

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolLike] | None = None,
        stream: Literal[False] = False,
        **options: Unpack[ChatOptions],
    ) -> Reply: ...

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolLike] | None = None,
        stream: Literal[True],
        **options: Unpack[ChatOptions],
    ) -> ChatStream: ...

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolLike] | None = None,
        stream: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Reply | ChatStream: ...

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolLike] | None = None,
        stream: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Reply | ChatStream:
        """Answer the conversation, calling tools where the model wants to.

        messages  the conversation as in OpenAI's chat completions
        tools     OpenAI tools or Python functions; every call names one of them and fits its schema
        stream    True: a ChatStream of deltas at once; False: the whole Reply when it is complete
        options   see ChatOptions

        What a grammar cannot enforce of a schema is checked when a call is complete; a call that fails is sampled
        again, a few times.

        Raises RequestError, ContextOverflowError, SchemaError, FormatError, InvalidCallError or EngineClosedError.
        """
        schemas, _ = as_tools(tools or ())
        checked = check_tools(schemas)
        if unknown := options.keys() - ChatOptions.__annotations__.keys():
            raise TypeError(f"chat() got an unexpected keyword argument {min(unknown)!r}")
        choice = parse_tool_choice(options.get("tool_choice", "auto"), checked)
        tokenizer, thinking = self.engine.tokenizer, options.get("thinking")
        shown = checked if tools is not None else None
        parser: Callable[[], formats.StreamParser] = formats.plain_parser
        compiled = _answer_grammar(options, checked)
        if compiled is None:
            parser = functools.partial(self.family.parser, checked, choice, thinking=thinking)
            compiled = grammar.compile_output(
                self.family.syntax_for(shown, choice, thinking=thinking),
                checked,
                choice,
                parallel=options.get("parallel_tool_calls", True),
                control=tokenizer.control,
            )
        prompt = self.family.render(
            messages, shown, choice=choice, thinking=thinking, special_tokens=tokenizer.special_tokens
        )
        request = _Request(
            self,
            checked,
            compiled,
            parser,
            prompt=tokenizer.encode(prompt, bos=self.family.bos),
            max_tokens=options.get("max_tokens"),
            sampling=self._sampling(options),
            stop=(*self.family.stop, *_stop_strings(options.get("stop", ()))),
        )
        answer = ChatStream(request.submit(request.sampling), request)
        return answer if stream else answer.reply

    def run(
        self,
        prompt: str | Sequence[Message],
        *,
        tools: Sequence[ToolLike],
        system: str | None = None,
        max_rounds: int = 8,
        on_call: OnCall | None = None,
        on_result: OnResult | None = None,
        on_delta: OnDelta | None = None,
        **options: Unpack[ChatOptions],
    ) -> RunResult:
        """Answer by running tools: chat, run the calls, give the results back, until the model answers.

        prompt      the user's question, or a whole conversation
        tools       Python functions; schemas without a function can be called by the model but not run here
        max_rounds  most chats in one run; after the last, or when the model repeats a call it has the result
                    of already, it must answer from what it has
        on_call     asked before each call; returning False refuses it, and the model is told so
        on_result   told each result
        on_delta    told each streamed delta
        options     as for `chat`

        Raises what `chat` raises, and ToolError for a tool that has no function. A tool's own exception does
        not end the run: the model reads it as the result.
        """
        messages: list[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        return run_rounds(
            self,
            messages,
            tools,
            max_rounds=max_rounds,
            on_call=on_call,
            on_result=on_result,
            on_delta=on_delta,
            options=options,
        )

    def _sampling(self, options: ChatOptions) -> SamplingOptions:
        """The family's recommended sampling with the caller's values over it."""
        values: dict[str, Any] = dict(self.family.sampling)
        for field in fields(SamplingOptions):
            if (given := options.get(field.name)) is not None:
                values[field.name] = given
        return SamplingOptions(**values)


class _Request:
    """One chat's request, as often as it has to be sampled."""

    def __init__(
        self,
        model: Model,
        tools: list[Tool],
        compiled: grammar.CompiledGrammar,
        parser: Callable[[], formats.StreamParser],
        *,
        prompt: list[int],
        max_tokens: int | None,
        sampling: SamplingOptions,
        stop: tuple[str, ...],
    ) -> None:
        self.sampling = sampling
        self.parser = parser
        self._model, self._tools, self._grammar = model, tools, compiled
        self._prompt, self._max_tokens, self._stop = prompt, max_tokens, stop
        self._checker = CallChecker(tools, compiled.unenforced) if compiled.unenforced else None

    @property
    def is_checked(self) -> bool:
        return self._checker is not None

    def first_problem(self, calls: Sequence[ToolCall]) -> tuple[int, grammar.Finding] | None:
        return self._checker.first_problem(calls) if self._checker else None

    def submit(self, sampling: SamplingOptions, answer: tuple[int, ...] = ()) -> Generation:
        return self._model.engine.submit(
            self._prompt,
            max_tokens=self._max_tokens,
            sampling=sampling,
            grammar=self._grammar,
            stop=self._stop,
            answer=answer,
        )

    def again(self, result: GenerationResult, call: int, attempt: int) -> Generation:
        """From the tokens before the call. Greedy sampling would say the same again; it stays repeatable."""
        greedy = self.sampling.temperature == 0
        sampling = replace(
            self.sampling,
            temperature=max(self.sampling.temperature, RESAMPLE_TEMPERATURES[attempt - 1]),
            seed=(self.sampling.seed or 0 if greedy else result.stats.seed) + attempt,
        )
        return self.submit(sampling, tuple(result.token_ids[: self._before(result.token_ids, call)]))

    def _before(self, tokens: list[int], call: int) -> int:
        """How many tokens were said before a call began."""
        parser, decode = self.parser(), codecs.getincrementaldecoder("utf-8")("replace").decode
        begun = 0
        for number, token in enumerate(tokens):
            deltas = parser.feed(decode(self._model.engine.tokenizer.piece(token)))
            begun += sum("id" in part for delta in deltas for part in delta.get("tool_calls", ()))
            if begun > call:
                return number
        return 0


def _answer_grammar(options: ChatOptions, tools: list[Tool]) -> grammar.CompiledGrammar | None:
    """The grammar of an answer that the caller wants in a form of its own, if it does."""
    gbnf, wanted = options.get("grammar"), options.get("response_format")
    if wanted is not None and wanted.get("type") == "text":
        wanted = None
    for name, value in (("grammar", gbnf), ("response_format", wanted)):
        if value is not None and (tools or (gbnf is not None and wanted is not None)):
            raise RequestError(name, "cannot be combined with tools or another grammar", "Ask for one at a time.")
    if gbnf is not None:
        return gbnf_grammar(gbnf)
    return None if wanted is None else _response_grammar(wanted)


def _response_grammar(wanted: Mapping[str, Any]) -> grammar.CompiledGrammar:
    place: tuple[str, ...] = ("response_format", "schema")
    schema = wanted.get("schema", {"type": "object"})
    if wanted.get("type") == "json_schema":
        place = ("response_format", "json_schema", "schema")
        inner = wanted.get("json_schema")
        if not isinstance(inner, Mapping) or "schema" not in inner:
            raise RequestError("response_format", "json_schema must be an object with a schema in it")
        schema = inner["schema"]
    elif wanted.get("type") != "json_object":
        raise RequestError(
            "response_format", f"its type is text, json_object or json_schema, not {wanted.get('type')!r}"
        )
    try:
        compiled = grammar.compile_schema(schema)
    except SchemaError as error:
        raise error.under(*place) from None
    if compiled.unenforced:
        finding = compiled.unenforced[0].under(*place)
        raise SchemaError(finding.path, f"no grammar enforces it: {finding.reason}", "Leave it out.")
    return compiled


def _stop_strings(stop: str | Sequence[str]) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(stops):
        raise RequestError("stop", "an empty stop string would end every answer at once")
    return stops
