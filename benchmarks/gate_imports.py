"""What 20,000 imported result rows cost: read, compared and judged, in a process of its own.

    python benchmarks/gate_imports.py [--rows 20000]

Bar: under 5 CPU seconds and 300 MB at the peak, imports of Python included.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time

SYSTEMS, SCORERS = ("p@1", "p@2"), ("right", "faithful")
BAR_CPU_S, BAR_MB = 5.0, 300.0


def lines(rows: int, seed: int = 20261129) -> list[bytes]:
    """Neutral results: two systems, two scorers, three languages, conversations of four cases."""
    chance = random.Random(seed)
    items = rows // (len(SYSTEMS) * len(SCORERS))
    found = []
    for at in range(items):
        ease = chance.random()
        for system in SYSTEMS:
            values = (float(chance.random() < 0.3 + 0.6 * ease), min(1.0, max(0.0, ease + chance.gauss(0, 0.1))))
            for scorer, value in zip(SCORERS, values, strict=True):
                row = {
                    "run": "import", "item": f"i{at:05}", "repeat": 0, "system": system, "scorer": scorer,
                    "value": value, "status": "ok", "tags": {"lang": ("de", "en", "fr")[at % 3]},
                    "cluster": f"conv-{at // 4}", "cost_usd": "0.00021", "latency_ms": 700 + 400 * chance.random(),
                    "output_sha256": f"{at:032x}{system.encode().hex():0>32}",
                }  # fmt: skip
                found.append(json.dumps(row).encode())
    return found


def measured() -> None:
    """The child: rows from stdin, one line of JSON to stdout."""
    data = sys.stdin.buffer.read().splitlines()
    before = time.process_time()
    from headgate.evals.compare import compare
    from headgate.evals.gate import facts_of_import, judge_gate
    from headgate.evals.policy import shipped_policy
    from headgate.evals.results import read_results

    steps = {"imports": time.process_time()}
    results = read_results(data, "import")
    steps["read"] = time.process_time()
    new = [row for row in results if row.system == SYSTEMS[1]]
    old = [row for row in results if row.system == SYSTEMS[0]]
    compare(new, old)
    steps["compare"] = time.process_time()
    verdict = judge_gate(shipped_policy("standard"), facts_of_import(new), facts_of_import(old))
    steps["gate"] = time.process_time()
    spent = {}
    for name, at in steps.items():
        spent[name], before = at - before, at
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    facts = {
        "rows": len(results), "verdict": verdict.verdict, "cpu_s": time.process_time(), "peak_mb": peak_mb,
        "steps": spent,
    }  # fmt: skip
    print(json.dumps(facts))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--rows", type=int, default=20_000)
    arguments.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.child:
        measured()
        return
    done = subprocess.run(
        [sys.executable, __file__, "--child"], input=b"\n".join(lines(chosen.rows)), stdout=subprocess.PIPE, check=True
    )
    found = json.loads(done.stdout)
    parts = ", ".join(f"{name} {spent:.2f} s" for name, spent in found["steps"].items())
    is_met = found["cpu_s"] < BAR_CPU_S and found["peak_mb"] < BAR_MB
    print(f"{found['rows']:,} rows: verdict {found['verdict']}; {found['cpu_s']:.2f} s of CPU ({parts}),", end=" ")
    bar = f"Bar {BAR_CPU_S:g} s and {BAR_MB:g} MB: {'met' if is_met else 'MISSED'}."
    print(f"{found['peak_mb']:.0f} MB at the peak. {bar}")
    sys.exit(0 if is_met else 1)


if __name__ == "__main__":
    main()
