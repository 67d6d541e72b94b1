"""The weight of the KL penalty over a training: fixed, or steering for a divergence."""

from __future__ import annotations

from custodes.training.rl.options import PpoOptions

__all__ = ["AdaptiveKLController", "FixedKLController", "kl_controller"]


class FixedKLController:
    """A beta that stays.

    Attributes:
        value: Beta.
    """

    def __init__(self, value: float) -> None:
        self.value = value

    def update(self, kl: float, completions: int) -> None:
        """Do nothing."""


class AdaptiveKLController(FixedKLController):
    """A beta that steers for a KL divergence (Ziegler et al. 2019, section 2.2).

    Attributes:
        value: Beta.
        target: The divergence, in nats a completion.
        horizon: Completions over which it reacts.
    """

    def __init__(self, value: float, target: float, horizon: int) -> None:
        super().__init__(value)
        self.target, self.horizon = target, horizon

    def update(self, kl: float, completions: int) -> None:
        """Raise beta where the divergence is above its target, by at most 20% a horizon."""
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.value *= 1 + error * completions / self.horizon


def kl_controller(settings: PpoOptions) -> FixedKLController:
    """Return the controller that the options ask for."""
    if settings.target_kl:
        return AdaptiveKLController(settings.beta, settings.target_kl, settings.horizon)
    return FixedKLController(settings.beta)
