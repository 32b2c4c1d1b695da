"""The figures as tables, with the goals they are held against."""

from __future__ import annotations

from typing import Any

Figures = dict[str, Any]

# figure, goal, whether more is better; ratios are to the limit measured in the same run
GOALS = (
    ("ratio", 0.72, True),
    ("hot_ratio", 0.88, True),
    ("avx2_ratio", 0.70, True),
    ("fallback_ratio", 0.30, True),
    ("numpy_core_s_ratio", 300.0, True),
    ("mismatches", 0, False),
)


def show(figures: Figures) -> None:
    """Print what there is."""
    about = figures["machine"]
    print(f"\n{about['processor']}, {about['cores']} cores, Python {about['python']}, {about['date']}\n")
    _paths(figures["paths"])
    _rivals(figures)
    _views(figures["views"])
    for name, goal, more in GOALS:
        if figures[name] is not None:
            is_met = figures[name] >= goal if more else figures[name] <= goal
            verdict = "met" if is_met else "MISSED"
            print(f"{name:24}{figures[name]:9.2f}   goal {'≥' if more else '≤'} {goal:g}   {verdict}")


def _paths(found: Figures) -> None:
    columns = ("limit one thread", "hot", "hot ratio", "limit", "brute one thread", "brute", "ratio")
    print(f"{'path, G iterations/s':22}" + "".join(f"{column:>18}" for column in columns))
    for name, row in found.items():
        print(f"{name:22}" + "".join(f"{row[column]:18.2f}" for column in columns))
    print("  limit, brute, ratio: all threads. brute: valley, nothing known about what is inside.\n")


def _rivals(figures: Figures) -> None:
    own = figures["kernel_core_gips"]
    print(f"{'on valley, one core':24}{'G iterations/s':>16}{'the kernel is':>16}")
    for name, found in figures["rivals"].items():
        print(f"{name:24}{found:16.3f}{own / found:11.0f} times as fast")
    print(f"{'kernel, brute force':24}{own:16.3f}\n")


def _views(found: Figures) -> None:
    print(f"{'whole views':24}{'arrays, s':>12}{'core s':>10}{'PNG, s':>10}")
    for name, row in found.items():
        png = f"{row['png']:10.4f}" if "png" in row else ""
        print(f"{name:24}{row['wall']:12.4f}{row['cpu']:10.4f}{png}")
    print()
