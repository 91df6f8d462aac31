"""Names, colours and styles of all tables and plots.

A policy has one name and one colour everywhere. The colours are those of Okabe and Ito and of
Tol, which colour-blind readers can distinguish, also in grey print.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Sequence

# Policy -> name shown and colour, in the order in which they are shown.
_POLICIES = {
    "random": ("Random", "#999999"),
    "popularity": ("Popularity", "#56B4E9"),
    "recent_popularity": ("Popularity, last days", "#88AADD"),
    "item_neighbours": ("Item-kNN", "#AA7744"),
    "ease": ("EASE", "#44AA99"),
    "users_of_play": ("Users of play, by their clicks", "#555555"),
    "myopic": ("Best myopic", "#E69F00"),
    "item_counts": ("Item counts", "#667788"),
    "constant_item": ("Best constant item (privileged)", "#AA7744"),
    "fixed_list": ("Fixed list (privileged)", "#117733"),
    "memoryless": ("Memory-less (privileged)", "#AA4499"),
    "wide_and_deep": ("Wide&Deep", "#CC79A7"),
    "dien": ("DIEN", "#882255"),
    "stamp": ("STAMP", "#997700"),
    "causerec": ("CauseRec", "#6F4C9B"),
    "casr_stamp": ("CASR (STAMP)", "#BBCC33"),
    "casr_sasrec": ("CASR (SASRec)", "#EE8866"),
    "cocorec": ("CoCoRec", "#225555"),
    "causerec_encoder": ("CauseRec without counterfactuals", "#C2A5CF"),
    "cocorec_alone": ("CoCoRec without other users", "#77AA99"),
    "cocorec_one_category": ("CoCoRec without categories", "#AACCBB"),
    "pgpr_kg": ("PGPR", "#AA3377"),
    "sasrec": ("SASRec", "#CC3311"),
    "hstu": ("HSTU", "#EE3377"),
    "dyna_q": ("Dyna-Q", "#D55E00"),
    "rainbow": ("Rainbow", "#332288"),
    "td3": ("TD3", "#666633"),
    "goalrec_off": ("GoalRec-off", "#009E73"),
    "goalrec_paper": ("GoalRec, as in the paper", "#33BBAA"),
    "goalrec": ("GoalRec", "#0072B2"),
    # Methods that learn step by step. IMRL has the blue of GoalRec: no plot shows both.
    "imrl": ("IMRL", "#0072B2"),
    "imrl_e": ("IMRL-E", "#E69F00"),
    "imrl_a": ("IMRL-A", "#009E73"),
    "imrl_kl": ("IMRL-KL", "#CC79A7"),
    "imrl_ea": ("IMRL-EA", "#D55E00"),
    "imrl_e_copies": ("IMRL-E, copies", "#000000"),
    "imrl_e_one": ("IMRL-E, one copy", "#44AA99"),
    "imrl_e_learned": ("IMRL-E, learned graph", "#999933"),
    "imrl_a_faithful": ("IMRL-A, as printed", "#BBCC33"),
    "imrl_a_forward": ("IMRL-A, forward model", "#99DDFF"),
    "imrl_a_tenth": ("IMRL-A, bonus a tenth", "#AA3377"),
    "sac": ("SAC", "#882255"),
    "ddpg": ("DDPG", "#56B4E9"),
    "slateq": ("SlateQ", "#332288"),
    "reinforce": ("REINFORCE", "#AA4499"),
    "deers": ("DEERS", "#117733"),
    "kgrl": ("KGRL", "#DDCC77"),
    "tpgr": ("TPGR", "#88CCEE"),
    "pgpr": ("PGPR without a graph", "#661100"),
    # Controls of the simulators.
    "constant": ("One constant action", "#555555"),
    "top_interest": ("Top interest", "#555555"),
    "top_quality": ("Top quality", "#555555"),
    "heuristic": ("Interest x quality", "#555555"),
    "last_viewed": ("Last viewed", "#555555"),
    "most_viewed": ("Most viewed", "#555555"),
    "best_product": ("Best one product for all", "#555555"),
    "bayes": ("Bayes-optimal", "#555555"),
    "oracle": ("Oracle (sees the hidden user)", "#555555"),
    "exit_averse": ("Exit-averse", "#555555"),
    "log_improved": ("Log's policy, improved once (privileged)", "#997700"),
    "posterior": ("Posterior of the generator (privileged)", "#AA3377"),
    "optimum": ("Optimum", "#000000"),
}
_UNDER = ", goal "
_OTHERS = ("#AA4499", "#117733", "#88CCEE", "#DDCC77", "#661100", "#6699CC")

# Metric -> name shown and unit.
_METRICS = {
    "reward": ("Reward", "clicks per user session"),
    "ctr": ("CTR", "clicks per step"),
    "depth": ("Depth", "steps per user session"),
    "share": ("Share", "0 at random, 1 at the optimum"),
}

# Metric of a ranked list, which is named with its cutoff as in `ndcg@10` -> name and unit.
_LIST_METRICS = {
    "recall": ("Recall", "share of held-out items"),
    "precision": ("Precision", "share of the list"),
    "ndcg": ("nDCG", "1 for the best list"),
    "mrr": ("MRR", "1 / position of the first hit"),
    "map": ("MAP", "mean precision at hits"),
    "coverage": ("Coverage", "share of the catalogue"),
    "novelty": ("Novelty", "bits"),
}

RC = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.8,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "legend.frameon": False,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "figure.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.09,
    "figure.constrained_layout.w_pad": 0.09,
}


def under_goal(policy: str, goal: str) -> str:
    """The key of a policy that follows a goal, for which names, colours and order are known."""
    return f"{policy}{_UNDER}{goal}"


def policy_and_goal(key: str) -> tuple[str, str]:
    """The parts of a key of `under_goal`; the goal of another key is empty."""
    policy, _, goal = key.partition(_UNDER)
    return policy, goal


def ordered(policies: Iterable[str]) -> list[str]:
    """Sorts policies: listed ones from the weakest on, others, then privileged controls."""
    rank = {name: float(i) for i, name in enumerate(_POLICIES)}
    others = rank["exit_averse"] - 0.5
    return sorted(policies, key=lambda key: rank.get(policy_and_goal(key)[0], others))


def policy_name(policy: str) -> str:
    """The displayed name of a policy; its key if it is not listed."""
    name, goal = policy_and_goal(policy)
    shown = _POLICIES[name][0] if name in _POLICIES else name
    return under_goal(shown, goal) if goal else shown


def policy_colour(policy: str) -> str:
    """The colour of a policy; for one that is not listed, a function of its name."""
    name, _ = policy_and_goal(policy)
    if name in _POLICIES:
        return _POLICIES[name][1]
    return _OTHERS[zlib.crc32(name.encode()) % len(_OTHERS)]


def colours(names: Sequence[str]) -> list[str]:
    """Colours of policies and goals in one plot: each policy has one under all of its goals.

    They are distinct as long as there are enough.
    """
    policies = [policy_and_goal(name)[0] for name in names]
    others = list(dict.fromkeys(name for name in policies if name not in _POLICIES))
    return [
        policy_colour(name) if name in _POLICIES else _OTHERS[others.index(name) % len(_OTHERS)]
        for name in policies
    ]


def p_value(value: float) -> str:
    """A p-value for a table."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def metric_name(metric: str) -> str:
    """`Reward` for `reward`, `nDCG@10` for `ndcg@10`; a feedback column without underscores."""
    name, at, cutoff = metric.partition("@")
    if at and name in _LIST_METRICS:
        return f"{_LIST_METRICS[name][0]}@{cutoff}"
    return _METRICS[metric][0] if metric in _METRICS else metric.replace("_", " ")


def metric_unit(metric: str) -> str:
    """The unit of a metric; feedback columns are totals over a user's session."""
    name, at, _ = metric.partition("@")
    if at and name in _LIST_METRICS:
        return _LIST_METRICS[name][1]
    return _METRICS[metric][1] if metric in _METRICS else "per user session"


def decimals(values: Iterable[float]) -> int:
    """Number of decimals for a column of values, according to the largest."""
    largest = max((abs(value) for value in values), default=0.0)
    return 3 if largest < 1 else 2 if largest < 100 else 1 if largest < 1000 else 0


def formatter(values: Iterable[float], least: int = 0) -> Callable[[float], str]:
    """Makes a formatter of a column's numbers, with significant digits for the largest.

    Args:
      values: the column.
      least: minimum number of decimals.

    Returns:
      A function from a number to text: with `decimals`, or in scientific notation
      for amounts in tiny or huge units.
    """
    values = [abs(value) for value in values if math.isfinite(value)]
    largest = max(values, default=0.0)
    if 0.0 < largest < 0.01 or largest >= 1e7:
        return lambda value: f"{value:.2e}"
    places = max(decimals(values), least)
    return lambda value: f"{value:.{places}f}"
