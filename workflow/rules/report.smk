rule report:
    """Draw the figures and write the report, one self-contained page."""
    input:
        tables=[rules.evaluate.output.spectra, rules.evaluate.output.metrics],
        models=expand(
            "<results>/models/{model}/{file}", model=CONFIG.models, file=["model.json", "history.csv"]
        ),
        judgement=judgement_tables(),
        compression=compression_results(),
        classification=classification_results(),
        pictured=pictured,
    output:
        page=report(
            "<results>/report/index.html",
            caption="../report/page.rst",
            category="Report",
            labels={"page": "pictures, spectra, comparison, cost, provenance"},
        ),
        pictures=[
            report(
                f"<results>/figures/density{tag}.png",
                caption="../report/picture.rst",
                category="Pictures",
                labels={"output": tag.lstrip("_") or "last"},
            )
            for tag in USED_TAGS
        ],
        spectra=[
            report(
                f"<results>/figures/{kind}_{field}{tag}.png",
                caption=f"../report/{kind}.rst",
                category="Spectra",
                labels={"of": field, "curve": kind, "output": tag.lstrip("_") or "last"},
            )
            for tag in USED_TAGS
            for field in ("density", "displacement")
            for kind in ("power", "transfer", "correlation")
        ],
        families=[
            report(
                f"<results>/figures/families_{name}.png",
                caption="../report/families.rst",
                category="Families",
                labels={"figure": name},
            )
            for name in choice_figures(CONFIG)
        ],
        judgement=[
            report(
                f"<results>/figures/{name}.png",
                caption=caption_of(section),
                category=section,
                labels={"figure": name.replace("_", " ")},
            )
            for section, name in FIGURES
        ],
        compression=[
            report(
                f"<results>/figures/compression_{name}.png",
                caption="../report/compression.rst",
                category="Compression",
                labels={"figure": name.replace("_", " ")},
            )
            for name in checked(compression_figures, CONFIG)
        ],
        classification=[
            report(
                f"<results>/figures/classification_{task}_{name}.png",
                caption="../report/classification.rst",
                category="Classification",
                labels={"task": task, "figure": name.replace("_", " ")},
            )
            for task, names in classification_figures(CONFIG).items()
            for name in names
        ],
    log:
        "<results>/logs/report/report.log",
    benchmark:
        "<results>/benchmarks/report/report.tsv"
    resources:
        mem_mb=box_memory,
        runtime=minutes(15, 2.0),
    params:
        folder=subpath(output.page, ancestor=2),
        settings=settings("report"),
    shell:
        "supercosm report {params.folder:q} --output {output.page:q} --settings {params.settings:q} > {log:q} 2>&1"
