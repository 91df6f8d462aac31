"""The optional package Gymnasium: `from ...gymnasium_package import gymnasium`."""

from tfrec.errors import UserError

try:
    import gymnasium
except ImportError as error:
    raise UserError(
        f"Gymnasium cannot be imported ({error}); install it: pip install 'gymnasium>=1.1,<2'"
    ) from error

__all__ = ["gymnasium"]
