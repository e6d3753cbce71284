"""Measures how long schemas take to compile, and how many valid and invalid instances their grammars accept.

    python -m benchmarks.schema_compile BENCH.jsonl.gz [--rounds 3] [--cold] [--no-instances] [--show 20]

A line of the file has `id`, `schema` and `tests`: [{data, valid}], as the sample of JSONSchemaBench in
docs/decisions.md. The time is the processor's, of `compile_schema`. In the first round a schema meets only what others
left in the caches of the process; the best of all rounds is less noisy. `--cold` empties all caches before each
compilation. An instance is accepted if llguidance accepts one of its spellings: properties in the order given, the
schema's, required ones first or the alphabet's; with spaces or without; numbers with exponents or without.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from jsonschema.validators import validator_for
from referencing.exceptions import Unresolvable

from edgefc.errors import EdgefcError
from edgefc.grammar import CompiledGrammar, compile_schema
from tests.grammar.executors import Guidance, reach

SHARES = (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
MAX_DEPTH = 8  # references and combinators that are followed for the order of properties
EXPONENT = re.compile(r"([ :,\[])(-?[0-9.]+[eE][-+]?[0-9]{1,2})(?=[,\]}])")
ORDERS = ("given", "schema", "required", "alphabet")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="empty all caches before each compilation")
    parser.add_argument("--no-instances", action="store_true", help="only measure time")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="list N instances that are misjudged")
    options = parser.parse_args()
    with (gzip.open if options.file.suffix == ".gz" else open)(options.file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    print_times(rows, options.rounds, cold=options.cold)
    if not options.no_instances:
        print_instances(rows, options.show)


def print_times(rows: list[dict[str, Any]], rounds: int, *, cold: bool) -> None:
    seconds({"type": "object"}, -1, cold=cold)  # imports the compiler
    gc.collect()
    gc.freeze()  # the schemas of this file are none of a compilation's garbage
    times = [[seconds(row["schema"], number, cold=cold) for row in rows] for number in range(rounds)]
    best = list(map(min, *times)) if rounds > 1 else times[0]
    for name, values in (("first round", times[0]), (f"best of {rounds}", best)):
        ordered = sorted(values)
        shares = [f"{share} {1000 * ordered[round(part * (len(rows) - 1))]:.1f}" for share, part in SHARES]
        print(f"{name}, ms: {', '.join(shares)}; sum {1000 * sum(values):.0f}")
    print("\nslowest, best ms   bytes   id")
    for took, row in sorted(zip(best, rows, strict=True), key=lambda pair: -pair[0])[:10]:
        print(f"{1000 * took:16.1f} {len(json.dumps(row['schema'])):7}   {row['id']}")


def seconds(schema: Any, number: int, *, cold: bool) -> float:
    """Compile a schema whose grammar is in no cache, for it has a comment of its own; return the processor time."""
    if isinstance(schema, dict):
        schema = {**schema, "$comment": f"round {number}"}
    if cold:
        for cache in [item for item in gc.get_objects() if type(item) is type(functools.cache(len))]:
            if cache.__module__.startswith("edgefc."):
                cache.cache_clear()
    begin = time.process_time()
    with contextlib.suppress(EdgefcError):
        compile_schema(schema)
    return time.process_time() - begin


def print_instances(rows: list[dict[str, Any]], show: int) -> None:
    accepted: Counter[tuple[bool, bool]] = Counter()  # by whether the instance is valid, and listed keywords exist
    every: Counter[tuple[bool, bool]] = Counter()
    refusals: Counter[str] = Counter()
    for row in rows:
        grammar: CompiledGrammar | None = None
        try:
            grammar = compile_schema(row["schema"], spacing="flexible")
            Guidance(grammar.lark)
        except (EdgefcError, ValueError) as error:
            refusals[str(error).splitlines()[0][:100]] += 1
        for test in row["tests"]:
            kind = test["valid"], grammar is None or bool(grammar.unenforced)
            every[kind] += 1
            if is_accepted := grammar is not None and accepts(grammar, test["data"], row["schema"]):
                accepted[kind] += 1
            if is_accepted != test["valid"] and show > 0:
                show -= 1
                print(f"{'accepted' if is_accepted else 'refused'}: {row['id']}: {json.dumps(test['data'])[:300]}")
    for is_valid, name in ((True, "valid"), (False, "invalid")):
        those = [(accepted[is_valid, listed], every[is_valid, listed]) for listed in (False, True)]
        found, count = map(sum, zip(*those, strict=True))
        share = f"{found} of {count} ({100 * found / max(1, count):.2f} %)"
        print(f"{name} accepted: {share}; where every keyword is enforced, {those[0][0]} of {those[0][1]}")
    for reason, count in refusals.most_common():
        print(f"refused schemas: {count} × {reason}")


def accepts(grammar: CompiledGrammar, value: Any, schema: Any) -> bool:
    texts = {
        json.dumps(ordered(value, [schema], schema, order), ensure_ascii=False, separators=separators)
        for order in ORDERS
        for separators in ((", ", ": "), (",", ":"))
    }
    texts |= {EXPONENT.sub(_without_exponent, text) for text in texts}
    return any(reach(Guidance(grammar.lark), text) == -1 for text in texts)


def _without_exponent(found: re.Match[str]) -> str:
    return f"{found[1]}{Decimal(found[2]):f}"


def ordered(value: Any, schemas: list[Any], root: Any, order: str) -> Any:
    """Return a value, to which these schemas apply, with the properties of all objects in an order."""
    applied = [part for schema in schemas for part in _applied(value, schema, root)]
    if isinstance(value, list):
        return [ordered(item, _items(applied, number), root, order) for number, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    names = dict.fromkeys(name for schema in applied for name in _dict(schema, "properties"))
    required = {name for schema in applied for name in _list(schema, "required") if isinstance(name, str)}
    position = {name: number for number, name in enumerate([*names, *(required - names.keys())])}
    last = len(position)
    keys: dict[str, Callable[[str], Any]] = {
        "given": lambda _: 0,
        "schema": lambda name: position.get(name, last),
        "required": lambda name: (name not in position, name not in required, position.get(name, last)),
        "alphabet": lambda name: name,
    }
    return {name: ordered(value[name], _members(applied, name), root, order) for name in sorted(value, key=keys[order])}


def _applied(value: Any, schema: Any, root: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield a schema, and those that it applies to the same value."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return
    if isinstance(reference := schema.get("$ref"), str) and reference.startswith("#"):
        yield from _applied(value, _at(root, reference), root, depth + 1)
    yield schema
    branches = [part for keyword in ("anyOf", "oneOf") for part in _list(schema, keyword)]
    fitting = [part for part in branches if _fits(value, part, root)]
    others = [schema.get(keyword) for keyword in ("if", "then", "else")]
    for part in (*_list(schema, "allOf"), *(fitting or branches), *others):
        yield from _applied(value, part, root, depth + 1)


def _fits(value: Any, schema: Any, root: Any) -> bool:
    """Return whether a value satisfies a part of the schema `root`; False where its references lead elsewhere."""
    try:
        return validator_for(root)(root).evolve(schema=schema).is_valid(value)
    except Unresolvable:
        return False


def _members(applied: list[dict[str, Any]], name: str) -> list[Any]:
    """Return the schemas of a property."""
    found: list[Any] = []
    for schema in applied:
        own = [part for pattern, part in _dict(schema, "patternProperties").items() if re.search(pattern, name)]
        if name in _dict(schema, "properties"):
            own.append(_dict(schema, "properties")[name])
        found += own or [schema.get("additionalProperties")]
    return found


def _items(applied: list[dict[str, Any]], number: int) -> list[Any]:
    """Return the schemas of an item."""
    found: list[Any] = []
    for schema in applied:
        prefix = _list(schema, "prefixItems") or _list(schema, "items")
        found.append(prefix[number] if number < len(prefix) else schema.get("items"))
    return found


def _dict(schema: dict[str, Any], keyword: str) -> dict[str, Any]:
    return value if isinstance(value := schema.get(keyword), dict) else {}


def _list(schema: dict[str, Any], keyword: str) -> list[Any]:
    return value if isinstance(value := schema.get(keyword), list) else []


def _at(root: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            root = root[int(key)] if isinstance(root, list) else root[key]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return root


if __name__ == "__main__":
    main()
