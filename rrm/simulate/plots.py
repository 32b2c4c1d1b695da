"""Figures of simulations; they need matplotlib, which is among the tools for development."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rrm.simulate.scaling import Turn
from rrm.simulate.tally import Figures

_PANELS = (
    ("hit_rate", "leases that found their model", "linear"),
    ("mean_s", "mean time from order to delivery, s", "log"),
    ("wait_max_s", "longest wait for a node, s", "log"),
    ("imbalance", "busiest node / mean node", "linear"),
    ("node_hours", "node-hours until all was done", "log"),
)


def check(target: Path) -> None:
    """Raises ValueError if a figure could not be drawn to this file."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        raise ValueError("--plot needs matplotlib, which is not installed.") from None
    known = FigureCanvasBase.get_supported_filetypes()
    if target.suffix.lower().lstrip(".") not in known:
        raise ValueError(f"{target} has none of the endings .{', .'.join(sorted(known))}.")


def against_load(found: Mapping[float, Sequence[Figures]], target: Path) -> None:
    """Each figure of each policy over the load of the farm; ours in colour."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(13, 7), constrained_layout=True)
    loads, names = sorted(found), [figures.policy for figures in found[min(found)]]
    ours = [name for name in names if name.startswith("streak bound")]
    styles = {name: ("-", "o", f"C{ours.index(name)}", 2.2) for name in ours}
    others = [name for name in names if name not in ours]
    styles |= {
        name: ("--", "vs^D<>Px*H"[number % 10], f"{0.25 + 0.06 * number:.2f}", 1.0)
        for number, name in enumerate(others)
    }
    for axis, (field, label, scale) in zip(axes.flat, _PANELS, strict=False):
        for number, name in enumerate(names):
            line, marker, colour, width = styles[name]
            values = [getattr(found[load][number], field) for load in loads]
            values = [max(1.0, value) for value in values] if scale == "log" else values
            axis.plot(loads, values, line, marker=marker, color=colour, linewidth=width, markersize=5, label=name)
        axis.set(xlabel="load if every lease hit", title=label, yscale=scale)
        axis.grid(alpha=0.25)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    axes.flat[5].axis("off")
    axes.flat[5].legend(handles, labels, loc="center", fontsize=9, frameon=False)
    figure.savefig(target, dpi=100)
    pyplot.close(figure)


def over_time(turns: Sequence[Turn], title: str, target: Path) -> None:
    """What the autoscaler wanted and what there was."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(10, 3.6), constrained_layout=True)
    hours = [turn.at / 3600 for turn in turns]
    axis.fill_between(hours, [turn.ready for turn in turns], step="post", color="C0", alpha=0.35, label="ready")
    present = [turn.ready + turn.starting for turn in turns]
    axis.step(hours, present, where="post", color="C1", linewidth=0.8, label="ready or starting")
    axis.step(hours, [turn.want for turn in turns], where="post", color="0.2", linewidth=0.6, label="wanted")
    axis.set(xlabel="hours", ylabel="nodes", title=title, xlim=(0, hours[-1]), ylim=(0, None))
    axis.legend(frameon=False)
    axis.grid(alpha=0.25)
    figure.savefig(target, dpi=100)
    pyplot.close(figure)
