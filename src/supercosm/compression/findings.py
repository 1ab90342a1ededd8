"""What the numbers of compression say, in words: where principal components win, whose files are smallest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy.table import QTable

from supercosm.compression import codefigures
from supercosm.compression.coder import CoderCard
from supercosm.compression.ratedistortion import at_power_error
from supercosm.compression_settings import Convolutional, Dense

ARENAS = {"box": "Log density of a box", "particles": "Displacements of a box"}


def sentences(cards: dict[str, CoderCard], tables: dict[str, QTable], drawn: QTable) -> list[str]:
    """Say what the tables of the arenas, and of what variational coders draw, show."""
    return [*_on_pca(cards, tables["patches"]), *_on_files(tables), *_on_relu(cards), *_on_priors(cards, drawn)]


def unexplained_by(table: QTable) -> dict[str, float]:
    """Return what each coder leaves unexplained, its latents not quantised."""
    rows = table[~np.isfinite(np.asarray(table["bits"], float))]
    return {str(name): float(value) for name, value in zip(rows["coder"], rows["unexplained"], strict=True)}


def ratios(table: QTable) -> Iterator[dict[str, Any]]:
    """Compare files at one error of P(k): bits per cell and ratio to float32, smallest first."""
    found = []
    for coder in dict.fromkeys(table["coder"]):
        bits = at_power_error(table, coder, codefigures.TARGET)
        if np.isfinite(bits):
            found.append({"coder": codefigures.name_of(coder), "id": coder, "bits": bits, "ratio": 32 / bits})
    yield from sorted(found, key=lambda row: row["bits"])


def _on_pca(cards: dict[str, CoderCard], table: QTable) -> Iterator[str]:
    """Say where principal components win, and which network beats them."""
    errors = unexplained_by(table)
    pcas = {cards[n].settings.latents: e for n, e in errors.items() if cards[n].settings.kind == "pca"}
    won = False
    for latents, pca in sorted(pcas.items()):
        alike = [(e, n) for n, e in errors.items() if cards[n].settings.latents == latents]
        dense = [e for e, n in alike if isinstance(cards[n].settings, Dense)]
        built = [(e, n) for e, n in alike if isinstance(cards[n].settings, Convolutional)]
        if dense:
            won |= pca < min(dense)
            verdict = "wins over" if pca < min(dense) else "loses against"
            yield (
                f"At {latents} numbers PCA leaves {100 * pca:.1f} % of the variance unexplained and {verdict} the best "
                f"dense autoencoder, which leaves {100 * min(dense):.1f} %."
            )
        if built:
            error, name = min(built)
            verdict = (
                f"{100 * abs(1 - error / pca):.0f} % {'less' if error < pca else 'more'} than PCA's {100 * pca:.1f} %"
            )
            yield f"{name}, built on PCA, leaves {100 * error:.1f} %: {verdict}."
    if won:
        yield (
            "Why PCA is hard to beat: the logarithm of the density is close to a Gaussian field, for which principal "
            "components are the best code of all, and they are computed where a network has to find them step by step."
        )


def _on_files(tables: dict[str, QTable]) -> Iterator[str]:
    """Say how our smallest file compares with SZ3's and ZFP's on the same data, at the same error of P(k)."""
    for arena in ("box", "particles"):
        rows = {row["id"]: row for row in ratios(tables[arena])}
        ours = [row for name, row in rows.items() if name not in codefigures.RIVALS]
        theirs = [(name, rows[name]) for name in ("sz3", "zfp", "sperr") if name in rows]
        if ours and theirs:
            best = min(ours, key=lambda row: row["bits"])
            compared = ", ".join(
                f"{codefigures.name_of(n)} {r['ratio']:.1f} ({r['bits'] / best['bits']:.2f} times its size)"
                for n, r in theirs
            )
            yield (
                f"{ARENAS[arena]}, at {100 * codefigures.TARGET:.0f} % error of P(k) up to half the mesh Nyquist "
                f"frequency: our smallest file, {best['coder']}, is {best['ratio']:.1f} times smaller than float32; "
                f"{compared}."
            )


def _on_relu(cards: dict[str, CoderCard]) -> Iterator[str]:
    """Count the latents that never change, by the activation of the bottleneck."""
    for bottleneck in ("relu", "linear"):
        dense = [
            card
            for name, card in cards.items()
            if isinstance(card.settings, Dense) and card.settings.bottleneck == bottleneck and "-" not in name
        ]
        if dense:
            counted = ", ".join(f"{card.name} {card.dead_latents} of {card.settings.latents}" for card in dense)
            yield f"Dead latents, which never change, behind a {bottleneck} bottleneck: {counted}."


def _on_priors(cards: dict[str, CoderCard], drawn: QTable) -> Iterator[str]:
    for name in dict.fromkeys(drawn["coder"]):
        rows = drawn[drawn["coder"] == name]
        worst, density = (
            float(np.abs(np.asarray(rows[f"{kind}sample"]) / np.asarray(rows[f"{kind}data"]) - 1).max())
            for kind in ("", "density_")
        )
        listed = ", ".join(f"{value:.2g}" for value in cards[name].information)
        yield (
            f"P(k) of samples drawn from {name} is within {100 * worst:.0f} % of the data's (of log density; of the "
            f"density, {100 * density:.0f} %). Its latents carry [nats]: {listed}."
        )
