"""The baselines as recommenders: fit, play, rank, save."""

from tfrec.methods.recommender import Recommender


class WideAndDeep(Recommender):
    """Wide & Deep (Cheng et al., 2016): ranks by the chance of a click now."""

    method = "wide_and_deep"


class DIEN(Recommender):
    """Deep interest evolution network (Zhou et al., 2019): ranks by the chance of a click."""

    method = "dien"


class DynaQ(Recommender):
    """Deep Dyna-Q (Peng et al., 2018): a DQN that also learns from simulated steps."""

    method = "dyna_q"


class ItemCounts(Recommender):
    """Counts of each item's clicks and exits with Thompson sampling: a control."""

    method = "item_counts"


class Rainbow(Recommender):
    """Rainbow (Hessel et al., 2018): a distributional, dueling, prioritized double DQN."""

    method = "rainbow"


class TD3(Recommender):
    """TD3 (Fujimoto et al., 2018) on item vectors: the nearest item, or the best of some."""

    method = "td3"
