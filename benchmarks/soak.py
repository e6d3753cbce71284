"""Runs a server under many clients for a long time: no answer may be lost or mixed up, and memory must not grow.

    python benchmarks/soak.py [--minutes 10] [--clients 32] [--model MODEL …] [--memory GiB] [--worker] [--kills S]

Each request brings tools of its own and demands a call; one tool has a random word that the call must repeat. Half of
the requests are streamed, and in a quarter of them the client hangs up early. With several models, all clients change
to another one every ten seconds; where `--memory` holds only one, the server unloads the others. With `--kills`, the
model's process is killed at random moments, S seconds apart on average; its requests are sent again. Memory is that of
all processes of the server: the median around the end of the second minute is compared with that of the end.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import random
import re
import secrets
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import psutil

from benchmarks.serving import start_server

MODEL_SECONDS = 10.0  # until all clients change to another model
SAMPLE_SECONDS = 0.5
EARLY_SECONDS = 120.0  # when the level of memory is taken
MAX_TOOLS = 12
RETRIES = 60  # of a request whose process was killed
WORKER = "edgefc.server.worker.child"
_WORDS = (
    "account address amount archive arrival balance booking calendar camera channel city contact count cover currency "
    "customer daily date device distance door driver event file filter flight folder forecast goal group height hotel "
    "image index invoice item journey kind label language level limit list location lookup market measure member menu "
    "message meter month name network note number office option order page parcel path phone photo place plan player "
    "point policy price profile project quantity query range rate reading record region report request result road "
    "room route rule sample schedule score search sensor series session set share shelf size source speed station "
    "status step stock store street summary support table tag target task team temperature term test ticket time title "
    "total track train trip unit update user value version video visit wallet weather week weight window word year zone"
).split()


@dataclass
class Setting:
    """The settings of a run; the models' names are those that requests use."""

    models: Sequence[str] = ("demo",)
    seconds: float = 600.0
    clients: int = 32
    kills: float = 0.0  # mean seconds between two


@dataclass
class Outcome:
    """The results of a run: counts of answers by kind, their seconds, and samples of memory, (seconds, bytes)."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def problems(self) -> set[str]:
        """The kinds of outcomes that must not happen."""
        return {kind for kind in self.counts if kind.startswith(("lost", "mixed up"))}

    def level(self, at: float, width: float) -> float:
        """The median of memory around a moment."""
        return statistics.median(size for moment, size in self.memory if abs(moment - at) <= width / 2)


class Client(threading.Thread):
    """Sends requests until the deadline, a `time.monotonic`."""

    def __init__(self, port: int, setting: Setting, deadline: float, seed: int) -> None:
        super().__init__(daemon=True)
        self._port, self._setting, self._deadline, self._rng = port, setting, deadline, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.seconds: list[float] = []

    def run(self) -> None:
        while time.monotonic() < self._deadline:
            word = f"c-{secrets.token_hex(4)}"
            try:
                self._ask(word, request(self._rng, word, self._model()))
            except (OSError, http.client.HTTPException, ValueError, KeyError, AssertionError) as error:
                self.counts[f"lost: {type(error).__name__} {error}"[:160]] += 1

    def _model(self) -> str:
        return self._setting.models[int(time.monotonic() / MODEL_SECONDS) % len(self._setting.models)]

    def _ask(self, word: str, body: dict[str, Any]) -> None:
        started = time.monotonic()
        for _ in range(RETRIES):
            calls = self._send(body)
            if calls is not None:
                break
            self.counts["sent again"] += 1
            time.sleep(0.5)
        else:
            raise AssertionError("no process lived long enough to answer")
        if calls:
            self.counts["right" if _is_right(calls, body, word) else "mixed up"] += 1
            self.seconds.append(time.monotonic() - started)

    def _send(self, body: dict[str, Any]) -> list[dict[str, str]] | None:
        """Return the functions of the calls, none of an answer not read or cut; None if the process was killed."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        try:
            data, headers = json.dumps(body), {"Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", data, headers)
            if self._rng.random() < 0.25:
                time.sleep(self._rng.random() * 0.3)
                self.counts["hung up"] += 1
                return []
            response = connection.getresponse()
            text = response.read().decode()
            if self._setting.kills and '"model_crashed"' in text:
                return None
            assert response.status == 200, text[:120]
            if re.search(r'"finish_reason": ?"length"', text):
                self.counts["cut"] += 1
                return []
            if body["stream"]:
                return streamed_calls(text)
            return [call["function"] for call in json.loads(text)["choices"][0]["message"]["tool_calls"]]
        finally:
            connection.close()


def _is_right(calls: list[dict[str, str]], body: dict[str, Any], word: str) -> bool:
    """Check that the calls are those of this request: no other has tools of the same names."""
    names = {tool["function"]["name"] for tool in body["tools"]}
    if body["tool_choice"] != "required":
        names = {body["tool_choice"]["function"]["name"]}
    arguments = {call["name"]: json.loads(call["arguments"]) for call in calls}
    return arguments.keys() <= names and arguments.get(body["say"], {"word": word}) == {"word": word}


def request(rng: random.Random, word: str, model: str) -> dict[str, Any]:
    """Return a request for a call of a tool, whose tools nobody has sent before. `say` demands the word."""
    schema = {"type": "object", "properties": {"word": {"const": word}}, "required": ["word"]}
    name = f"say_{secrets.token_hex(3)}"
    tools = [_tool(rng) for _ in range(rng.randrange(MAX_TOOLS))]
    tools.insert(rng.randint(0, len(tools)), _function(name, "Say a word", schema))
    choice = "required" if rng.random() < 0.5 else {"type": "function", "function": {"name": name}}
    return {
        "say": name, "model": model, "messages": [{"role": "user", "content": f"Say {word}"}], "tools": tools,
        "tool_choice": choice, "parallel_tool_calls": False, "stream": rng.random() < 0.5, "max_tokens": 200,
    }  # fmt: skip


