"""Compares edgefc with stock llama-cpp-python: the same GGUF, token ids, grammar and threads, in turns, in one process.

    python benchmarks/stock.py [--model GGUF | --vocab VOCABULARY.gguf] [--prompts N] [--rounds N] [--json FILE]

Runs W1 and W2 of benchmarks/server.py with `Llama.create_completion` and `LlamaGrammar.from_string`;
`create_chat_completion` takes no token ids and renders another prompt. The stock sampler applies the grammar first, to
the whole vocabulary for each token.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp.llama_grammar import LlamaGrammar

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import report
from benchmarks.cases import Case
from benchmarks.report import Row
from benchmarks.setting import Setting, add_options, in_turns, prepare
from benchmarks.sides import Answer, RequestBuilder, ask_edgefc, is_valid, parse_message, same

MAX_TOKENS = 320
BAR = 0.4


def ask_stock(llama: Any, requests: RequestBuilder, case: Case, *, max_tokens: int) -> Answer:
    """Put a case to a stock Llama; grammar and token ids are prepared before the clock starts."""
    request = requests.build(case)
    grammar = LlamaGrammar.from_string(request.gbnf, verbose=False)
    stop = [text for text in request.stop if requests.tokenizer.special_id(text) is None]
    started = time.perf_counter()
    completion = llama.create_completion(
        request.prompt, max_tokens=max_tokens, temperature=0, top_k=1, grammar=grammar, stop=stop
    )
    seconds = time.perf_counter() - started
    choice = completion["choices"][0]
    stopped = choice["finish_reason"] == "stop"
    message = parse_message(requests.family, case, choice["text"], stopped=stopped)
    valid = is_valid(message, case) and stopped
    return Answer(message, completion["usage"]["completion_tokens"], valid, seconds, seconds)


def measure(setting: Setting) -> list[Row]:
    rows = []
    llama = llama_cpp.Llama(
        str(setting.path),
        n_ctx=setting.n_ctx,
        n_threads=setting.threads,
        n_threads_batch=setting.threads,
        verbose=False,
    )
    with setting.model() as model:
        for name, cases in (("W1", setting.plan.one_tool), ("W2", setting.plan.many_tools)):
            row = Row(f"{name} tools: {len(cases[0].tools or ())}, against stock", "s", BAR)
            for case in cases[: setting.prompts]:
                ours, theirs = partial(ask_edgefc, model), partial(ask_stock, llama, setting.requests)
                in_turns(0, ours, theirs, case, max_tokens=MAX_TOKENS)  # puts the prompt into both caches
                for number in range(setting.rounds):
                    one, other = in_turns(number, ours, theirs, case, max_tokens=MAX_TOKENS)
                    row.add(one.seconds, other.seconds)
                    row.check(one.valid, other.valid, same(one.message, other.message))
            rows.append(row)
            print(report.line(row), flush=True)
    llama.close()
    return rows


def main(arguments: list[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args(arguments)
    logging.getLogger("edgefc.llama").setLevel(logging.CRITICAL)
    setting = prepare(options, None)
    print(report.HEAD, flush=True)
    rows = measure(setting)
    if options.json:
        options.json.write_text(json.dumps([row.data() for row in rows], indent=1))
    return rows


if __name__ == "__main__":
    main()
