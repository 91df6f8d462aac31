"""The embedded items as their attributes describe them.

    model = attribute_model(world)
    plan = exact_values.solve(world, reward, model=model).item
    value = exact_values.plan_value(world, reward, plan)

gives the exact value of a plan that knows the taste, the type and the fatigue of each user, and
of each item what its attributes say. It is the reference for models that read attributes, above
all on items that the log never shows. It is no bound: the plan learns nothing about an item
from the answers to it, and a policy that does may earn more.
"""

import numpy as np

from tfrec.data import synthetic, synthetic_attributes
from tfrec.environments import embedded, exact_values

_NODES = 40  # of the quadrature over quality


def attribute_model(world: embedded.EmbeddedWorld) -> exact_values.ItemModel:
    """Expected answers to each of the world's items, given its attributes alone.

    The attributes are those that `synthetic_attributes.attributes` draws for the world's
    configuration.
    """
    config = world.config
    table = synthetic_attributes.attributes(config, synthetic.truth(config))["item"]
    rows = {raw: row for row, raw in enumerate(table["item"])}
    items = table[[rows[str(raw)] for raw in world.vocabulary.items]]  # by dense id - 1
    return expected_model(config, synthetic_attributes.posterior(config, items))


def expected_model(
    config: synthetic.SyntheticConfig, probability: np.ndarray
) -> exact_values.ItemModel:
    """Expected answers to items whose cluster and kind are uncertain and quality is unknown.

    Args:
      config: the ground truth's constants.
      probability: float [N, Z, 3], of each cluster and kind.
    """
    click = _expected_click(config)[config.segments()[0]]  # [S, L, Z, 3]
    seconds = click * synthetic.expected_seconds(config, np.arange(synthetic.NUM_KINDS))
    return exact_values.ItemModel(
        click=np.einsum("slck,nck->sln", click, probability),  # [S, L, N]
        seconds=np.einsum("slck,nck->sln", seconds, probability),  # [S, L, N]
        cell=probability,
    )


def _expected_click(config: synthetic.SyntheticConfig) -> np.ndarray:
    """p(click) of an item of each cluster and kind, in the mean over its quality.

    Returns:
      float [Z, L, Z, 3], by taste, fatigue, cluster and kind.
    """
    node, weight = np.polynomial.hermite_e.hermegauss(_NODES)  # for exp(-x^2 / 2)
    shape = (config.num_tastes, 3, _NODES)
    cluster, kind, index = (grid.ravel() for grid in np.indices(shape))
    items = synthetic.Truth(
        cluster=cluster,
        kind=kind,
        click_logit=np.asarray(config.click_base)[kind] + config.quality * node[index],
        taste=np.zeros(0, np.int64),
    )
    levels = config.max_fatigue + 1
    taste, fatigue = (grid.ravel() for grid in np.indices((config.num_tastes, levels)))
    click = synthetic.click_probability(config, items, taste, fatigue)  # [Z * L, Z * 3 * Q]
    mean = click.reshape(-1, _NODES) @ (weight / weight.sum())
    return mean.reshape(config.num_tastes, levels, config.num_tastes, 3)
