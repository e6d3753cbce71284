"""`edgefc run` and `edgefc call`: one question, one answer."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from edgefc.cli.console import call_approval, out, print_cut, print_delta, print_json, print_json_line, print_result
from edgefc.cli.loading import find_model, load_model
from edgefc.cli.options import (
    TOOL_TIMEOUT_S,
    CallBiasOption,
    ContextOption,
    FamilyOption,
    GenerationOptions,
    GpuLayersOption,
    JsonOption,
    LoadOptions,
    MaxTokensOption,
    MinConfidenceOption,
    ModelOption,
    NoParallelOption,
    PromptArgument,
    RepeatedCallsOption,
    RunWithoutAskingOption,
    SeedOption,
    SystemOption,
    TemperatureOption,
    ToolChoiceOption,
    ToolsOption,
    ToolTimeoutOption,
    TranscriptsOption,
    tool_choice_from,
    tools_from,
)

if TYPE_CHECKING:
    from edgefc.chat.reply import Reply

StreamOption = Annotated[bool, Option("--stream", help="Print deltas as they arrive, one JSON object per line.")]
ReplyJsonOption = Annotated[bool, Option("--json", help="Print the whole reply, with usage and statistics.")]


def run(
    prompt: PromptArgument,
    model: ModelOption = "demo",
    tools: ToolsOption = None,
    system: SystemOption = None,
    yes: RunWithoutAskingOption = False,
    tool_timeout: ToolTimeoutOption = TOOL_TIMEOUT_S,
    transcripts: TranscriptsOption = None,
    family: FamilyOption = None,
    n_ctx: ContextOption = None,
    n_gpu_layers: GpuLayersOption = None,
    temperature: TemperatureOption = None,
    seed: SeedOption = None,
    max_tokens: MaxTokensOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer one question, running tools as needed."""
    load = LoadOptions(family=family, n_ctx=n_ctx, n_gpu_layers=n_gpu_layers, transcripts=transcripts)
    generation = GenerationOptions(temperature=temperature, seed=seed, max_tokens=max_tokens)
    toolset = tools_from(tools, tool_timeout)
    ask = tools is not None and not yes
    with load_model(find_model(model), load) as loaded:
        result = loaded.run(
            prompt,
            tools=toolset,
            system=system,
            on_call=call_approval(ask=ask) if ask or not as_json else None,
            on_result=None if as_json else print_result,
            on_delta=None if as_json else print_delta,
            **generation.keywords(),
        )
    if as_json:
        print_json({**_reply_data(result.reply), "messages": result.messages, "rounds": result.rounds})
    else:
        out.print()
    print_cut(result.reply)


def call(
    prompt: PromptArgument,
    model: ModelOption = "demo",
    tools: ToolsOption = None,
    tool_choice: ToolChoiceOption = "auto",
    no_parallel: NoParallelOption = False,
    system: SystemOption = None,
    stream: StreamOption = False,
    as_json: ReplyJsonOption = False,
    transcripts: TranscriptsOption = None,
    family: FamilyOption = None,
    n_ctx: ContextOption = None,
    n_gpu_layers: GpuLayersOption = None,
    temperature: TemperatureOption = None,
    seed: SeedOption = None,
    max_tokens: MaxTokensOption = None,
    min_confidence: MinConfidenceOption = None,
    call_bias: CallBiasOption = None,
    repeated_calls: RepeatedCallsOption = False,
) -> None:
    """Print the calls a model would make, as JSON, without running them."""
    from edgefc.chat.prompt import conversation

    load = LoadOptions(family=family, n_ctx=n_ctx, n_gpu_layers=n_gpu_layers, transcripts=transcripts)
    generation = GenerationOptions(
        temperature=temperature,
        seed=seed,
        max_tokens=max_tokens,
        parallel_tool_calls=not no_parallel,
        min_confidence=min_confidence,
        call_bias=call_bias,
        allow_repeated_calls=repeated_calls or None,
    )
    toolset, choice = tools_from(tools), tool_choice_from(tool_choice)
    with load_model(find_model(model), load) as loaded:
        messages = conversation(prompt, system)
        with loaded.chat(messages, tools=toolset, tool_choice=choice, stream=True, **generation.keywords()) as answer:
            for delta in answer:
                if stream:
                    print_json_line(delta)
            reply = answer.reply
    print_cut(reply)
    if stream:
        return
    if as_json:
        print_json(_reply_data(reply))
    elif reply.outcome == "call":
        print_json([{"name": call.name, "arguments": call.arguments} for call in reply.calls])
    else:
        data = {"outcome": reply.outcome, "content": reply.content, "missing": list(reply.missing)}
        if reply.outcome == "unsure" and reply.confidence is not None:
            data["candidates"] = [{"name": name, "probability": p} for name, p in reply.confidence.candidates]
        print_json(data)


def _reply_data(reply: Reply) -> dict[str, Any]:
    from edgefc.chat.openai import confidence_of

    stats = dataclasses.asdict(reply.stats)
    stats["constraint_us_per_sampled_token"] = reply.stats.constraint_us_per_sampled_token
    return {
        "message": reply.message,
        "outcome": reply.outcome,
        "finish_reason": reply.finish_reason,
        "end_reason": reply.end_reason,
        "is_cut": reply.is_cut,
        **confidence_of(reply),
        "missing": list(reply.missing),
        "usage": reply.usage,
        "stats": stats,
    }
