"""The settings of compression: which coders there are, how they are trained, what is mapped."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from supercosm.model_settings import Model, Network
from supercosm.settings import Settings

Scaling = Literal["standard", "unit"]
Ending = Literal["linear", "sigmoid"]
Reconstruction = Literal["mse", "bce"]

# which last activation and loss fit which scaling of the data; the report shows this table
FITTING: dict[tuple[Scaling, Ending, Reconstruction], str] = {
    ("standard", "linear", "mse"): "right: values have no bounds, and errors count alike everywhere",
    ("unit", "linear", "mse"): "possible: nothing keeps the output in [0, 1], and nothing saturates",
    ("unit", "sigmoid", "mse"): "possible: bounded as the data are, but gradients vanish near 0 and 1",
    ("unit", "sigmoid", "bce"): "right for values that are probabilities; of others it is a weighted error",
    ("standard", "sigmoid", "mse"): "wrong: a sigmoid ends in (0, 1), and half of the standardised values are negative",
    ("standard", "sigmoid", "bce"): "wrong: cross-entropy compares probabilities, and these values leave [0, 1]",
    ("standard", "linear", "bce"): "wrong: cross-entropy takes logarithms of the output, which may be negative here",
    ("unit", "linear", "bce"): "wrong: cross-entropy takes logarithms of the output, which may be negative here",
}


class Fit(Settings):
    """How a coder is trained."""

    epochs: int = Field(20, ge=1, description="passes over the training patches")
    batch: int = Field(100, ge=1, description="patches per step")
    optimiser: Literal["adam", "adadelta"] = Field(
        "adam", description="adam: with weight decay · adadelta: needs a learning rate of 1"
    )
    learning_rate: float = Field(1e-3, gt=0, description="step of the optimiser, or its peak where it is scheduled")
    schedule: Literal["constant", "one-cycle"] = Field("constant", description="course of the learning rate")
    seed: int = Field(0, ge=0, description="seed of weights, order and symmetries")


class Coder(Settings):
    """What every coder has in common."""

    dimensions: Literal[2, 3] = Field(2, description="2: projected patches · 3: blocks of the volume")
    latents: int = Field(64, ge=1, description="numbers that describe a patch")


class Pca(Coder):
    """Principal components: the best linear code."""

    kind: Literal["pca"] = "pca"


class Downsample(Coder):
    """Means of cells, and interpolation back."""

    kind: Literal["downsample"] = "downsample"

    @model_validator(mode="after")
    def _whole_side(self) -> Downsample:
        if self.side**self.dimensions != self.latents:
            power = "square" if self.dimensions == 2 else "cube"
            raise ValueError(f"latents = {self.latents} of a downsampling must be a {power}, like {self.side}")
        return self

    @property
    def side(self) -> int:
        """Numbers per side."""
        return round(self.latents ** (1 / self.dimensions))


class Trained(Coder):
    """What trained coders have in common."""

    fit: Fit = Fit()
    sweep: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict, description="keys of this coder or of its fit, each with values: one coder for each"
    )

    def variants(self) -> dict[str, Trained]:
        """List the coders of the sweep by what is added to the name: `-30-0.01`; the coder itself without one."""
        found = {}
        keys = sorted(self.sweep)  # so that names do not depend on the order in a file
        for values in product(*(self.sweep[key] for key in keys)):
            changes = dict(zip(keys, values, strict=True))
            content = self.model_dump() | {"sweep": {}}
            for key, value in changes.items():
                (content["fit"] if key in Fit.model_fields else content)[key] = value
            found["".join(f"-{value}" for value in values)] = type(self).model_validate(content)
        return found

    @model_validator(mode="after")
    def _sweep_fits(self) -> Trained:
        known = (set(Fit.model_fields) | set(type(self).model_fields)) - {"sweep", "fit", "kind", "network", "hidden"}
        for key in self.sweep:
            if key not in known:
                raise ValueError(f"sweep: '{key}' is no key of this coder or of its fit; choose of {sorted(known)}")
        try:
            if len(self.sweep and self.variants()) != len(list(product(*self.sweep.values()))) and self.sweep:
                raise ValueError(f"sweep = {self.sweep} names a value twice; give every one once")
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"sweep: {where}: {first['msg']} (given: {first['input']!r})") from None
        return self


class Dense(Trained):
    """Fully connected autoencoder, ReLU inside."""

    kind: Literal["dense"] = "dense"
    hidden: list[Annotated[int, Field(ge=1)]] = Field([128], description="neurons of the layers before the latents")
    bottleneck: Literal["relu", "linear"] = Field("relu", description="activation of the latents; relu can kill them")
    scaling: Scaling = Field("unit", description="standard: mean 0, deviation 1 · unit: training range onto [0, 1]")
    ending: Ending = Field("linear", description="last activation")
    loss: Reconstruction = Field("mse", description="mse · bce: binary cross-entropy")

    @model_validator(mode="after")
    def _ending_fits(self) -> Dense:
        verdict = FITTING[self.scaling, self.ending, self.loss]
        if verdict.startswith("wrong"):
            raise ValueError(
                f"ending: {self.ending} with loss: {self.loss} on scaling: {self.scaling} is {verdict}; choose "
                "linear + mse, or scaling: unit with sigmoid + mse or sigmoid + bce"
            )
        return self


class Convolutional(Trained):
    """Autoencoder built on the principal components, with U-Nets before and after them."""

    kind: Literal["convolutional"] = "convolutional"
    network: Network = Network()


class Variational(Convolutional):
    """β-VAE of the same networks: Gaussian latents with a prior to draw from (Kingma & Welling 2014; Higgins 2017)."""

    kind: Literal["variational"] = "variational"
    beta: float = Field(1.0, gt=0, description="weight of the Kullback–Leibler term; 1: the evidence bound")
    warm_up: float = Field(0.3, ge=0, le=1, description="share of the training in which that weight grows from 0")
    free_bits: float = Field(0.0, ge=0, description="information per latent that costs nothing [nats]")


AnyCoder = Annotated[Pca | Downsample | Dense | Convolutional | Variational, Field(discriminator="kind")]


class Patches(Settings):
    """The patches that all coders share."""

    side: int = Field(28, ge=4, description="cells per side of a projected patch")
    thickness: float = Field(3.125, gt=0, description="thickness of the projected slabs [Mpc/h]")
    block: int = Field(8, ge=2, description="cells per side of a three-dimensional block")
    training: int = Field(8_000, ge=10, description="projected patches to train on")
    test: int = Field(1_000, ge=10, description="projected patches to validate on, and to test on")


class LatentMaps(Settings):
    """Maps of the latents onto two numbers."""

    methods: list[Literal["pca", "tsne", "lle", "isomap", "umap"]] = Field(
        ["pca", "tsne", "lle", "isomap", "umap"], description="how to map; umap needs `pip install supercosm[maps]`"
    )
    coders: list[str] = Field([], description="coders whose latents are mapped; the names in compression.coders")
    points: int = Field(1000, ge=50, description="latents in a map")
    perplexity: float = Field(30.0, gt=1, description="neighbours that t-SNE balances")
    early_exaggeration: float = Field(12.0, ge=1, description="factor on t-SNE's attraction at first")
    neighbours: int = Field(10, ge=2, description="neighbours of LLE, Isomap and UMAP, and of the scores")
    seed: int = Field(0, ge=0, description="of t-SNE and UMAP")

    @model_validator(mode="after")
    def _enough_points(self) -> LatentMaps:
        if self.points < 3 * self.perplexity + 2 or self.points < 2 * self.neighbours + 2:
            raise ValueError(
                f"compression.maps.points = {self.points} is too few for perplexity {self.perplexity:g} and "
                f"{self.neighbours} neighbours; give three times the perplexity"
            )
        return self


class Compression(Settings):
    """How few numbers describe a patch of the density field, and what is lost."""

    coders: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9.-]*$")], AnyCoder] = Field(
        default_factory=dict, description="any number of named coders; none: no such stage"
    )
    patches: Patches = Patches()
    steps: list[Annotated[float, Field(gt=0)]] = Field(
        [0.5, 0.8, 1.1, 1.4, 1.8, 2.4],
        min_length=2,
        description="quantisation of the latents: step in rms of log density, over the range that curves show",
    )
    bounds: list[Annotated[float, Field(gt=0)]] = Field(
        [0.3, 0.6, 1.0, 1.5, 2.2],
        min_length=2,
        description="error bounds of other compressors on log density",
    )
    lengths: list[Annotated[float, Field(gt=0)]] = Field(
        [0.1, 0.2, 0.3, 0.5],
        min_length=2,
        description="error bounds on displacements [Mpc/h]",
    )
    predictor: str | None = Field(
        None, description="model whose super-resolved low run predicts the displacement; none: no such curve"
    )
    gallery: int = Field(6, ge=1, description="patches shown with their reconstructions")
    maps: LatentMaps = LatentMaps()

    def expanded(self) -> dict[str, AnyCoder]:
        """List the coders, each of a sweep by itself, by name."""
        found: dict[str, AnyCoder] = {}
        for name, coder in self.coders.items():
            sweep = coder.variants() if isinstance(coder, Trained) and coder.sweep else {"": coder}
            found |= {name + suffix: variant for suffix, variant in sweep.items()}
        return found

    @model_validator(mode="after")
    def _coders_fit(self) -> Compression:
        for name, coder in self.expanded().items():
            side = self.patches.side if coder.dimensions == 2 else self.patches.block
            if coder.latents > side**coder.dimensions:
                raise ValueError(
                    f"compression.coders.{name}.latents = {coder.latents} are more than the {side**coder.dimensions} "
                    "cells of a patch"
                )
            if isinstance(coder, Convolutional) and side % coder.network.unit:
                raise ValueError(
                    f"compression.coders.{name}: its patch of {side} cells is not a multiple of patch × 2^(levels-1) = "
                    f"{coder.network.unit}"
                )
        return self

    def fault(self, models: Mapping[str, Model]) -> str | None:
        """Say what does not fit: maps of coders that are not there, or a predictor that gives no displacements.

        models: those applied at the last output.
        """
        known = self.expanded()
        if not known:
            return None
        for name in self.maps.coders:
            if name not in known or known[name].dimensions != 2:
                return (
                    f"compression.maps.coders: '{name}' is no coder of projected patches (coders there: "
                    f"{', '.join(k for k, coder in known.items() if coder.dimensions == 2) or 'none'})"
                )
        if self.predictor is None:
            return None
        model = models.get(self.predictor)
        if model is None or model.fields != "displacement":
            return (
                f"compression.predictor = '{self.predictor}' must name a model of displacements at the last output "
                f"(models there: {', '.join(models) or 'none'}), or be null"
            )
        return None
