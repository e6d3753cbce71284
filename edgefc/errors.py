"""All errors that edgefc raises on purpose.

    EdgefcError
    ├── ModelError
    │   ├── ModelNotFoundError      no such models.toml id, file or repository
    │   ├── ModelFileError          the file is not a GGUF that llama.cpp can load safely
    │   │   └── AdapterError        a LoRA adapter is malformed, or belongs to another model
    │   ├── ModelLoadError          llama.cpp refused a well-formed file, or memory is short
    │   ├── DownloadError           the hub or the network did not deliver the file
    │   │   ├── OfflineError        the model is not on this machine, and connections are disabled
    │   │   ├── GatedModelError     the hub requires a token, or accepting a licence
    │   │   └── HashMismatchError   the download differs from the published file
    │   └── StoreError              the folder of models could not be read or written: a full disk, a damaged file
    ├── LocatedError                `path` is the location in the request, tool or schema
    │   ├── RequestError            an invalid argument of one request; `param` is `path` as text
    │   │   └── ContextOverflowError    prompt and answer do not fit into the context
    │   └── SchemaError             a tool schema is malformed, exceeds a limit, or cannot be enforced
    ├── FormatError                 a family declaration or chat template is wrong or refuses the messages
    ├── GrammarError                GBNF text that llama.cpp or llguidance would refuse
    ├── ConstraintError             a token the grammar forbids, or a grammar that allows no token
    ├── InvalidCallError            a call failed a check that no grammar can make, on every attempt
    ├── InvalidAnswerError          an answer failed the checks of the type that was its response format
    ├── MissingPackageError         a part of edgefc needs packages that are not installed
    ├── ToolError                   a tool could not be defined or run
    ├── TranscriptError             a transcript could not be read or written; names file and line
    ├── SuiteError                  cases or results of an evaluation could not be read
    ├── ServerError                 an edgefc server did not answer, or refused the request
    ├── RemoteEngineError           the server that computes for edgefc failed, or breaks the grammar
    │   └── RemoteEngineBusyError   it takes no request now
    ├── CancelledError              the request was cancelled
    └── EngineClosedError           the model was closed

An error is data (`code` is stable, attributes name the location); `str()` makes the text. `hint` says what to do
next and is part of the text.
"""

from __future__ import annotations

import copy
import importlib.util
import re
from typing import ClassVar, Self

FieldPath = tuple[str | int, ...]


class EdgefcError(Exception):
    """Base of every error a caller can act on."""

    code: ClassVar[str] = "error"

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason, hint)
        self.reason, self.hint = reason, hint

    def __str__(self) -> str:
        return f"{self.reason}\n{self.hint}" if self.hint else self.reason


class ModelError(EdgefcError):
    """A model could not be found, read or loaded."""

    code = "model_error"


class ModelNotFoundError(ModelError):
    """Unknown model name, or no file at this path."""

    code = "model_not_found"


class ModelFileError(ModelError):
    """The file is not a GGUF that llama.cpp can load safely."""

    code = "model_file"


class AdapterError(ModelFileError):
    """A LoRA adapter is malformed, or belongs to another model."""

    code = "adapter"


class ModelLoadError(ModelError):
    """llama.cpp could not load the model or create a context for it."""

    code = "model_load"


class DownloadError(ModelError):
    """The hub or the network did not deliver a file. The bytes received so far are kept for resuming."""

    code = "download_failed"


class OfflineError(DownloadError):
    """The model is not on this machine, and connections are disabled."""

    code = "offline"


class GatedModelError(DownloadError):
    """The repository is gated or private: its licence must be accepted, or a token given."""

    code = "gated"


class HashMismatchError(DownloadError):
    """The download's hash differs from the published one. The file was deleted."""

    code = "hash_mismatch"


class StoreError(ModelError):
    """The folder of models could not be read or written."""

    code = "store"


class LocatedError(EdgefcError):
    """Base of errors at a location inside a request, a tool or a schema. `path` is the location, as data."""

    def __init__(self, path: FieldPath | str, reason: str, hint: str = "") -> None:
        """`path` may be the text of a path, such as `"messages[2].role"`, where it is a literal."""
        super().__init__(reason, hint)
        self.path = parse_path(path) if isinstance(path, str) else path
        self.args = (self.path, reason, hint)

    def at(self, *path: str | int) -> Self:
        """Return the same error at another location."""
        moved = copy.copy(self)
        moved.path = path
        return moved

    def under(self, *outer: str | int) -> Self:
        """Return the same error seen from an enclosing document."""
        return self.at(*outer, *self.path)

    def __str__(self) -> str:
        location = format_path(self.path)
        return f"{location}: {super().__str__()}" if location else super().__str__()


