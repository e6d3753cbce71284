"""Compares edgefc with llama-server: the same GGUF, token ids, grammar, threads and machine, in turns, in one run.

    python benchmarks/server.py [--model GGUF | --vocab VOCABULARY.gguf] [--workloads W1,W2,…] [--prompts N]

The default is the demo model: it shows that the benchmark works, but is too small for meaningful figures. --vocab
generates a model of realistic size that follows scripts (benchmarks/scripted.py), once, in the cache folder.
benchmarks/README.md describes the rows. llama-server is found or built by benchmarks/peer.py.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
from pathlib import Path

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import edgefc
from benchmarks import peer, report
from benchmarks.report import Row
from benchmarks.setting import Setting, add_options, prepare
from benchmarks.workloads import WORKLOADS
from edgefc.engine import llama


def main(arguments: list[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="such as W1,W5,memory (default: all)")
    parser.add_argument("--free", type=int, default=2000, help="tokens of free text in W8")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args(arguments)
    names = options.workloads.split(",")
    if unknown := set(names) - WORKLOADS.keys():
        sys.exit(f"unknown workload {min(unknown)!r}: choose from {', '.join(WORKLOADS)}")
    logging.getLogger("edgefc.llama").setLevel(logging.CRITICAL)
    setting = prepare(options, peer.find_or_build(), free=options.free)
    size = setting.path.stat().st_size / 1e6
    print(f"{setting.path.name}, {size:.0f} MB, family {setting.family}, {setting.threads} threads")
    print(report.HEAD, flush=True)
    rows: list[Row] = []
    for name in names:
        for row in WORKLOADS[name](setting):
            rows.append(row)
            print(report.line(row), flush=True)
            if options.json:  # after each row, so that the figures survive if a later one fails
                data = _setting_data(setting) | {"rows": [row.data() for row in rows]}
                options.json.write_text(json.dumps(data, indent=1))
    return rows


def _setting_data(setting: Setting) -> dict[str, object]:
    return {
        "model": setting.path.name, "bytes": setting.path.stat().st_size, "family": setting.family,
        "threads": setting.threads, "prompts": setting.prompts, "rounds": setting.rounds, "n_ctx": setting.n_ctx,
        "edgefc": edgefc.__version__, "llama-cpp-python": llama.VERSION, "system": platform.platform(),
        "instructions": llama.system_info(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
