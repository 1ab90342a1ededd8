"""The report's section on compression: its figures, its tables, and what the numbers say in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import QTable

from supercosm.compression import codefigures
from supercosm.compression.coder import CoderCard, read_card
from supercosm.compression.findings import ratios, sentences, unexplained_by
from supercosm.compression.latentmaps import Scores
from supercosm.compression.mapfigures import Check, latent_maps, sanity_maps
from supercosm.compression_settings import FITTING, Dense, Trained
from supercosm.config import Config
from supercosm.files import hdf5_reader
from supercosm.history import read_history
from supercosm.pictures import save_figure
from supercosm.stages import compression_figures
from supercosm.tables import read_table

INTRODUCTION = (
    "How few numbers describe a patch of the density field, what is lost, and what the latent space looks like. All "
    "coders were trained on the same patches, and are measured on patches of boxes that none of them has seen."
)
ARENAS = {
    "patches": (
        "Projected patches",
        "log density",
        "Files of projected patches of the test boxes: towards the lower left is better. The grey line marks 5 % in "
        "P(k).",
    ),
    "box": (
        "Log density of a box",
        "log density",
        "The density of one test box, {side}³ cells: block coders beside the compressors that people use.",
    ),
    "particles": (
        "Displacements of a box",
        "displacement [Mpc/h]",
        "Displacements of the same box's particles, coded within error bounds; what is lost is shown of the density "
        "that the decoded particles paint. “Of the difference to the prediction”: what the super-resolved low run, "
        "which pairs hold anyway, does not predict.",
    ),
}
LOSSES = {
    "mse": "mean squared error",
    "bce": "binary cross-entropy [nats]",
    "bound": "exp(−2 evidence bound per cell)",
}


def section(config: Config, results: Path) -> dict[str, Any] | None:
    """Draw the figures into results/figures and gather what the page shows; None where no coder is asked for."""
    settings = config.compression.expanded()
    if not compression_figures(config):
        return None
    folder = results / "compression"
    cards = {name: read_card(folder / "coders" / name) for name in settings}
    tables = {arena: read_table(folder / f"{arena}.ecsv") for arena in ARENAS}
    shown = _Drawing(results, config.report.pdf)
    _draw_curves(shown, tables, cards, config)
    _draw_gallery(shown, folder, cards, unexplained_by(tables["patches"]))
    _draw_training(shown, folder, cards, tables["patches"])
    _draw_maps(shown, folder, config)
    return {
        "introduction": INTRODUCTION,
        "figures": shown.figures,
        "coders": _coder_rows(cards, tables["patches"]),
        "fitting": [
            {"scaling": scaling, "ending": ending, "loss": loss, "verdict": verdict}
            for (scaling, ending, loss), verdict in FITTING.items()
        ],
        "ratios": {arena: list(ratios(table)) for arena, table in tables.items() if arena != "patches"},
        "sentences": sentences(cards, tables, read_table(folder / "prior.ecsv")),
    }


class _Drawing:
    """The figures of the section, saved as they come."""

    def __init__(self, results: Path, pdf: bool) -> None:
        self.results, self.pdf = results, pdf
        self.figures: list[dict[str, Any]] = []

    def add(self, figure: Any, name: str, title: str, look: str, table: str) -> None:
        image = save_figure(figure, self.results / "figures" / f"compression_{name}.png", self.pdf)
        broad = figure.get_figwidth() > 7
        self.figures.append({"image": image, "title": title, "look": look, "table": table, "broad": broad})


def _draw_curves(shown: _Drawing, tables: dict[str, QTable], cards: dict[str, CoderCard], config: Config) -> None:
    kinds = {name: card.settings.kind for name, card in cards.items() if card.settings.dimensions == 2}
    shown.add(
        codefigures.unexplained(tables["patches"], kinds),
        "unexplained",
        "Numbers per patch",
        "variance of held-out patches that so many numbers, not yet quantised, leave unexplained; the line joins the "
        "best of each kind. Lower is better at the same number; above 1 a coder is worse than the mean patch.",
        "compression/patches.ecsv",
    )
    for arena, (title, of, look) in ARENAS.items():
        table = _best_of_each(tables[arena], cards)
        figure = codefigures.rate_distortion(table, of)
        text = look.format(side=config.simulation.high)
        shown.add(figure, arena, f"Rate and distortion: {title.lower()}", text, f"compression/{arena}.ecsv")


def _best_of_each(table: QTable, cards: dict[str, CoderCard]) -> QTable:
    """Keep of each kind and number of latents the coder that leaves the least unexplained: curves hide each other."""
    best: dict[tuple[str, int], tuple[float, str]] = {}
    for name, value in unexplained_by(table).items():
        place = (cards[name].settings.kind, cards[name].settings.latents)
        best[place] = min(best.get(place, (np.inf, "")), (value, name))
    kept = {name for _, name in best.values()}
    return table[[name in kept or name not in cards or cards[name].settings.dimensions == 3 for name in table["coder"]]]


def _draw_gallery(shown: _Drawing, folder: Path, cards: dict[str, CoderCard], errors: dict[str, float]) -> None:
    with hdf5_reader(folder / "gallery.hdf5", "gallery") as file:
        arrays = {name: {key: data[:] for key, data in group.items()} for name, group in file.items()}
    length = next(card.patch * card.cell for card in cards.values() if card.settings.dimensions == 2)
    names = _one_of_each_kind(cards, errors)
    shown.add(
        codefigures.reconstructions(arrays, names, length),
        "gallery",
        "Reconstructions",
        "original | latents | reconstruction of the same test patches. Filaments that a coder blurs or moves are lost.",
        "compression/gallery.hdf5",
    )
    drawn = read_table(folder / "prior.ecsv")
    for name in dict.fromkeys(drawn["coder"]):
        rows = drawn[drawn["coder"] == name]
        shown.add(
            codefigures.prior(rows, cards[name].information),
            f"prior_{name}",
            f"What {name} draws",
            "P(k) of patches drawn from the prior (grey: ±20 %), and the information each latent carries; one near 0 "
            f"has collapsed ({sum(v < 0.01 for v in cards[name].information)} of {cards[name].settings.latents} carry "
            "less than 0.01 nats).",
            "compression/prior.ecsv",
        )
        shown.add(
            codefigures.latent_walks(arrays[name], length),
            f"walks_{name}",
            f"Walks through the latents of {name}",
            "what single latents do, and whether the way between two patches leads through patches. A straight mean of "
            "two fields shows both at half strength.",
            "compression/gallery.hdf5",
        )


def _one_of_each_kind(cards: dict[str, CoderCard], errors: dict[str, float]) -> list[str]:
    """Choose of each kind, among the coders of most latents, the one that leaves the least unexplained."""
    found: dict[str, tuple[int, float, str]] = {}
    for name, error in errors.items():
        kind, place = cards[name].settings.kind, (-cards[name].settings.latents, error, name)
        found[kind] = min(found.get(kind, place), place)
    return [name for _, _, name in found.values()]


def _draw_training(shown: _Drawing, folder: Path, cards: dict[str, CoderCard], table: QTable) -> None:
    histories, groups = {}, {}
    for name, card in cards.items():
        if not isinstance(card.settings, Trained):
            continue
        history = read_history(folder / "coders" / name / "history.csv")
        loss = LOSSES[getattr(card.settings, "loss", "bound" if card.information else "mse")]
        histories[name] = {
            "step": history["step"],
            "train": history["train_loss"],
            "validation": history["validation_loss"],
            "loss": loss,
        }
        groups.setdefault(name.partition("-")[0], []).append(name)
    if histories:
        shown.add(
            codefigures.losses(histories),
            "losses",
            "Loss curves",
            "training (thin) and validation (thick). Losses of different kinds are no comparable numbers: compare "
            "coders by the table's held-out errors. A thick line that turns up asks for more boxes; one that still "
            "falls, for more epochs.",
            "compression/coders/…/history.csv",
        )
    errors = unexplained_by(table)
    swept = [
        name
        for names in groups.values()
        for name in names
        if len({cards[n].settings.fit.learning_rate for n in names}) > 1 and name in errors
    ]
    if swept:
        fits = [cards[name].settings.fit for name in swept]
        shown.add(
            codefigures.sweep(
                np.array([fit.learning_rate for fit in fits]),
                np.array([fit.batch for fit in fits]),
                np.array([errors[name] for name in swept]),
                [fit.optimiser for fit in fits],
            ),
            "sweep",
            "Learning rate and batch size",
            "one network, one number of epochs: the lowest point is the choice.",
            "compression/patches.ecsv",
        )


def _draw_maps(shown: _Drawing, folder: Path, config: Config) -> None:
    for name in config.compression.maps.coders:
        table = read_table(folder / "maps" / f"{name}.ecsv")
        scores = _scores(table.meta, config)
        maps = {method: np.stack([table[f"{method}_x"], table[f"{method}_y"]], axis=1) for method in scores}
        colours = {
            "mean density": np.exp(np.asarray(table["log_density"])),
            "environment": np.asarray(table["environment"], float),
            "cosmology": np.asarray(table["sigma8"], float),
        }
        left_out = table.meta["left_out"]
        by_chance = table.meta["chance"]
        shown.add(
            latent_maps(maps, colours, scores),
            f"maps_{name}",
            f"Maps of the latents of {name}",
            f"{table.meta['latents']} latents on a plane. Clusters and distances in such maps can deceive: trust a map "
            f"as far as its neighbours are kept (of {table.meta['neighbours']}; by chance "
            f"{100 * by_chance['preservation']:.0f} %, trustworthiness {by_chance['trustworthiness']:.2f})."
            + (f" Not installed, so left out: {', '.join(left_out)}." if left_out else ""),
            f"compression/maps/{name}.ecsv",
        )
    if config.compression.maps.coders:
        table = read_table(folder / "sanity.ecsv")
        shown.add(
            sanity_maps(list(_checks(table, config))),
            "sanity",
            "A check of the maps",
            "sheets that are known to unroll: PCA only looks at them from one side, the others should lay them flat.",
            "compression/sanity.ecsv",
        )


def _scores(meta: dict[str, Any], config: Config) -> dict[str, Scores]:
    """Return the scores of the maps in the order of the configuration."""
    return {m: Scores(**meta["scores"][m]) for m in config.compression.maps.methods if m in meta["scores"]}


def _checks(table: QTable, config: Config) -> Iterator[Check]:
    for shape, meta in table.meta["shapes"].items():
        rows = table[table["shape"] == shape]
        scores = _scores(meta, config)
        yield Check(
            shape=shape,
            points=np.stack([rows[axis] for axis in "xyz"], axis=1),
            along=np.asarray(rows["along"]),
            maps={method: np.stack([rows[f"{method}_x"], rows[f"{method}_y"]], axis=1) for method in scores},
            scores=scores,
        )


def _float_row(table: QTable, name: str) -> Any | None:
    rows = table[(table["coder"] == name) & ~np.isfinite(np.asarray(table["bits"], float))]
    return rows[0] if len(rows) else None


def _coder_rows(cards: dict[str, CoderCard], table: QTable) -> list[dict[str, Any]]:
    """List the coders of projected patches by latents, with the best of each number marked."""
    rows = []
    for name, card in cards.items():
        found = _float_row(table, name)
        if found is None:
            continue
        own = card.settings
        rows.append(
            {
                "name": name,
                "kind": own.kind,
                "latents": own.latents,
                "ending": f"{own.ending} + {own.loss}" if isinstance(own, Dense) else "–",
                "optimiser": f"{own.fit.optimiser}, {own.fit.learning_rate:g}" if isinstance(own, Trained) else "–",
                "epochs": own.fit.epochs if isinstance(own, Trained) else 0,
                "parameters": card.parameters,
                "dead": card.dead_latents,
                "curve": card.diagnosis.partition(":")[0].partition(".")[0] if isinstance(own, Trained) else "–",
                "unexplained": float(found["unexplained"]),
                "rmse": float(found["rmse"]),
                "power_error": float(found["power_error"]),
                "seconds": card.training_seconds,
            }
        )
    for row in rows:
        rivals = [other["unexplained"] for other in rows if other["latents"] == row["latents"]]
        row["best"] = len(rivals) > 1 and row["unexplained"] == min(rivals)
    return sorted(rows, key=lambda row: (-row["latents"], row["unexplained"]))
