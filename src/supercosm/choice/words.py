"""What each family is, in a line for newcomers, and what only some can do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """noise: where a sample's randomness comes from. trained: by what. sampled: how a sample is made of noise."""

    noise: str
    trained: str
    sampled: str
    likelihood: bool = False


FAMILIES = {
    "unet": Words(
        "small-scale modes of the initial conditions, drawn from their known prior",
        "regression: least error, the true modes given",
        "one evaluation",
    ),
    "gan": Words(
        "drawn modes, or white noise inside the network",
        "against a critic that learns to tell its boxes from true ones",
        "one evaluation",
    ),
    "ensemble": Words(
        "drawn modes, or white noise inside the network",
        "two draws at a time by a proper score: close to the truth, and as far from each other as they err",
        "one evaluation",
    ),
    "vae": Words(
        "a few latent numbers per coarse cell, from a Gaussian prior; drawn modes beside them, if configured",
        "an encoder that sees the truth says what the decoder needs to know; a penalty keeps it near the prior",
        "one evaluation of the decoder",
    ),
    "flow": Words(
        "white noise, one number for each of the sample; drawn modes beside it, if configured",
        "maximum likelihood, exact because every layer can be inverted",
        "the layers, backwards",
        likelihood=True,
    ),
    "flow_matching": Words(
        "white noise, or drawn modes and a little of it",
        "a velocity that carries noise to the truth along straight lines",
        "a few evaluations, each a step along the line",
    ),
    "diffusion": Words(
        "white noise; drawn modes beside it, if configured",
        "to remove noise of any strength from the truth",
        "several evaluations, from pure noise through ever less of it",
    ),
}
UNKNOWN = Words("–", "–", "–")


def words(family: str) -> Words:
    """Return what a family is; dashes for one that nobody has described here yet."""
    return FAMILIES.get(family, UNKNOWN)
