"""The kinds of user models and their configurations; importing them needs no TensorFlow."""

from collections.abc import Mapping

from tfrec.environments.fitted.choice_model_config import ChoiceModelConfig
from tfrec.environments.fitted.recurrent_model_config import RecurrentModelConfig

RECURRENT = "recurrent"
ADVERSARIAL = "adversarial"

Config = RecurrentModelConfig | ChoiceModelConfig
CONFIGS: Mapping[str, type[Config]] = {
    RECURRENT: RecurrentModelConfig,
    ADVERSARIAL: ChoiceModelConfig,
}