class RequestError(LocatedError):
    """An invalid argument of one request. `param` names it in OpenAI's spelling, such as `messages[2].role`."""

    code = "invalid_request"

    @property
    def param(self) -> str:
        """`path` as text."""
        return format_path(self.path)


class ContextOverflowError(RequestError):
    """The prompt alone, or with what must be generated, is longer than the context. All counts are tokens."""

    code = "context_length_exceeded"

    def __init__(self, prompt_tokens: int, n_ctx: int) -> None:
        super().__init__(
            ("messages",),
            f"the prompt has {prompt_tokens} tokens, but the context holds only {n_ctx}, including the answer",
            "Send fewer or shorter messages or tools, or load the model with a larger n_ctx.",
        )
        self.args = (prompt_tokens, n_ctx)
        self.prompt_tokens, self.n_ctx = prompt_tokens, n_ctx


class SchemaError(LocatedError):
    """A tool schema that is malformed, exceeds a limit, or cannot be enforced."""

    code = "schema_error"


class FormatError(EdgefcError):
    """A chat format's declaration or template is wrong, or cannot render the conversation."""

    code = "format_error"


class GrammarError(EdgefcError):
    """GBNF text that cannot be executed."""

    code = "grammar_error"


class ConstraintError(EdgefcError):
    """A grammar in execution was fed a token it forbids, or allows no token at all."""

    code = "constraint_error"


class InvalidCallError(EdgefcError):
    """A call failed a check that no grammar can make, on every attempt."""

    code = "invalid_call"

    def __init__(self, tool: str, path: FieldPath, reason: str, attempts: int) -> None:
        super().__init__(
            f"{tool}: {format_path(path)}: {reason} ({attempts} attempts)",
            "Try again, or use only keywords that a grammar can enforce; `edgefc lint` lists the others.",
        )
        self.tool, self.path = tool, path


class InvalidAnswerError(EdgefcError):
    """An answer fits the JSON Schema of its response format, but the type's own validators refuse it."""

    code = "invalid_answer"


class MissingPackageError(EdgefcError):
    """A part of edgefc needs packages that are not installed; the hint names the extra that has them."""

    code = "missing_package"


class ToolError(EdgefcError):
    """A tool could not be built from a function or file, or the tool loop was stopped."""

    code = "tool_error"


class TranscriptError(EdgefcError):
    """A transcript's file could not be read or written, or contains an invalid line."""

    code = "transcript"


class SuiteError(EdgefcError):
    """Cases or results of an evaluation could not be read; the reason names file and line."""

    code = "suite_error"


class ServerError(EdgefcError):
    """A server that was asked by the command line did not answer, or refused the request."""

    code = "server_error"


class RemoteEngineError(EdgefcError):
    """A server that computes for edgefc did not answer, or not as it must. `engine` names it."""

    code = "remote_engine"

    def __init__(self, engine: str, reason: str, hint: str = "") -> None:
        super().__init__(f"{engine} {reason}", hint)
        self.args = (engine, reason, hint)
        self.engine = engine


class RemoteEngineBusyError(RemoteEngineError):
    """A server that computes for edgefc takes no request now, after several tries."""

    code = "remote_engine_busy"


class CancelledError(EdgefcError):
    """The request was cancelled before it ended."""

    code = "cancelled"


class EngineClosedError(EdgefcError):
    """The model was closed; load it again to go on."""

    code = "engine_closed"


def require_extra(extra: str, *modules: str) -> None:
    """Raise MissingPackageError unless all modules of an optional dependency are installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise MissingPackageError(
            f"{names} must be installed", f"Install what this needs: pip install 'edgefc[{extra}]'"
        )


def format_path(path: FieldPath) -> str:
    """`("tools", 3, "parameters")` as `tools[3].parameters`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier() or part.startswith("$"):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


def parse_path(text: str) -> FieldPath:
    """Read `tools[3].parameters` as `("tools", 3, "parameters")`: the inverse of `format_path` for plain names."""
    return tuple(int(part[1:-1]) if part[0] == "[" else part for part in re.findall(r"\[\d+\]|[^.\[\]]+", text))
