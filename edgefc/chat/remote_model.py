"""A model that another inference server computes: its tokenizer and chat template are here, its weights are there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgefc import formats, gguf, grammar
from edgefc.chat.prompt_parts import PROBE_TOOL
from edgefc.engine.tokenizer import Tokenizer
from edgefc.engine.tokenizer_files import TOKENIZER, open_beside, open_folder
from edgefc.errors import MissingPackageError, RequestError
from edgefc.tools import ToolSet
from edgefc.types import ToolChoice

if TYPE_CHECKING:
    from llguidance import LLTokenizer

    from edgefc.engine.remote.api import RemoteApi
    from edgefc.engine.remote.engine import RemoteEngine
    from edgefc.engine.remote.target import RemoteTarget
    from edgefc.engine.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """The files of a model that are needed where it is not computed.

    metadata   as a GGUF has it: name and chat template
    file       the file that stands for the model
    vocabulary, guidance  its vocabulary, and a function that converts it for llguidance, with these tokens as control
                          tokens besides its own
    close      frees the vocabulary
    """

    metadata: Mapping[str, object]
    file: Path
    vocabulary: Vocabulary
    guidance: Callable[[Collection[int]], LLTokenizer]
    close: Callable[[], None] = lambda: None

    @classmethod
    def read(cls, path: Path) -> RemoteModel:
        """Read a GGUF, of which the header is enough, or a folder with `tokenizer.json`.

        A GGUF's vocabulary is read by llama.cpp; without it, `tokenizer.json` beside the file serves.

        Raises ModelNotFoundError, ModelFileError, ModelLoadError or MissingPackageError.
        """
        if path.is_dir():
            vocabulary, facts = open_folder(path)
            return cls(facts, path / TOKENIZER, vocabulary, vocabulary.guidance)
        header = gguf.read_header(path)
        try:
            from edgefc.engine.constraint import VocabularyLoader, guidance_tokenizer
            from edgefc.engine.llama import VERSION  # noqa: F401 - to learn whether llama.cpp is installed
        except MissingPackageError:
            if not path.with_name(TOKENIZER).is_file():
                raise MissingPackageError(
                    f"without llama-cpp-python, {path.name} needs a {TOKENIZER} beside it",
                    "Copy it there from the model's repository, or pip install llama-cpp-python.",
                ) from None
            tokens = header.metadata.get("tokenizer.ggml.tokens")
            size = tokens.length if isinstance(tokens, gguf.ArrayLength) else None
            beside = open_beside(path, header.metadata, size)
            return cls(header.metadata, path, beside, beside.guidance)
        loader = VocabularyLoader(path)

        def guidance(markers: Collection[int]) -> LLTokenizer:
            return guidance_tokenizer(loader.vocabulary(), markers) if markers else loader.guidance_tokenizer()

        return cls(header.metadata, path, loader.vocabulary(), guidance, loader.close)

    def connect(self, engine: str | RemoteTarget, family: formats.Family, n_ctx: int | None) -> RemoteEngine:
        """Connect to the engine that computes this model, and prove that it enforces the grammars of its family.

        Raises RemoteEngineError or RequestError.
        """
        from edgefc.engine.remote.client import Client
        from edgefc.engine.remote.engine import RemoteEngine
        from edgefc.engine.remote.llama_server import LlamaServer
        from edgefc.engine.remote.sglang import Sglang
        from edgefc.engine.remote.target import RemoteTarget
        from edgefc.engine.remote.vllm import Vllm

        target = engine if isinstance(engine, RemoteTarget) else RemoteTarget.parse(engine)
        tokenizer = Tokenizer(self.vocabulary, self.file.with_name(TOKENIZER))
        apis: dict[str, RemoteApi] = {"llama-server": LlamaServer(self.vocabulary), "vllm": Vllm(), "sglang": Sglang()}
        return RemoteEngine(
            Client(target),
            apis[target.kind],
            tokenizer,
            self.guidance,
            control=lambda: _control_tokens(family, tokenizer),
            n_ctx=n_ctx,
            on_close=self.close,
        )


def _control_tokens(family: formats.Family, tokenizer: Tokenizer) -> frozenset[int]:
    """Return the control tokens that the grammar of a family's calls demands."""
    tools = ToolSet.of([PROBE_TOOL])
    choice = ToolChoice("auto", tools.names)
    return grammar.compile_output(family.syntax_for(tools, choice), tools, choice, control=tokenizer.control).control


def refuse_local(**options: object) -> None:
    """Refuse the options of `load` that only concern a model computed here. Raises RequestError."""
    for name, value in options.items():
        if value is not None:
            raise RequestError(name, "not supported with `engine`: another program computes", "Set it there.")
