"""`edgefc warm`: compute the prompt prefix of a tool set ahead of time."""

from __future__ import annotations

import sys

from edgefc.cli.choice import chosen_model
from edgefc.cli.console import err, out, print_json
from edgefc.cli.conversation import system_message
from edgefc.cli.loading import find_model, load_model
from edgefc.cli.options import (
    AllowHostOption,
    AllowWritesOption,
    ContextOption,
    DateOption,
    FamilyOption,
    JsonOption,
    LoadOptions,
    LoraFilesOption,
    McpOption,
    ModelArgument,
    ModelOption,
    OpenApiOption,
    QuestionOptions,
    SystemOption,
    ThreadsOption,
    ToolChoiceOption,
    ToolsOption,
    tool_choice_from,
)


def warm(
    model: ModelArgument = None,
    model_option: ModelOption = None,
    tools: ToolsOption = None,
    mcp: McpOption = None,
    openapi: OpenApiOption = None,
    allow_writes: AllowWritesOption = False,
    allow_host: AllowHostOption = None,
    system: SystemOption = None,
    date: DateOption = None,
    tool_choice: ToolChoiceOption = "auto",
    family: FamilyOption = None,
    n_ctx: ContextOption = None,
    n_threads: ThreadsOption = None,
    lora: LoraFilesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Precompute the prompt prefix for a set of tools and cache it on disk, so that first answers start sooner.

    The prefix has all tools. Where they are more than --tool-budget, questions show only some, and it is of no use.
    """
    named = QuestionOptions(tools=tools, mcp=mcp, openapi=openapi, allow_writes=allow_writes, allow_host=allow_host)
    toolset = named.toolset()
    load = LoadOptions(family=family, n_ctx=n_ctx, n_threads=n_threads, n_parallel=1, lora=lora)
    with load_model(find_model(chosen_model(model, model_option)), load) as loaded:
        result = loaded.warm(
            tools=toolset, system=system_message(system, toolset, date=date), tool_choice=tool_choice_from(tool_choice)
        )
    if as_json:
        print_json(
            {
                "tokens": result.tokens,
                "cached_tokens": result.cached_tokens,
                "bytes": result.bytes,
                "seconds": result.seconds,
                "files": [str(path) for path in result.files],
            }
        )
    elif result.files:
        action = "were already cached" if result.cached_tokens else "are now cached"
        size, seconds = f"{result.bytes / 1e6:,.1f} MB", f"{result.seconds:.1f} s"
        out.print(f"{result.tokens:,} tokens {action} on disk: {size}, {seconds}")
    if not result.files:
        err.print(
            f"nothing was cached: {result.tokens} tokens are faster to compute than to read from a file, or the cache "
            "folder is not writable (EDGEFC_CACHE_DIR; see `edgefc doctor`)",
        )
        sys.exit(1)
