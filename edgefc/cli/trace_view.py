"""The trace of an answer: printed as a table, and read from what a server sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgefc.cli.console import count_of, out
from edgefc.errors import parse_path

if TYPE_CHECKING:
    from edgefc.chat.confidence import Confidence
    from edgefc.chat.reply import Reply
    from edgefc.chat.trace import Trace, TracedToken

LEAST_SHOWN = 0.0005  # probability of another token that is worth a place in the table


def print_trace(reply: Reply | None) -> None:
    """Print a line for each token of an answer, and then what its prompt and its grammar were made of."""
    trace = None if reply is None else reply.trace
    if trace is None:
        out.print("the last answer has no trace: /trace on, then ask, or /retry")
        return
    for attempt in (*trace.earlier, trace.tokens):
        for token in attempt:
            out.print(_line(token), soft_wrap=True)
    for band in trace.bands:
        sources = ", ".join(f"{count:,} {name}" for name, count in band.sources.items())
        out.print(f"prompt: {band.name} {count_of(band.end - band.begin, 'token')} ({sources})", style="dim")
    if (grammar := trace.grammar) is not None:
        out.print(
            f"grammar: {grammar.characters:,} characters, started in {grammar.start_ms:.1f} ms, "
            f"{grammar.ms:.1f} ms for all tokens",
            style="dim",
        )


def _line(token: TracedToken) -> str:
    """Return the line of a token; `repr` writes characters out that a terminal would obey."""
    chance = "" if token.probability is None else f"{token.probability:.3f}"
    others = "  ".join(
        f"{other.text!r} {other.probability:.3f}{'' if other.is_allowed else ' forbidden'}"
        for other in token.others
        if other.probability >= LEAST_SHOWN
    )
    origin = f"{token.origin}{', drafted' if token.is_draft else ''}"
    return f"{token.step:>4} {token.ms:>8.1f} ms  {origin:<18} {chance:>5}  {token.text!r}  {others}".rstrip()


def read_trace(data: Mapping[str, Any], tokens: Sequence[Mapping[str, Any]], decision: Confidence | None) -> Trace:
    """Read the field `x_edgefc_trace` of a stream's last chunk, and the tokens of all its chunks."""
    from edgefc.chat.trace import GrammarTrace, PromptBand, Trace
    from edgefc.grammar import Finding

    earlier = tuple(tuple(map(_token, attempt)) for attempt in data["earlier_attempts"])
    return Trace(
        tokens=tuple(_token(token) for token in tokens if token["attempt"] == len(earlier)),
        end=None if data["end"] is None else _token(data["end"]),
        earlier=earlier,
        bands=tuple(PromptBand(one["name"], one["begin"], one["end"], one["sources"]) for one in data["prompt"]),
        grammar=None if data["grammar"] is None else GrammarTrace(**data["grammar"]),
        decision=decision,
        unenforced=tuple(Finding(parse_path(found["path"]), found["reason"]) for found in data["unenforced"]),
        n_missing=data["missing_tokens"],
    )


def _token(data: Mapping[str, Any]) -> TracedToken:
    from edgefc.chat.trace import OtherToken, TracedToken

    others = (OtherToken(one["id"], one["text"], one["probability"], one["allowed"]) for one in data["others"])
    return TracedToken(
        data["id"], data["text"], data["origin"], data["drafted"], data["probability"], tuple(others), data["step"],
        data["ms"], data["attempt"],
    )  # fmt: skip
