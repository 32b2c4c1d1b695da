"""The figures as a picture: each path beside its limit, and the speed of the well-known ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_OURS, _LIMIT, _RIVALS = "#2f6f9f", "#d9dee3", "#b8b8b8"


def draw(figures: dict[str, Any], target: Path) -> None:
    """Write a PNG."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4), constrained_layout=True)
    _beside_limit(left, figures["paths"])
    _beside_rivals(right, figures)
    about = figures["machine"]
    figure.suptitle(f"{about['processor']}, {about['cores']} cores, {about['date'][:10]}", fontsize=10)
    figure.savefig(target, dpi=110)


def _beside_limit(axes: Any, paths: dict[str, Any]) -> None:
    names = list(paths)
    places = range(len(names))
    axes.bar(
        places, [paths[name]["limit"] for name in names], 0.6, color=_LIMIT, label="limit measured in the same run"
    )
    axes.bar(places, [paths[name]["brute"] for name in names], 0.4, color=_OURS, label="kernel, brute force on valley")
    for place, name in zip(places, names, strict=True):
        axes.text(
            place, paths[name]["brute"], f"{100 * paths[name]['ratio']:.0f} %", ha="center", va="bottom", fontsize=8
        )
    axes.set(ylabel="G pixel-iterations per second, all threads")
    axes.set_xticks(list(places), names)
    axes.legend(frameon=False, fontsize=8)


def _beside_rivals(axes: Any, figures: dict[str, Any]) -> None:
    rates = {**figures["rivals"], "this kernel,\nbrute force": figures["kernel_core_gips"]}
    names = list(rates)
    colors = [_OURS if rate == figures["kernel_core_gips"] else _RIVALS for rate in rates.values()]
    bars = axes.barh(names, list(rates.values()), color=colors)
    axes.bar_label(bars, fmt="%.3g", fontsize=8, padding=3)
    axes.set(xscale="log", xlabel="G pixel-iterations per second of one core, on valley")
    axes.margins(x=0.2)
