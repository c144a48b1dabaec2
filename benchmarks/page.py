"""Gather what the scripts measured in nbs/speed.json, which the page "How fast, and why" shows.

    python -m benchmarks.page      after the others; `make bench` then executes the page
"""
from __future__ import annotations

import json
from pathlib import Path

from .common import RESULTS

PAGE = RESULTS.parents[1] / "nbs" / "speed.json"
OTHERS = RESULTS.parent / "others.json"
RATIO = {"ours_ms", "theirs_ms", "ratio", "lowest", "highest"}
ROWS = {"mlp": RATIO | {"threads", "work", "against", "goal"}, "roofline": {"name", "flops", "bytes", "seconds"},
        "parts": {"batch", "step_us", "parts_us"}, "choices": RATIO | {"choice", "instead"},
        "growth": {"series", "size", "ms"}, "small": {"network", "batch", "calls", "slugnet_us", "calls_us", "torch_us"}}
ROWS |= dict.fromkeys(("convolution", "layers", "transform", "threads"), ROWS["mlp"])
BESIDES = {"roofline": {"roofs"}, "choices": {"blocks", "calls", "faded"}, "threads": {"products", "lines"}}


def problems(data: dict) -> list[str]:
    """What the page would miss in its data."""
    bad = [f"{name}: not measured; run python -m benchmarks.{name}" for name in ROWS if name not in data]
    for name in ROWS.keys() & data.keys():
        part, wanted = data[name], {"machine", "date", "rows"} | BESIDES.get(name, set())
        bad += [f"{name}: has no {key}" for key in sorted(wanted - part.keys())]
        for row in part.get("rows", []):
            bad += [f"{name}: a row has no {key}: {row}" for key in sorted(ROWS[name] - row.keys())]
        bad += [f"{name}: has no rows"] * (not part.get("rows"))
        bad += [f"{name}: measured on {part.get('date')}, others on another day; run all"] * (
            part.get("date") != data.get("mlp", part).get("date"))
    return bad


def rounded(value, digits: int = 4):
    """Numbers with so many digits, wherever they are: what is beyond is noise."""
    if isinstance(value, dict):
        return {key: rounded(part, digits) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part, digits) for part in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def gather(results: Path = RESULTS) -> dict:
    """All results, and those of the other NumPy libraries, which are measured apart."""
    data = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))
            if path.stem in ROWS}
    if OTHERS.exists():
        data["others"] = json.loads(OTHERS.read_text(encoding="utf-8"))
    return rounded(data)


def main() -> None:
    """Write the page's data, or say what is missing."""
    data = gather()
    if bad := problems(data):
        raise SystemExit("\n".join(bad))
    PAGE.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote nbs/{PAGE.name}; the page shows it once it is executed")


if __name__ == "__main__":
    main()
