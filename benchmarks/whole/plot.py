"""The figures as a picture: where the time of each job goes, and how it compares with earlier systems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.whole.report import middle

_BARE, _WAIT, _COMPOSE, _EARLIER = "#2f6f9f", "#9fc3dd", "#e0a458", "#b8b8b8"


def draw(figures: dict[str, Any], target: Path) -> None:
    """Write a PNG; nothing when no pictures were measured."""
    found = figures.get("pictures")
    if not found:
        return
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), constrained_layout=True)
    _phases(left, found)
    _beside_earlier(right, found)
    about = figures["machine"]
    figure.suptitle(f"{about['processor']}, {about['cores']} cores, {about['date'][:10]}", fontsize=10)
    figure.savefig(target, dpi=110)


def _phases(axes: Any, found: dict[str, Any]) -> None:
    """Bare rendering, what serving adds to it, and composing, as parts of the whole time."""
    names = list(found)[::-1]
    whole = [middle(found[name]["stack"], "completed") for name in names]
    made = [middle(found[name]["stack"], "rendered") for name in names]
    bare = [middle(found[name]["bare"], "wall") for name in names]
    left = [0.0] * len(names)
    parts = (
        ("bare rendering", [min(b, m) for b, m in zip(bare, made, strict=True)], _BARE),
        ("serving", [max(m - b, 0.0) for b, m in zip(bare, made, strict=True)], _WAIT),
        ("composing", [w - m for w, m in zip(whole, made, strict=True)], _COMPOSE),
    )
    for label, seconds, color in parts:
        widths = [100 * part / total for part, total in zip(seconds, whole, strict=True)]
        axes.barh(names, widths, left=left, color=color, label=label)
        left = [begin + width for begin, width in zip(left, widths, strict=True)]
    for row, total in enumerate(whole):
        axes.text(101, row, f"{total:.2f} s", va="center", fontsize=8)
    axes.set(xlabel="% of the time from the order to COMPLETED", xlim=(0, 114))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=8)


def _beside_earlier(axes: Any, found: dict[str, Any]) -> None:
    """Whole times of earlier systems and of this one, on a logarithmic scale."""
    rows = [(name, row) for name, row in found.items() if row["earlier s"] and name.endswith(" png")]
    labels = [f"{name.split()[0]}\n({row['earlier system']})" for name, row in rows]
    places = range(len(rows))
    earlier = [row["earlier s"] for _, row in rows]
    here = [middle(row["stack"], "completed") for _, row in rows]
    axes.bar([place - 0.2 for place in places], earlier, 0.38, color=_EARLIER, label="earlier system")
    axes.bar([place + 0.2 for place in places], here, 0.38, color=_BARE, label="this one")
    for place, seconds in zip(places, here, strict=True):
        axes.text(place + 0.2, seconds, f"{seconds:.2f} s", ha="center", va="bottom", fontsize=8)
    for place, seconds in zip(places, earlier, strict=True):
        axes.text(place - 0.2, seconds, f"{seconds:g} s", ha="center", va="bottom", fontsize=8)
    axes.set(yscale="log", ylabel="seconds, whole system")
    axes.set_xticks(list(places), labels, fontsize=8)
    axes.legend(frameon=False, fontsize=8)
