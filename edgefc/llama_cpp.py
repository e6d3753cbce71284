"""edgefc's chat formats and guarantees for llama-cpp-python's own `Llama`.

    from llama_cpp import Llama
    from edgefc.llama_cpp import chat_handler

    llama = Llama("model.gguf", n_ctx=4096, chat_handler=chat_handler("hammer2.1"))
    llama.create_chat_completion(messages, tools=tools, tool_choice="required", stream=True)

Importing this module also registers every family's handler by name: `Llama(..., chat_format="edgefc.hammer2.1")`;
`edgefc.auto` detects the family from the model file.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from llama_cpp.llama_chat_format import LlamaChatCompletionHandler, LlamaChatCompletionHandlerRegistry

from edgefc import formats
from edgefc.chat import openai
from edgefc.chat.reply import ChatStream
from edgefc.engine.stock_llama import StockEngine
from edgefc.errors import RequestError
from edgefc.model import Model
from edgefc.types import Message

__all__ = ["ChatHandler", "chat_handler"]
AUTO = "auto"
# Parameters of llama-cpp-python that edgefc's sampler lacks, with the values that disable them.
_DISABLED: dict[str, tuple[Any, ...]] = {
    "typical_p": (1.0,),
    "tfs_z": (1.0,),
    "mirostat_mode": (0,),
    "logits_processor": (None, []),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
}
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repeat_penalty")
_IGNORED = {"mirostat_tau", "mirostat_eta"}  # without effect unless mirostat_mode is set
_ENGINES: weakref.WeakKeyDictionary[Any, StockEngine] = weakref.WeakKeyDictionary()


class ChatHandler:
    """A chat completion handler, as `Llama(chat_handler=...)` takes it. Made by `chat_handler`."""

    def __init__(self, family: str | None) -> None:
        self.family = family
        self._models: weakref.WeakKeyDictionary[Any, Model] = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"chat_handler({self.family!r})"

    def __call__(
        self,
        *,
        llama: Any,
        messages: Sequence[Message],
        functions: Sequence[Mapping[str, Any]] | None = None,
        function_call: str | Mapping[str, Any] | None = None,
        tools: Sequence[Any] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        parallel_tool_calls: bool = True,
        thinking: bool | None = None,
        stream: bool = False,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        max_tokens: int | None = None,
        logit_bias: Mapping[Any, float] | None = None,
        response_format: Mapping[str, Any] | None = None,
        grammar: Any = None,
        model: str | None = None,
        **others: Any,
    ) -> dict[str, Any] | Iterator[dict[str, Any]]:
        """Answer as `Llama.create_chat_completion` does, with the same parameters.

        Every call names one of the tools, with arguments that fit its schema. Messages, tool_choice (with
        allowed_tools) and errors are those of `edgefc.Model.chat`; RequestError is also raised for parameters that
        edgefc's sampler lacks.
        """
        _check_others(others)
        legacy = functions is not None
        if functions is not None:
            if tools is not None:
                raise RequestError("functions", "cannot be combined with tools", "Use tools alone.")
            tools = [{"type": "function", "function": function} for function in functions]
            tool_choice = openai.choice_of(function_call)
            parallel_tool_calls = False
        answer = self._model(llama).chat(
            messages,
            tools=tools,
            stream=True,
            tool_choice=tool_choice or "auto",
            parallel_tool_calls=parallel_tool_calls,
            thinking=thinking,
            stop=stop or (),
            seed=seed,
            # In llama-cpp-python, 0 and negative numbers are no limit but the context.
            max_tokens=llama.n_ctx() if max_tokens is not None and max_tokens <= 0 else max_tokens,
            logit_bias={int(token): bias for token, bias in (logit_bias or {}).items()},
            response_format=response_format,
            grammar=None if grammar is None else grammar._grammar,  # noqa: SLF001 - LlamaGrammar has no other way
            **{name: others[name] for name in _SAMPLING if name in others},
        )
        about = openai.head(model or llama.model_path)
        if stream:
            return _chunks(about, answer, legacy=legacy)
        return openai.completion(about, [answer.reply], legacy=legacy)

    def _model(self, llama: Any) -> Model:
        """Return the model of a Llama, always the same one, since it caches prefixes of prompts."""
        if (cached := self._models.get(llama)) is not None:
            return cached
        engine = _ENGINES.get(llama)
        if engine is None:
            engine = _ENGINES[llama] = StockEngine(llama)
        path = Path(llama.model_path)
        family, _ = formats.family_of(llama.metadata, path, self.family, eos=engine.tokenizer.eos_text)
        model = self._models[llama] = Model(engine, family, path=path, name=path.stem)
        return model


def chat_handler(family: str | None = None) -> LlamaChatCompletionHandler:
    """Return the handler of a family, such as "hammer2.1"; None: detected from the model file, as `edgefc show` does.

    Raises FormatError for an unknown family.
    """
    if family is not None and family not in formats.family_names():
        formats.load_family(family)  # raises an error that lists the families
    return cast(LlamaChatCompletionHandler, ChatHandler(family))


def _check_others(others: Mapping[str, Any]) -> None:
    for name, value in others.items():
        if name in _DISABLED and not any(value is off or value == off for off in _DISABLED[name]):
            raise RequestError(name, "not supported by edgefc's chat handlers", "Leave it out.")
        if name not in _DISABLED and name not in _SAMPLING and name not in _IGNORED:
            raise RequestError(name, "unknown parameter of edgefc's chat handlers")


def _chunks(about: openai.Head, answer: ChatStream, *, legacy: bool) -> Iterator[dict[str, Any]]:
    with answer:
        for delta in answer:
            yield openai.chunk(about, delta, legacy=legacy)
        yield openai.chunk(about, {}, openai.finish_reason(answer.reply, legacy=legacy))


def _register() -> None:
    registry = LlamaChatCompletionHandlerRegistry()  # type: ignore[no-untyped-call]
    for name in (*formats.family_names(), AUTO):
        handler = chat_handler(None if name == AUTO else name)
        registry.register_chat_completion_handler(f"edgefc.{name}", handler, overwrite=True)


_register()
