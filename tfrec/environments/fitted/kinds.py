"""The kinds of user models and their configurations; reading them needs no TensorFlow."""

from collections.abc import Mapping

from tfrec.environments.fitted.choice_model_config import ChoiceModelConfig
from tfrec.environments.fitted.user_model_config import UserModelConfig

RECURRENT = "recurrent"
ADVERSARIAL = "adversarial"

Config = UserModelConfig | ChoiceModelConfig
CONFIGS: Mapping[str, type[Config]] = {
    RECURRENT: UserModelConfig,
    ADVERSARIAL: ChoiceModelConfig,
}
