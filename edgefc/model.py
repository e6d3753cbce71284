"""`load()` and `Model`: edgefc's Python API, offline, thread-safe, several models at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, overload

from typing_extensions import Unpack

from edgefc import formats, gguf
from edgefc.chat.completion import TextStream, complete
from edgefc.chat.loop import OnCall, OnDelta, OnResult, RunResult, run_rounds
from edgefc.chat.options import ChatOptions
from edgefc.chat.prompt_parts import PartFinder
from edgefc.chat.recorder import Recorder
from edgefc.chat.reply import ChatStream, Reply
from edgefc.chat.request import checked_tools, new_request
from edgefc.chat.warm import WarmResult, warm_up
from edgefc.engine import ALL_LAYERS, Engine, EngineOptions, supports_gpu
from edgefc.engine.backend import Backend
from edgefc.gguf import memory
from edgefc.models import registry, store
from edgefc.tools import ToolLike
from edgefc.types import Message

log = logging.getLogger("edgefc.model")


def load(
    name: str | Path,
    *,
    family: str | None = None,
    n_ctx: int | None = None,
    n_gpu_layers: int | None = None,
    n_threads: int | None = None,
    n_parallel: int = 4,
    prefix_disk: int | None = None,
    transcripts: str | Path | None = None,
    progress: Callable[[float], bool] | None = None,
) -> Model:
    """Load a model for inference.

    name          an id of models.toml (`edgefc list --all` shows them), such as "demo", or the path of a .gguf
    family        the chat format; None: the model card's, else detected from the file
    n_ctx         context in tokens; None: what the model was trained for, at most 8192, if memory allows
    n_gpu_layers  layers on the GPU; None: all when one is there and they fit, else none
    n_threads     None: as `edgefc bench --calibrate` measured, else one per physical core
    n_parallel    requests generated at the same time; more wait in a queue
    prefix_disk   bytes on disk for the KV caches of tools' prompts, of all models together; None: 2 GiB; 0: keep none
    transcripts   file that questions and answers are appended to, readable for its owner alone; None: none are kept
    progress      called with the loaded share, 0 to 1; returning False cancels

    Raises ModelNotFoundError, ModelFileError, ModelLoadError, FormatError or TranscriptError.
    """
    found = registry.resolve(str(name))
    header = gguf.read_model(found.path)
    metadata = header.metadata
    family_name = family or (found.card.family if found.card else None)
    chat_format, detection = formats.family_of(metadata, found.path.name, family_name)
    model_name = found.card.id if found.card else found.path.stem
    recorder = None
    if transcripts is not None:
        about = {"name": model_name, "family": chat_format.name, "sha256": store.known_hash(found.path)}
        recorder = Recorder(transcripts, {key: value for key, value in about.items() if value is not None})
    engine = Engine.load(
        found.path,
        EngineOptions(
            n_ctx=n_ctx,
            n_gpu_layers=n_gpu_layers,
            n_threads=n_threads,
            n_seq_max=n_parallel,
            prefix_disk=prefix_disk,
        ),
        progress=progress,
        header=header,
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
    return Model(engine, chat_format, path=found.path, name=model_name, recorder=recorder)


def needed_memory(
    name: str | Path, *, n_ctx: int | None = None, n_gpu_layers: int | None = None, n_parallel: int = 4
) -> int:
    """Bytes of main memory that `load` with these would like to have; with n_ctx None it makes do with less.

    Raises ModelNotFoundError or ModelFileError.
    """
    header = gguf.read_model(registry.resolve(str(name)).path)
    layers = (ALL_LAYERS if supports_gpu() else 0) if n_gpu_layers is None else n_gpu_layers
    context = n_ctx or memory.usual_context(header)
    return memory.predict(header, n_ctx=context, n_seq_max=n_parallel, gpu_layers=layers).total


class Model:
    """A loaded model. Any thread may use it; `close()`, or the end of a `with` block, frees its memory.

    recorder  writes down what it is asked and answers; None: nobody does
    """

    def __init__(
        self, engine: Backend, family: formats.Family, *, path: Path, name: str, recorder: Recorder | None = None
    ) -> None:
        self.engine, self.family, self.path, self.name, self.recorder = engine, family, path, name, recorder
        self._parts = PartFinder(family, engine.tokenizer)

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
        shown = None if tools is None else checked_tools(tools)
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
        request = new_request(self.engine, self.family, self._parts, messages, tools, options)
        on_reply = None
        if self.recorder is not None:
            greedy = request.sampling.temperature == 0
            on_reply = self.recorder.telling(messages, tools, options, greedy=greedy)
        answer = ChatStream(request.submit(), request, on_reply)
        return answer if stream else answer.reply

    def complete(self, prompt: str | Sequence[int], **options: Unpack[ChatOptions]) -> TextStream:
        """Generate what follows a raw prompt, text or token ids; no template, no tools. `.completion` waits for it.

        Raises RequestError, ContextOverflowError, SchemaError, GrammarError or EngineClosedError.
        """
        return complete(self.engine, self.family, prompt, options)

    def warm(
        self,
        *,
        tools: Sequence[ToolLike],
        system: str | None = None,
        tool_choice: str | Mapping[str, Any] = "auto",
    ) -> WarmResult:
        """Compute what prompts with these tools begin with, and keep it on disk: later requests, of other processes
        too, begin where it ends.

        Raises what `chat` raises, and RequestError where nothing is the same for every conversation.
        """
        return warm_up(self.engine, self._parts, tools, system=system, tool_choice=tool_choice)

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
