"""From the seconds of step.py to its figures, its table and its JSON keys.  Imported, not run."""

from __future__ import annotations

import statistics
from typing import Any


def figures(
    seconds: dict[str, list[float]],
    computed: list[float],
    packed: list[float],
    rates: dict[str, float],
) -> dict[str, float]:
    """Return the medians of ratios within a round.

    Within a round, the contestants share the batch and the speed that the machine has then.
    """

    def ratio(name: str, reference: str) -> float | None:
        if name not in seconds or reference not in seconds:
            return None
        pairs = zip(seconds[name], seconds[reference], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def fraction(operations: list[float], precision: str) -> float | None:
        if f"ours_{precision}" not in seconds:
            return None
        pairs = zip(operations, seconds[f"ours_{precision}"], strict=True)
        return statistics.median(count / s for count, s in pairs) / rates[precision]

    results: dict[str, float | None] = {}
    for precision in ("fp32", "bf16"):
        ours, frozen = f"ours_{precision}", f"ours_frozen_{precision}"
        plain_sum = ratio(f"ours_sum_{precision}", ours)
        results |= {
            f"speedup_{precision}": ratio("usual_pcgrad_fp32", ours),
            f"speedup_rows_{precision}": ratio("usual_rows_fp32", ours),
            f"peak_fraction_{precision}": fraction(computed, precision),
            f"packed_fraction_{precision}": fraction(packed, precision),
            f"surgery_share_{precision}": None if plain_sum is None else 1 - plain_sum,
            f"frozen_ratio_{precision}": ratio(frozen, ours),
            f"speedup_sum_{precision}": ratio("usual_sum_fp32", f"ours_sum_{precision}"),
        }
    results["speedup_rows_both_bf16"] = ratio("usual_rows_bf16", "ours_bf16")
    return {name: value for name, value in results.items() if value is not None}


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return all figures as one flat mapping.

    A key begins with the shape, except for the six-layer shape, and ends with the batch size.
    """
    flat: dict[str, Any] = {}
    for result in results:
        prefix = "" if result["shape"] == "six" else f"{result['shape']}_"
        batch = f"_b{result['batch_size']}"
        if "skipped" in result:
            flat[f"{prefix}skipped{batch}"] = result["skipped"]
            continue
        for key, value in result.items():
            if isinstance(value, float) and key not in ("operations", "operations_computed"):
                flat[f"{prefix}{key}{batch}"] = round(value, 4)
        # A key without a precision means fp32.
        for key in ("speedup_sum", "surgery_share", "frozen_ratio"):
            if f"{key}_fp32" in result:
                flat[f"{prefix}{key}{batch}"] = round(result[f"{key}_fp32"], 4)
        for key in ("rounds", "left_out", "strongest_fp32", "strongest_bf16"):
            if key in result:
                flat[f"{prefix}{key}{batch}"] = result[key]
        flat[f"{prefix}milliseconds{batch}"] = {
            name: round(row["median"] * 1e3, 1) for name, row in result["seconds"].items()
        }
    return flat


def show(result: dict[str, Any]) -> str:
    """Return the table of one shape and batch size."""
    if "skipped" in result:
        what = f"{result['shape']}, batch size {result['batch_size']} per task"
        return f"{what}: not measured, {result['skipped']}"
    lines = [
        f"{result['shape']}, batch size {result['batch_size']} per task, "
        f"{result['rounds']} rounds: "
        f"{result['operations'] / 1e9:.0f} GFLOP per step, "
        f"{result['real_share_of_padded']:.0%} of padded slots are real tokens "
        f"({result['real_share_of_sorted']:.0%} in batches of similar lengths); matrix products "
        + ", ".join(f"{k} {v / 1e9:.0f} GFLOP/s" for k, v in result["matrix_rate"].items())
    ]
    means = result["mean"]
    for name, row in result["seconds"].items():
        ours = means.get("ours_" + name.rpartition("_")[2])
        ratio = "" if name.startswith("ours") or not ours else f"   ours: {means[name] / ours:.2f}x"
        lines.append(
            f"  {name:<20} {row['median'] * 1e3:8.1f} ms  ({row['q1'] * 1e3:.1f} to "
            f"{row['q3'] * 1e3:.1f}){ratio}"
        )
    lines += [f"  {name:<20} left out: {why}" for name, why in result["left_out"].items()]
    for precision in result["matrix_rate"]:
        if f"strongest_{precision}" in result:
            lines.append(
                f"  the strongest other step in {precision} is {result[f'strongest_{precision}']}: "
                f"ours is {result[f'speedup_strongest_{precision}']:.2f} times as fast"
            )
    return "\n".join(lines)
