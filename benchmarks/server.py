"""edgefc against llama-server: the same GGUF, token ids, grammar, threads and machine, in turns, in one run.

    python benchmarks/server.py [--model GGUF | --vocab VOCABULARY.gguf] [--workloads W1,W2,…] [--prompts N]

Without --model and --vocab the demo model is used: it proves the path, and is too small for its figures to say much.
With --vocab, a model of a real size is made that follows scripts (benchmarks/scripted.py), once, in the cache folder.
benchmarks/README.md says what the rows are. llama-server is found or built by benchmarks/peer.py.
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
from benchmarks.contests import CONTESTS
from benchmarks.report import Row
from benchmarks.setting import Setting, add_options, prepare
from edgefc.engine import llama


def main(given: list[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--workloads", default=",".join(CONTESTS), help="such as W1,W5,memory; default: all")
    parser.add_argument("--free", type=int, default=2000, help="tokens of free text in W8")
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args(given)
    wanted = options.workloads.split(",")
    if unknown := set(wanted) - CONTESTS.keys():
        sys.exit(f"no workload is called {min(unknown)}; there are {', '.join(CONTESTS)}")
    logging.getLogger("edgefc.llama").setLevel(logging.CRITICAL)
    setting = prepare(options, peer.find_or_build(), free=options.free)
    size = setting.path.stat().st_size / 1e6
    print(f"{setting.path.name}, {size:.0f} MB, family {setting.family}, {setting.threads} threads")
    print(report.HEAD, flush=True)
    rows: list[Row] = []
    for name in wanted:
        for row in CONTESTS[name](setting):
            rows.append(row)
            print(report.line(row), flush=True)
            if options.json:  # again after each row: what was measured stays if a later one fails
                options.json.write_text(json.dumps(_about(setting) | {"rows": [row.data() for row in rows]}, indent=1))
    return rows


def _about(setting: Setting) -> dict[str, object]:
    return {
        "model": setting.path.name, "bytes": setting.path.stat().st_size, "family": setting.family,
        "threads": setting.threads, "prompts": setting.prompts, "rounds": setting.rounds, "n_ctx": setting.n_ctx,
        "edgefc": edgefc.__version__, "llama-cpp-python": llama.VERSION, "system": platform.platform(),
        "instructions": llama.system_info(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