def _tool(rng: random.Random) -> dict[str, Any]:
    properties = {word: _schema(rng, 0) for word in rng.sample(_WORDS, rng.randint(1, 5))}
    required = [name for name in properties if rng.random() < 0.5]
    name = f"{'_'.join(rng.sample(_WORDS, 2))}_{secrets.token_hex(3)}"
    parameters = {"type": "object", "properties": properties, "required": required}
    return _function(name, " ".join(rng.sample(_WORDS, 6)).capitalize(), parameters)


def _schema(rng: random.Random, depth: int) -> dict[str, Any]:
    low = rng.randrange(1000)
    return rng.choice(
        [
            {"type": "string", "description": " ".join(rng.sample(_WORDS, 4))},
            {"type": "string", "maxLength": rng.randint(3, 40)},
            {"type": "string", "pattern": f"^[a-z]{{2,{rng.randint(3, 30)}}}-[0-9]+$"},
            {"type": "integer", "minimum": low, "maximum": low + rng.randrange(1, 5000)},
            {"enum": rng.sample(_WORDS, 4)},
            {"type": "boolean"},
            {"type": "array", "items": {"type": "string"} if depth else _schema(rng, 1), "maxItems": rng.randint(1, 9)},
        ]
    )


def _function(name: str, description: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def streamed_calls(text: str) -> list[dict[str, str]]:
    """Return the functions of the calls in a stream of chunks."""
    calls: dict[int, dict[str, str]] = {}
    assert text.endswith("data: [DONE]\n\n"), text[-120:]
    for data in re.findall(r"^data: (\{.*\})$", text, re.MULTILINE):
        for choice in json.loads(data)["choices"]:
            for part in choice["delta"].get("tool_calls", ()):
                call = calls.setdefault(part["index"], {"name": "", "arguments": ""})
                for key, value in part["function"].items():
                    call[key] += value
    return list(calls.values())


def run_clients(pid: int, port: int, setting: Setting) -> Outcome:
    """Run all clients against a server, and watch its memory."""
    started, outcome, rng = time.monotonic(), Outcome(), random.Random(0)
    deadline = started + setting.seconds
    clients = [Client(port, setting, deadline, number) for number in range(setting.clients)]
    for client in clients:
        client.start()
    next_kill = started + 2 * setting.kills
    while (now := time.monotonic()) < deadline:
        outcome.memory.append((now - started, _memory(pid)))
        if setting.kills and now > next_kill:
            next_kill = now + setting.kills * (0.5 + rng.random())
            outcome.counts["killed processes"] += _kill_worker(pid)
        time.sleep(SAMPLE_SECONDS)
    for client in clients:
        client.join()
        outcome.counts += client.counts
        outcome.seconds += client.seconds
    outcome.metrics = _read_metrics(port)
    return outcome


def _processes(pid: int) -> Iterator[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        yield process
        yield from process.children(recursive=True)


def _memory(pid: int) -> int:
    total = 0
    for process in _processes(pid):
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def _kill_worker(pid: int) -> int:
    """Kill the process of the models; returns 1, or 0 if there is none at this moment."""
    for process in _processes(pid):
        with contextlib.suppress(psutil.Error):
            if WORKER in process.cmdline():
                process.kill()
                return 1
    return 0


def _read_metrics(port: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    found = re.findall(r"^(edgefc_(?:cache_bytes\{.*\}|worker_restarts)) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="may be repeated; default: demo")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--memory", type=float, help="limit of the loaded models, in GiB")
    parser.add_argument("--worker", action="store_true", help="run the models in a process of their own")
    parser.add_argument("--kills", type=float, default=0, help="mean seconds between two kills of it")
    options = parser.parse_args()
    models = options.model or ["demo"]
    extra = [*(["--memory", str(options.memory)] if options.memory else [])]
    extra += ["--worker"] if options.worker or options.kills else []
    names = [Path(model).stem if model.endswith(".gguf") else model for model in models]
    setting = Setting(names, 60 * options.minutes, options.clients, options.kills)
    server, port = start_server(*models, *extra)
    try:
        outcome = run_clients(server.pid, port, setting)
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
    _print(outcome, setting)
    print(f"exit code of the server: {server.returncode}")
    if server.returncode or outcome.problems:
        sys.exit(1)


def _print(outcome: Outcome, setting: Setting) -> None:
    for kind, count in outcome.counts.most_common():
        print(f"{count:8,} {kind}")
    if outcome.seconds:
        rate, median = len(outcome.seconds) / setting.seconds, statistics.median(outcome.seconds)
        print(f"{rate:.1f} answers/s; median {median:.2f} s, longest {max(outcome.seconds):.2f} s")
    for name, value in outcome.metrics.items():
        print(f"{name}: {value:,.0f}")
    width = setting.seconds / 10
    early = outcome.level(min(EARLY_SECONDS, setting.seconds / 4), width)
    late = outcome.level(setting.seconds - width / 2, width)
    for moment, size in outcome.memory[:: max(1, len(outcome.memory) // 10)]:
        print(f"after {moment:5.0f} s: {size / 1e6:,.0f} MB")
    print(f"memory: {early / 1e6:,.0f} MB early, {late / 1e6:,.0f} MB at the end ({late / early - 1:+.1%})")


if __name__ == "__main__":
    main()
