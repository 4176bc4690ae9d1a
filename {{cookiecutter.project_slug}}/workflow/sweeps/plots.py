"""The charts of a study: Optuna's own plots, as SVG."""

import base64
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
import matplotlib.pyplot as plt
import optuna
from matplotlib.axes import Axes
from matplotlib.category import StrCategoryFormatter
from matplotlib.ticker import FuncFormatter, MaxNLocator
from optuna.trial import TrialState
from optuna.visualization import matplotlib as plots

SIZE = (4.6, 3.4)  # inches: half a page, or a phone's width with letters that can be read
A_PARAMETER = 1.7  # inches, where each parameter has an axis of its own
IN_LEGEND = 8  # trials
LETTERS = 18  # of a parameter's name
VALUE = 12  # letters of a value


@dataclass(frozen=True)
class Chart:
    """A chart, or why there is none.

    Args:
        content: of an SVG file, as base64; "" where there is a `problem`.
        width: inches.
        is_half: whether there is room for another beside it.
    """

    title: str
    text: str
    content: str = ""
    width: float = SIZE[0]
    problem: str = ""
    is_half: bool = False

    @property
    def is_wide(self) -> bool:
        return self.width > SIZE[0]


def charts(study: optuna.Study, metric: str) -> list[Chart]:
    """Return the charts of a study of one objective.

    Args:
        metric: what its values are called.
    """
    every = study.get_trials(deepcopy=False)
    finished = [trial for trial in every if trial.state == TrialState.COMPLETE]
    names = {name for trial in finished for name in trial.params}
    wide = 2.4 + A_PARAMETER * len(names)
    none = "" if finished else "No trial has finished."
    few = none or ("" if len(finished) > 1 else "This needs two finished trials.")
    is_reported = any(trial.intermediate_values for trial in every)
    is_single = len({trial.value for trial in finished}) < 2
    return [
        _chart(
            "History",
            f"{metric} of each finished trial, and the best so far.",
            lambda: plots.plot_optimization_history(study, target_name=metric),
            _arrange_history,
            none,
            is_half=True,
        ),
        _chart(
            "Importance",
            f"Which part of the differences in {metric} a parameter explains (PED-ANOVA).",
            lambda: plots.plot_param_importances(study, target_name=metric),
            _arrange_importance,
            few
            or ("" if len(names) > 1 else "This needs two parameters.")
            or ("All trials have the same value." if is_single else ""),
            is_half=True,
        ),
        _chart(
            "Intermediate values",
            f"{metric} of each trial by epoch.",
            lambda: plots.plot_intermediate_values(study),
            lambda axes: _arrange_epochs(axes, metric),
            "" if is_reported else "No trial has reported the value of an epoch.",
        ),
        _chart(
            "Parallel coordinates",
            f"{metric} and the parameters of each finished trial; a line is a trial.",
            lambda: plots.plot_parallel_coordinate(study, target_name=metric),
            lambda axes: _arrange_coordinates(axes, [metric, *sorted(names)]),
            few,
            wide,
        ),
        _chart(
            "Slices",
            f"{metric} by each parameter; the darker a point, the later the trial.",
            lambda: plots.plot_slice(study, target_name=metric),
            _arrange_slice,
            few,
            wide,
        ),
    ]


def _chart(
    title: str,
    text: str,
    draw: Callable[[], object],
    arrange: Callable[[Axes], object],
    problem: str,
    width: float = SIZE[0],
    is_half: bool = False,
) -> Chart:
    """Draw one chart, unless there is a problem.

    Args:
        arrange: is called for each of its axes.
    """
    if problem:
        return Chart(title, text, problem=problem, is_half=is_half)
    file = io.BytesIO()
    with warnings.catch_warnings(), mpl.rc_context():  # Optuna sets a style
        warnings.simplefilter("ignore")  # that plots are experimental, or an axis has no length
        mpl.use("agg")  # no display is needed
        draw()
        figure = plt.gcf()
        figure.set_size_inches(width, SIZE[1])
        figure.suptitle("")  # the page has the title
        for axes in figure.axes:
            for where in ("left", "center"):
                axes.set_title("", loc=where)
            arrange(axes)
        mpl.rcParams["svg.fonttype"] = "none"  # text stays text
        mpl.rcParams["svg.hashsalt"] = "sweep"  # the same study gives the same file
        figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
    content = base64.b64encode(file.getvalue()).decode()
    return Chart(title, text, content, width, is_half=is_half)


def _arrange_history(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="best")


def _arrange_epochs(axes: Axes, metric: str) -> None:
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(metric)
    legend = axes.get_legend()
    if legend and len(axes.lines) > IN_LEGEND:
        legend.remove()
    elif legend:
        axes.legend(loc="best")


def _arrange_importance(axes: Axes) -> None:
    """Leave out the legend of one colour, and the title of an axis that speaks for itself."""
    labels = [shortened(label.get_text()) for label in axes.get_yticklabels()]
    axes.set_yticks(axes.get_yticks(), labels)
    axes.set_ylabel("")
    if legend := axes.get_legend():
        legend.remove()


def _arrange_coordinates(axes: Axes, names: list[str]) -> None:
    """Name the axes, whose names Optuna cuts at the end; shorten the values of a category."""
    axes.tick_params(axis="y", which="both", labelsize="small")
    if len(axes.get_xticks()) == len(names):
        axes.set_xticks(range(len(names)), [shortened(name) for name in names])
    if isinstance(axes.yaxis.get_major_formatter(), FuncFormatter):
        labels = [shortened(label.get_text(), VALUE) for label in axes.get_yticklabels()]
        axes.set_yticks(axes.get_yticks(), labels)


def _arrange_slice(axes: Axes) -> None:
    axes.set_xlabel(shortened(axes.get_xlabel()), fontsize="small")
    if isinstance(axes.xaxis.get_major_formatter(), StrCategoryFormatter):
        texts = [label.get_text().strip("'") for label in axes.get_xticklabels()]
        axes.set_xticks(axes.get_xticks(), [shortened(text, VALUE) for text in texts])
    axes.tick_params(axis="x", labelrotation=25)


def shortened(name: str, letters: int = LETTERS) -> str:
    """Return the end of a long name, which tells a dotted one from the others."""
    return name if len(name) <= letters else f"…{name[-letters:]}"
