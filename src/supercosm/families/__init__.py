"""One file per family: what is learnt, with which loss."""

from __future__ import annotations

from supercosm.config import AnyModel
from supercosm.families.base import Family
from supercosm.features import Features


def build_family(settings: AnyModel, features: Features) -> Family:
    """Build the family that the settings name."""
    from supercosm.families.diffusion import DiffusionFamily
    from supercosm.families.ensemble import EnsembleFamily
    from supercosm.families.flow import FlowFamily
    from supercosm.families.flowmatching import FlowMatchingFamily
    from supercosm.families.gan import GanFamily
    from supercosm.families.unet import UnetFamily
    from supercosm.families.vae import VaeFamily

    families = {
        "unet": UnetFamily,
        "gan": GanFamily,
        "ensemble": EnsembleFamily,
        "vae": VaeFamily,
        "flow_matching": FlowMatchingFamily,
        "diffusion": DiffusionFamily,
        "flow": FlowFamily,
    }
    return families[settings.family](settings, features)
