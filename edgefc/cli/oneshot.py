"""`edgefc run` and `edgefc call`: one question, one answer."""

from __future__ import annotations

import dataclasses
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from edgefc.cli.answerers import open_answerer
from edgefc.cli.choice import model_and_question
from edgefc.cli.console import cut_error, print_error, print_json, print_json_line, print_result, print_selection
from edgefc.cli.conversation import system_message
from edgefc.cli.live import AnswerView, read_deltas
from edgefc.cli.options import (
    JsonOption,
    ModelOption,
    QuestionOptions,
    RunOptions,
    StreamOption,
    WordsArgument,
    spread_options,
)
from edgefc.cli.tool_rounds import answer_with_tools
from edgefc.errors import RequestError

if TYPE_CHECKING:
    from edgefc.chat.reply import Reply

CUT, NO_CALL = 1, 3  # exit codes

TraceOption = Annotated[
    bool, Option("--trace", help="Print the reply with its trace: how each token came about; implies --json.")
]
ReplyJsonOption = Annotated[bool, Option("--json", help="Print the whole reply, with usage and statistics.")]


@spread_options
def run(
    words: WordsArgument = None,
    model: ModelOption = None,
    *,
    question_options: QuestionOptions,
    run_options: RunOptions,
    stream: StreamOption = False,
    as_json: JsonOption = False,
) -> None:
    """Answer one question, running tools as needed. Without a question: chat."""
    from edgefc.chat.prompt import conversation
    from edgefc.cli.mcp_tools import new_approval

    name, question = model_and_question(words, model)
    if not question:
        if as_json or stream:
            raise _no_question()
        from edgefc.cli.chat import start_chat

        start_chat(name, question_options, run_options, no_history=False)
        return
    toolset = question_options.toolset(run_options.tool_timeout)
    ask = question_options.tools is not None and not run_options.yes
    is_plain = not as_json and not stream
    view = AnswerView(has_text=is_plain, has_line=not stream)
    with closing(open_answerer(name, question_options, is_named=bool(model or len(words or ()) > 1))) as answerer:
        result = answer_with_tools(
            answerer,
            conversation(question, system_message(question_options.system, toolset, date=question_options.date)),
            toolset,
            question_options.generation().keywords(),
            view=view,
            approval=new_approval(toolset, is_asking=ask, yes=run_options.yes, is_plain=is_plain),
            on_delta=print_json_line if stream else None,
            on_result=print_result if is_plain else _print_result_line if stream else None,
        )
    if as_json:
        print_json({**_reply_data(result.reply), "messages": result.messages, "rounds": result.rounds})
    _exit_if_cut(result.reply, view)


@spread_options
def call(
    words: WordsArgument = None,
    model: ModelOption = None,
    *,
    question_options: QuestionOptions,
    stream: StreamOption = False,
    as_json: ReplyJsonOption = False,
    trace: TraceOption = False,
) -> None:
    """Print the calls a model would make, as JSON, without running them. Exits with 3 if there is none."""
    from edgefc.chat.prompt import conversation

    name, question = model_and_question(words, model)
    if not question:
        raise _no_question()
    toolset, options = question_options.toolset(), question_options.generation().keywords()
    messages = conversation(question, system_message(question_options.system, toolset, date=question_options.date))
    if trace:
        as_json, options = True, {**options, "trace": True}
    view = AnswerView(has_text=False, has_line=not stream)
    with (
        closing(open_answerer(name, question_options, is_named=bool(model or len(words or ()) > 1))) as answerer,
        answerer.stream(messages, toolset, options) as answer,
    ):
        for delta in read_deltas(view, iter(answer), answer):
            if stream:
                print_json_line(delta)
        reply = answer.reply
    if as_json and not stream:
        print_json(_reply_data(reply))
    elif not stream:
        print_selection(reply)
        _print_calls(reply)
    _exit_if_cut(reply, view)
    if reply.outcome != "call":
        sys.exit(NO_CALL)


def _no_question() -> RequestError:
    return RequestError("question", "missing", 'Give one, such as "What is the weather in Paris?", or pipe it in.')


def _exit_if_cut(reply: Reply, view: AnswerView) -> None:
    error = cut_error(reply, view.progress.open_location)
    if error is not None:
        print_error(error)
        sys.exit(CUT)


def _print_calls(reply: Reply) -> None:
    if reply.outcome == "call":
        print_json([{"name": call.name, "arguments": call.arguments} for call in reply.calls])
        return
    data: dict[str, Any] = {"outcome": reply.outcome, "content": reply.content, "missing": list(reply.missing)}
    if reply.outcome == "unsure" and reply.confidence is not None:
        data["candidates"] = [{"name": name, "probability": p} for name, p in reply.confidence.candidates]
    print_json(data)


def _print_result_line(name: str, _arguments: dict[str, Any], result: str) -> None:
    print_json_line({"role": "tool", "name": name, "content": result})


def _reply_data(reply: Reply) -> dict[str, Any]:
    from edgefc.chat.openai import confidence_of, selection_of, trace_of

    stats = dataclasses.asdict(reply.stats)
    stats["constraint_us_per_sampled_token"] = reply.stats.constraint_us_per_sampled_token
    return {
        "message": reply.message,
        "outcome": reply.outcome,
        "finish_reason": reply.finish_reason,
        "end_reason": reply.end_reason,
        "is_cut": reply.is_cut,
        **confidence_of(reply),
        **selection_of(reply),
        "missing": list(reply.missing),
        "usage": reply.usage,
        "stats": stats,
        **({} if reply.trace is None else {"trace": trace_of(reply.trace)}),
    }
