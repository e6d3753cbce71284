"""The token budget of a request's tools: above it, the model is shown only those that the question needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgefc import formats
from edgefc.chat.options import ChatOptions
from edgefc.chat.prompt_parts import PartFinder
from edgefc.engine.backend import Backend
from edgefc.engine.costs import MEASURED_ROWS
from edgefc.engine.setup import Setup
from edgefc.errors import RequestError
from edgefc.tools import ToolSet
from edgefc.tools.selection import MAX_SELECTED, ToolSelection, select_tools
from edgefc.types import Message, ToolChoice

AUTOMATIC = -1
PREFILL_S = 10.0  # seconds that reading the tools may take, where the machine's speed is known
DEFAULT_TOKENS, LEAST_TOKENS = 2048, 512


def budget_of(options: ChatOptions, engine: Backend) -> int:
    """Return the budget in tokens; 0: all tools are shown. Raises RequestError."""
    value: Any = options.get("tool_budget")
    if value is None or value == AUTOMATIC:
        return _default_budget(engine.setup)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RequestError("tool_budget", f"must be a number of tokens, 0 for no limit, or -1, not {value!r}")
    return value


def _default_budget(setup: Setup) -> int:
    """Return the tokens that are read in PREFILL_S, or DEFAULT_TOKENS where the speed was not measured."""
    tokens = DEFAULT_TOKENS
    if setup.calibrated:
        rows = max(MEASURED_ROWS)
        tokens = int(PREFILL_S * 1000 * rows / setup.costs.of(rows))
    return min(max(tokens, LEAST_TOKENS), setup.n_ctx // 2)


def selected_tools(
    engine: Backend,
    parts: PartFinder,
    messages: Sequence[Message],
    tools: ToolSet | None,
    choice: ToolChoice,
    options: ChatOptions,
) -> tuple[ToolSet | None, ToolChoice, ToolSelection | None]:
    """Return the tools of a request that the model is shown, and the choice among them; None: all are.

    The rounds of one question have the same tools. Raises RequestError.
    """
    budget = budget_of(options, engine)
    # A token has a byte at least: most tools need not be counted.
    if tools is None or not budget or len(tools) <= MAX_SELECTED or len(tools.json.encode()) <= budget:
        return tools, choice, None
    sizes = parts.tool_sizes(tools)
    if sum(sizes) <= budget:
        return tools, choice, None
    conversation = formats.canonicalize(messages)
    questions = [message["content"] for message in conversation if message["role"] == "user"]
    always = {call["name"]: "called before" for message in conversation for call in message.get("tool_calls", ())}
    if len(choice.names) < len(tools):
        always |= _allowed_tools(tools, questions, choice, sizes, budget)
    selection = select_tools(tools, questions, always, sizes, budget)
    if len(selection.tools) == len(tools):
        return tools, choice, None
    names = tuple(name for name in choice.names if name in selection.tools)
    return tools.only(selection.tools), ToolChoice(choice.mode, names), selection


def _allowed_tools(
    tools: ToolSet, questions: Sequence[str], choice: ToolChoice, sizes: Sequence[int], budget: int
) -> Mapping[str, str]:
    """Return the tools that `tool_choice` allows, or the best of them."""
    allowed = tools.only(choice.names)
    if len(allowed) <= MAX_SELECTED:
        return dict.fromkeys(allowed.names, "in tool_choice")
    found = [size for size, name in zip(sizes, tools.names, strict=True) if name in choice.names]
    return select_tools(allowed, questions, {}, found, budget).tools
