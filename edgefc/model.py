"""`load()` and `Model`: edgefc's Python API, offline, thread-safe, several models at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Never, Self, cast, overload

from typing_extensions import Unpack

from edgefc import formats, gguf
from edgefc.chat import dialect
from edgefc.chat.answer_type import with_answer_type
from edgefc.chat.async_chat import MYPY, AsyncChat
from edgefc.chat.completion import TextStream, complete
from edgefc.chat.loop import MAX_ROUNDS, OnCall, OnDelta, OnReply, OnResult, RunResult, run_rounds
from edgefc.chat.options import ChatOptions, FormlessOptions
from edgefc.chat.prompt import ModelPrompt, conversation, render_prompt
from edgefc.chat.prompt_parts import PartFinders
from edgefc.chat.recorder import Recorder
from edgefc.chat.remote_model import RemoteModel, refuse_local
from edgefc.chat.reply import ChatStream, Reply, T
from edgefc.chat.request import Request, checked_tools, new_request
from edgefc.chat.warm import WarmResult, warm_up
from edgefc.engine.backend import Backend
from edgefc.gguf import memory
from edgefc.gguf.adapter import Lora, LoraOption, loras_of, read_adapters
from edgefc.models import registry, store
from edgefc.tools import ToolLike, ToolSet
from edgefc.types import AnyMessage, Message

if TYPE_CHECKING:
    from edgefc.engine import Engine
    from edgefc.engine.remote.target import RemoteTarget

log = logging.getLogger("edgefc.model")
N_PARALLEL = 4


def load(
    name: str | Path | registry.ResolvedModel,
    *,
    family: str | None = None,
    n_ctx: int | None = None,
    n_gpu_layers: int | None = None,
    n_threads: int | None = None,
    n_parallel: int | None = None,
    prefix_disk: int | None = None,
    lora: LoraOption = None,
    transcripts: str | Path | None = None,
    progress: Callable[[float], bool] | None = None,
    engine: str | RemoteTarget | None = None,
) -> Model:
    """Load a model for inference.

    name          an id from `edgefc list --all`, such as "demo", the path of a .gguf, or a result of `registry.resolve`
    family        the chat format; None: the model card's, else detected from the file
    n_ctx         context in tokens; None: the model's training context, at most 8192, if memory allows
    n_gpu_layers  layers on the GPU; None: all if there is a GPU that holds them, else none
    n_threads     None: as measured by `edgefc bench --calibrate`, else one per physical core
    n_parallel    requests generated at the same time, more wait in a queue; None: 4
    prefix_disk   bytes on disk for the KV caches of tools' prompts, for all models together; None: 2 GiB; 0: disabled
    lora          LoRA adapters: `[NAME=]FILE[:SCALE]`, a path, `Lora(path, scale, name)`, or several; None: the card's
    transcripts   file to which questions and answers are appended, readable by its owner only; None: disabled
    progress      called with the loaded share, 0 to 1; returning False cancels
    engine        "llama-server=URL", "vllm=URL" or "sglang=URL": that server computes, see docs/remote.md

    Raises ModelNotFoundError, ModelFileError, ModelLoadError, FormatError, TranscriptError or RemoteEngineError.
    """
    found = registry.resolve(name)
    local = {"n_gpu_layers": n_gpu_layers, "n_threads": n_threads, "n_parallel": n_parallel, "prefix_disk": prefix_disk}
    remote, path = None, found.path
    if engine is None:
        header = gguf.read_model(path)
        metadata = header.metadata
    else:
        refuse_local(**local, lora=lora)
        remote = RemoteModel.read(path)
        metadata, path = remote.metadata, remote.file
    family_name = family or (found.card.family if found.card else None) or None
    chat_format, detection = formats.family_of(metadata, path, family_name)
    recorder = None if transcripts is None else _new_recorder(transcripts, found, chat_format)
    backend: Backend
    if engine is not None and remote is not None:
        backend = remote.connect(engine, chat_format, n_ctx)
    else:
        backend = _load_engine(header, path, adapters_of(found, lora), progress, n_ctx=n_ctx, **local)
    if detection.template == formats.MODEL_TEMPLATE:
        chat_format, _ = formats.family_of(metadata, path, family_name, eos=backend.tokenizer.eos_text)
    if family_name is None:
        chat_format, detection = dialect.in_dialect(backend, chat_format, detection, path, metadata)
    for warning in detection.warnings(chat_format, backend.tokenizer):
        log.warning("%s: %s", found.path.name, warning)
    return Model(backend, chat_format, path=path, name=found.name, recorder=recorder)


def _load_engine(
    header: gguf.Header,
    path: Path,
    adapters: tuple[Lora, ...],
    progress: Callable[[float], bool] | None,
    *,
    n_ctx: int | None,
    n_parallel: int | None,
    **options: int | None,
) -> Engine:
    from edgefc.engine import Engine, EngineOptions  # llama.cpp is not needed where a server computes

    trained = header.number("context_length")
    if n_ctx is not None and trained is not None and n_ctx > trained:
        log.warning("%s: trained on contexts of %d tokens; n_ctx is %d", path.name, trained, n_ctx)
    n_seq_max = N_PARALLEL if n_parallel is None else n_parallel
    setup = EngineOptions(n_ctx=n_ctx, n_seq_max=n_seq_max, adapters=adapters, **options)
    return Engine.load(path, setup, progress=progress, header=header)


def _new_recorder(path: str | Path, found: registry.ResolvedModel, family: formats.Family) -> Recorder:
    about = {"name": found.name, "family": family.name, "sha256": store.recorded_hash(found.path)}
    return Recorder(path, {key: value for key, value in about.items() if value is not None})


def adapters_of(found: registry.ResolvedModel, option: LoraOption) -> tuple[Lora, ...]:
    """Return the adapters to load: those of the option, else of the model card. Raises RequestError."""
    if option is not None:
        return loras_of(option)
    return loras_of(found.card.lora) if found.card else ()


def needed_memory(
    name: str | Path | registry.ResolvedModel,
    *,
    n_ctx: int | None = None,
    n_gpu_layers: int | None = None,
    n_parallel: int | None = None,
    lora: LoraOption = None,
) -> int:
    """Predict the bytes of main memory that `load` needs; with n_ctx None it can make do with less.

    Raises ModelNotFoundError or ModelFileError.
    """
    from edgefc.engine import ALL_LAYERS, supports_gpu

    found = registry.resolve(name)
    header = gguf.read_model(found.path)
    adapters = sum(adapter.memory for adapter in read_adapters(adapters_of(found, lora), header))
    layers = (ALL_LAYERS if supports_gpu() else 0) if n_gpu_layers is None else n_gpu_layers
    context = n_ctx or memory.usual_context(header)
    n_seq_max = n_parallel or N_PARALLEL
    return memory.predict(header, n_ctx=context, n_seq_max=n_seq_max, gpu_layers=layers, adapters=adapters).total


class Model(AsyncChat):
    """A loaded model. Thread-safe; `close()`, or the end of a `with` block, frees its memory.

    recorder  records questions and answers; None: disabled
    """

    def __init__(
        self, engine: Backend, family: formats.Family, *, path: Path, name: str, recorder: Recorder | None = None
    ) -> None:
        self.engine, self.family, self.path, self.name, self.recorder = engine, family, path, name, recorder
        self._parts = PartFinders(family, engine.tokenizer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Model({self.name!r}, family={self.family.name!r}, n_ctx={self.n_ctx})"

    @property
    def n_ctx(self) -> int:
        """The context in tokens, shared by prompt and answer of one request."""
        return self.engine.n_ctx

    def close(self) -> None:
        """Cancel running requests and free the model; further calls raise EngineClosedError."""
        self.engine.close()

    def prompt(
        self,
        messages: Sequence[AnyMessage],
        tools: Sequence[ToolLike] | ToolSet | None = None,
        **options: Unpack[ChatOptions],
    ) -> ModelPrompt:
        """Render the exact prompt, as text and token ids, that `chat` sends with the same arguments.

        Raises RequestError or FormatError.
        """
        thinking, read = options.get("thinking"), cast("Sequence[Message]", messages)
        parts = self._parts.of(options.get("family"))
        toolset, choice = checked_tools(self.engine, parts, read, tools, options)
        return render_prompt(parts.family, self.engine.tokenizer, read, toolset, choice=choice, thinking=thinking)

    def request(
        self,
        messages: Sequence[AnyMessage],
        tools: Sequence[ToolLike] | ToolSet | None = None,
        **options: Unpack[ChatOptions],
    ) -> Request:
        """Check, render and compile what `chat` would, for `submit`. Raises what `chat` raises before it generates."""
        options, answer_type = with_answer_type(options)
        read = cast("Sequence[Message]", messages)  # checked where they are rendered
        request = new_request(self.engine, self._parts.of(options.get("family")), read, tools, options)
        request.answer_type = answer_type
        return request

    def submit(self, request: Request) -> ChatStream:
        """Start generating the answer to a request; submit it again, perhaps `with_seed`, for another answer."""
        on_reply = None if self.recorder is None else self.recorder.on_reply_for(request)
        return ChatStream(request, on_reply)

    @overload
    def chat(
        self,
        messages: Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet | None = None,
        stream: Literal[False] | None = None,
        response_format: type[T],
        **options: Unpack[FormlessOptions],
    ) -> Reply[T]: ...

    @overload
    def chat(
        self,
        messages: Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet | None = None,
        stream: Literal[True],
        response_format: type[T],
        **options: Unpack[FormlessOptions],
    ) -> ChatStream[T]: ...

    @overload
    def chat(
        self,
        messages: Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet | None = None,
        stream: Literal[False] | None = None,
        **options: Unpack[ChatOptions],
    ) -> Reply: ...

    @overload
    def chat(
        self,
        messages: Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet | None = None,
        stream: Literal[True],
        **options: Unpack[ChatOptions],
    ) -> ChatStream: ...

    @overload
    def chat(
        self,
        messages: Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet | None = None,
        stream: bool | None = None,
        **options: Unpack[ChatOptions],
    ) -> Reply | ChatStream: ...

    if not MYPY:

        @overload
        def chat(
            self,
            messages: Sequence[AnyMessage],
            *,
            tools: Sequence[ToolLike] | ToolSet | None = None,
            stream: bool | None = None,
            **options: Never,
        ) -> Reply | ChatStream: ...

    def chat(
        self,
        messages: Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet | None = None,
        stream: bool | None = None,
        **options: Any,
    ) -> Reply | ChatStream:
        """Answer a conversation, with tool calls where the model makes them.

        messages         the conversation as in OpenAI's chat completions
        tools            OpenAI tools or Python functions; every call names one of them and fits its schema
        stream           True: return a ChatStream of deltas at once; else return the whole Reply
        response_format  OpenAI's, or a type such as a pydantic model: `reply.parsed` is then an object of it
        options          see ChatOptions

        Keywords of a schema that no grammar can enforce are checked when a call is complete; an invalid call is sampled
        again, up to three times.

        Raises RequestError, ContextOverflowError, SchemaError, FormatError, InvalidCallError or EngineClosedError.
        """
        answer = self.submit(self.request(messages, tools, **options))
        return answer if stream else answer.reply

    def _stream(self, messages: Sequence[AnyMessage], tools: ToolSet, **options: Unpack[ChatOptions]) -> ChatStream:
        return self.submit(self.request(messages, tools, **options))

    def complete(self, prompt: str | Sequence[int], **options: Unpack[ChatOptions]) -> TextStream:
        """Continue a raw prompt, text or token ids, without template and tools. `.completion` waits for the whole.

        Raises RequestError, ContextOverflowError, SchemaError, GrammarError or EngineClosedError.
        """
        options, _ = with_answer_type(options)
        return complete(self.engine, self.family, prompt, options)

    def warm(
        self,
        *,
        tools: Sequence[ToolLike] | ToolSet,
        system: str | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
    ) -> WarmResult:
        """Compute the prefix that prompts with these tools share and save it to disk.

        Later requests, also of other processes, continue from there.

        Raises what `chat` raises, and RequestError if conversations share no prefix.
        """
        choice = "auto" if tool_choice is None else tool_choice
        return warm_up(self.engine, self._parts.own, tools, system=system, tool_choice=choice)

    @overload
    def run(
        self,
        prompt: str | Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet,
        system: str | None = None,
        max_rounds: int | None = None,
        on_call: OnCall | None = None,
        on_result: OnResult | None = None,
        on_delta: OnDelta | None = None,
        on_reply: OnReply | None = None,
        response_format: type[T],
        **options: Unpack[FormlessOptions],
    ) -> RunResult[T]: ...

    @overload
    def run(
        self,
        prompt: str | Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet,
        system: str | None = None,
        max_rounds: int | None = None,
        on_call: OnCall | None = None,
        on_result: OnResult | None = None,
        on_delta: OnDelta | None = None,
        on_reply: OnReply | None = None,
        **options: Unpack[ChatOptions],
    ) -> RunResult: ...

    if not MYPY:

        @overload
        def run(
            self,
            prompt: str | Sequence[AnyMessage],
            *,
            tools: Sequence[ToolLike] | ToolSet,
            system: str | None = None,
            max_rounds: int | None = None,
            on_call: OnCall | None = None,
            on_result: OnResult | None = None,
            on_delta: OnDelta | None = None,
            on_reply: OnReply | None = None,
            **options: Never,
        ) -> RunResult: ...

    def run(
        self,
        prompt: str | Sequence[AnyMessage],
        *,
        tools: Sequence[ToolLike] | ToolSet,
        system: str | None = None,
        max_rounds: int | None = None,
        on_call: OnCall | None = None,
        on_result: OnResult | None = None,
        on_delta: OnDelta | None = None,
        on_reply: OnReply | None = None,
        **options: Any,
    ) -> RunResult:
        """Answer by running tools: chat, run the calls, append the results, until the model answers.

        prompt      the user's question, or a whole conversation
        tools       Python functions; schemas without a function can be called by the model but not run here
        max_rounds  limit of chats in one run, None: 8; in the last, or after repeating calls whose results it has, the
                    model must answer
        on_call     called before each call; returning False refuses it, and the model reads the refusal
        on_result   called with each result
        on_delta    called with each streamed delta
        on_reply    called with each reply of the model, before its calls run
        options     as for `chat`

        Asynchronous tools run in an event loop in another thread. Raises what `chat` raises, and ToolError for a tool
        that has no function. A tool's own exception does not end the run: the model reads it as the result.
        """
        return run_rounds(
            self._stream,
            conversation(cast("str | Sequence[Message]", prompt), system),
            tools,
            max_rounds=MAX_ROUNDS if max_rounds is None else max_rounds,
            on_call=on_call,
            on_result=on_result,
            on_delta=on_delta,
            on_reply=on_reply,
            options=options,
        )
