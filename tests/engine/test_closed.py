"""Models that are used after they are closed, or while: an error, never the end of the process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bounded import run_bounded

LOAD = """
import gc, itertools, os, signal, sys, threading, time
import edgefc
from edgefc.errors import EdgefcError, EngineClosedError

def load():
    return edgefc.load("demo", n_ctx=2048, prefix_disk=0)

model = load()
text = "hello world, this is a text to be tokenized. " * 400
hello = [{"role": "user", "content": "Hello!"}]
tools = [{"type": "function", "function": {"name": "turn_on", "parameters": {"type": "object", "properties": {}}}}]
numbers = itertools.count()

def new_tools():
    return [{"type": "function", "function": {**tools[0]["function"], "name": f"turn_{next(numbers)}"}}]

def read_stream():
    for _ in model.chat(hello, max_tokens=30, stream=True):
        pass

USES = {
    "tokenize": lambda: model.engine.tokenizer.encode(text),
    "chat": lambda: model.chat([{"role": "user", "content": text[:300]}], max_tokens=4),
    "stream": read_stream,
    "grammar": lambda: model.chat(hello, tools=new_tools(), max_tokens=4),
    "load": lambda: edgefc.load("demo", n_ctx=256, prefix_disk=0, progress=lambda _: True).close(),
}
"""
AFTER = """
from edgefc.engine import gbnf_grammar
engine, tokenizer = model.engine, model.engine.tokenizer
ids = tokenizer.encode("hello")
endless = {token: -1000.0 for token in tokenizer.eog}
request, stream = model.request(hello), model.chat(hello, stream=True, loop_guard=False, logit_bias=endless)
constraint = engine.constraint(gbnf_grammar('root ::= "a" [b-z]+'))
model.close()
other = load()  # takes the memory that was freed
uses = {
    "chat": lambda: model.chat(hello, max_tokens=2),
    "chat with tools": lambda: model.chat(hello, tools=tools, max_tokens=2),
    "stream": lambda: list(stream),
    "stream.reply": lambda: stream.reply,
    "new stream": lambda: model.chat(hello, stream=True),
    "submit": lambda: model.submit(request),
    "request": lambda: model.request(hello),
    "prompt": lambda: model.prompt(hello, tools),
    "complete": lambda: model.complete("hello").completion,
    "complete ids": lambda: model.complete(ids).completion,
    "warm": lambda: model.warm(tools=tools),
    "run": lambda: model.run("hello", tools=tools),
    "encode": lambda: tokenizer.encode("hello"),
    "decode": lambda: tokenizer.decode(ids),
    "piece": lambda: tokenizer.piece(ids[0]),
    "spell": lambda: tokenizer.spell(b"hello"),
    "eos": lambda: tokenizer.eos_text,
    "vocabulary.tokenize": lambda: tokenizer.vocabulary.tokenize("hello", parse_special=True),
    "vocabulary.piece": lambda: tokenizer.vocabulary.piece(ids[0]),
    "engine.submit": lambda: engine.submit(ids),
    "engine.save_prefixes": engine.save_prefixes,
    "new constraint": lambda: engine.constraint(gbnf_grammar('root ::= "b"')),
    "constraint": constraint.mask,
    "forced": constraint.consume_forced,
    "context": lambda: engine._context.truncate(0),
    "context.save": lambda: engine._context.save(0),
}
for name, use in uses.items():
    for _ in range(3):
        try:
            use()
        except EngineClosedError:
            continue
        sys.exit(f"{name} did not raise EngineClosedError")
other.chat(hello, max_tokens=2)
other.close()
"""
DURING = """
def use(action, ends):
    while True:
        try:
            action()
        except EngineClosedError:
            ends.append(1)
            return

del USES["load"]
for round_number in range(3):
    ends = []
    threads = [threading.Thread(target=use, args=(action, ends)) for action in USES.values() for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.2 + 0.1 * round_number)
    closers = [threading.Thread(target=model.close) for _ in range(2)]
    for thread in closers:
        thread.start()
    for thread in (*threads, *closers):
        thread.join()
    assert len(ends) == len(threads)
    model = load()
"""
AT_EXIT = """
def use():
    while True:
        try:
            USES[sys.argv[1]]()
        except EdgefcError:
            pass

for _ in range(3):
    threading.Thread(target=use, daemon=True).start()
time.sleep(0.5)
"""
IN_SIGNAL = """
def close(*_):
    model.close()

signal.signal(signal.SIGALRM, close)
for delay in (0.05, 0.1, 0.2):
    signal.setitimer(signal.ITIMER_REAL, delay)
    try:
        while True:
            USES["tokenize"]()
    except EngineClosedError:
        model = load()
"""
STOCK = """
import llama_cpp
from edgefc import paths
from edgefc.engine.stock_llama import StockEngine
model.close()
for _ in range(2):
    llama = llama_cpp.Llama(str(paths.demo_model()), n_ctx=512, verbose=False)
    engine, ends = StockEngine(llama), []

    def use():
        try:
            while True:
                engine.tokenizer.encode(text)
        except EngineClosedError:
            ends.append(1)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    llama.close()
    for thread in threads:
        thread.join()
    assert len(ends) == len(threads)
    try:
        engine.submit([5])
    except EngineClosedError:
        continue
    sys.exit("submit did not raise EngineClosedError")
"""


def run_script(script: str, folder: Path, *arguments: str) -> None:
    result = run_bounded(["-X", "faulthandler", "-c", LOAD + script, *arguments], folder, seconds=300)
    assert (result.returncode, result.stderr) == (0, ""), (result.returncode, result.stderr[-3000:])


def test_whatever_is_called_after_close_raises(tmp_path: Path) -> None:
    run_script(AFTER, tmp_path)


def test_close_while_other_threads_use_the_model(tmp_path: Path) -> None:
    run_script(DURING, tmp_path)


@pytest.mark.parametrize("use", ["tokenize", "chat", "stream", "grammar", "load"])
def test_the_process_ends_while_threads_use_the_model(use: str, tmp_path: Path) -> None:
    run_script(AT_EXIT, tmp_path, use)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_close_in_a_signal_handler(tmp_path: Path) -> None:
    run_script(IN_SIGNAL, tmp_path)


def test_a_stock_llama_is_closed_while_its_vocabulary_is_used(tmp_path: Path) -> None:
    run_script(STOCK, tmp_path)
