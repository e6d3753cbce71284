"""Questions that are answered by running tools, with the progress on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from edgefc.cli.console import CallApproval, print_result, print_selection
from edgefc.cli.live import AnswerView

if TYPE_CHECKING:
    from edgefc.chat.loop import RunResult
    from edgefc.chat.reply import ChatStream, Reply
    from edgefc.cli.answerers import Answerer
    from edgefc.tools import ToolSet
    from edgefc.types import Delta, Message


def answer_with_tools(
    answerer: Answerer,
    messages: list[Message],
    tools: ToolSet,
    options: Mapping[str, Any],
    *,
    view: AnswerView,
    approval: CallApproval | None,
    on_delta: Callable[[Delta], None] | None = None,
    on_result: Callable[[str, dict[str, Any], str], None] | None = print_result,
) -> RunResult:
    """Answer as `Model.run` does; `messages` grows with each call and result, also if the run is interrupted.

    Raises what `Model.run` raises, ServerError and KeyboardInterrupt.
    """
    from edgefc.chat.loop import MAX_ROUNDS, run_rounds

    def chat(messages: list[Message], *, tools: ToolSet, **options: Any) -> ChatStream:
        view.begin(None)
        stream = answerer.stream(messages, tools, options)
        view.progress.source = stream
        return cast("ChatStream", stream)

    def show_delta(delta: Delta) -> None:
        view.on_delta(delta)
        if on_delta is not None:
            on_delta(delta)

    is_first = True

    def show_reply(reply: Reply) -> None:
        nonlocal is_first
        view.end_line()
        if is_first:  # all rounds of a question have the same tools
            print_selection(reply)
        is_first = False
        if approval is not None:
            approval.probabilities.clear()
            approval.probabilities.extend(_probabilities(reply))

    try:
        return run_rounds(
            chat,
            messages,
            tools,
            max_rounds=MAX_ROUNDS,
            on_call=approval,
            on_result=on_result,
            on_delta=show_delta,
            on_reply=show_reply,
            options=options,
        )
    finally:
        view.end_line()


def _probabilities(reply: Reply) -> list[float]:
    """Return P(call) × P(tool) of the calls of a reply."""
    calls = () if reply.confidence is None else reply.confidence.calls
    return [call.probability for call in calls[: len(reply.tool_calls)]]
