"""How a trained network makes a sample: one file per way, in passes that each see a bounded neighbourhood."""

from __future__ import annotations

from supercosm.family_settings import AnyModel
from supercosm.features import Features
from supercosm.schemes.coupling import FlowScheme
from supercosm.schemes.diffusion import DiffusionScheme
from supercosm.schemes.flowmatching import FlowMatchingScheme
from supercosm.schemes.latent import LatentScheme
from supercosm.schemes.scheme import Region, Scheme

__all__ = ["Region", "Scheme", "scheme_of"]

SCHEMES = {"vae": LatentScheme, "flow_matching": FlowMatchingScheme, "diffusion": DiffusionScheme, "flow": FlowScheme}


def scheme_of(settings: AnyModel, features: Features) -> Scheme:
    """Return the way in which a family makes samples: one evaluation, where it has none of its own."""
    return SCHEMES.get(settings.family, Scheme)(settings, features)
