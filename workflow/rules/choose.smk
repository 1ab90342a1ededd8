rule evaluations:
    """Sample the first test seed with few and with many evaluations of the network, and compare with the true run."""
    input:
        snapshot=f"<results>/simulations/{CONFIG.seeds.test[0]}/low.hdf5",
        reference=f"<results>/simulations/{CONFIG.seeds.test[0]}/high.hdf5",
        model=model_of,
    output:
        "<results>/evaluations/{entry}.ecsv",
    log:
        "<results>/logs/evaluations/{entry}.log",
    benchmark:
        "<results>/benchmarks/evaluations/{entry}.tsv"
    wildcard_constraints:
        entry=one_of(ITERATIVE),
    threads: 2
    resources:
        gpu=gpus_of_entry,
        mem_mb=box_memory,
        runtime=study_minutes,
    params:
        folder=source_of,
        settings=settings("evaluations"),
    shell:
        "supercosm evaluations {input.snapshot:q} --model {params.folder:q} --reference {input.reference:q}"
        " --output {output:q} --settings {params.settings:q} 2>&1"
        " | (trap '' TERM USR1; tee {log:q})"


rule families:
    """Put all families side by side: quality, calibration, realism, diversity and cost."""
    input:
        metrics="<results>/evaluation/metrics.ecsv",
        tables=expand("<results>/evaluation/{name}.ecsv", name=SUMMARIES),
        cards=expand("<results>/models/{model}/model.json", model=CONFIG.models),
        costs=family_costs(),
        scores=family_scores(),
        boxes=regression_boxes(),
    output:
        report(
            "<results>/evaluation/families.ecsv",
            caption="../report/families.rst",
            category="Families",
            labels={"table": "families"},
        ),
    log:
        "<results>/logs/families/families.log",
    benchmark:
        "<results>/benchmarks/families/families.tsv"
    resources:
        mem_mb=box_memory,
        runtime=minutes(10, 1.0),
    params:
        results=subpath(output[0], ancestor=2),
        settings=lambda wildcards: choice_settings(CONFIG),
    shell:
        "supercosm families {params.results:q} --output {output:q} --settings {params.settings:q} > {log:q} 2>&1"
