"""`edgefc chat`: a conversation in the terminal."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from edgefc.cli.answerers import open_answerer
from edgefc.cli.choice import chosen_model
from edgefc.cli.console import CallApproval, err
from edgefc.cli.options import ModelArgument, ModelOption, QuestionOptions, RunOptions, spread_options

NoHistoryOption = Annotated[bool, Option("--no-history", help="Do not store the lines that you type.")]

LEAVE_HINT = "(Ctrl-C stops an answer. To leave, press Ctrl-D or type /exit)"


@spread_options
def chat(
    model: ModelArgument = None,
    model_option: ModelOption = None,
    *,
    question_options: QuestionOptions,
    run_options: RunOptions,
    no_history: NoHistoryOption = False,
) -> None:
    """Chat with a model that calls tools. Type /help for commands; Ctrl-C stops an answer, Ctrl-D leaves."""
    name = chosen_model(model, model_option)
    start_chat(name, question_options, run_options, no_history=no_history, is_named=bool(model or model_option))


def start_chat(
    name: str, options: QuestionOptions, run_options: RunOptions, *, no_history: bool, is_named: bool = True
) -> None:
    """Load a model and answer what the user types, until the end of the input or `/exit`.

    Ctrl-C never ends it where a user types: a conversation would be lost.
    """
    from edgefc.cli.chat_input import open_input
    from edgefc.cli.chat_session import ChatSession
    from edgefc.cli.mcp_tools import new_approval

    tools = options.toolset(run_options.tool_timeout)
    is_asking = options.tools is not None and not run_options.yes
    approval = new_approval(tools, is_asking=is_asking, yes=run_options.yes, is_plain=True)
    approval = approval or CallApproval(ask=is_asking)
    session = ChatSession(open_answerer(name, options, is_named=is_named), tools, options, approval)
    try:
        session.greet(has_examples=options.has_example_tools)
        lines = open_input(session.completions, with_history=not no_history)
        while True:
            try:
                line = lines.read()
                if line is None or not session.handle(line):
                    return
            except KeyboardInterrupt:
                if not lines.is_interactive:
                    raise
                err.print(LEAVE_HINT, style="dim")
    finally:
        session.close()
