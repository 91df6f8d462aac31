"""The kinds of user models and their configurations; reading them needs no TensorFlow."""

from tfrec.environments.fitted.choice_model_config import ChoiceModelConfig
from tfrec.environments.fitted.user_model_config import UserModelConfig

RECURRENT = "recurrent"
ADVERSARIAL = "adversarial"
CONFIGS = {RECURRENT: UserModelConfig, ADVERSARIAL: ChoiceModelConfig}
