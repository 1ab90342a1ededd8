rule measure:
    """Measure P(k), T(k) and r(k) of all samples of one entry and test seed against the true run."""
    input:
        samples=samples_of,
        reference=high_snapshot,
    output:
        "<results>/measures/{entry}/{seed}.ecsv",
    log:
        "<results>/logs/measure/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/measure/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(ENTRIES),
    resources:
        mem_mb=box_memory,
        runtime=minutes(60),
    params:
        settings=settings("measure"),
    shell:
        "supercosm measure {input.samples:q} --reference {input.reference:q} --output {output:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


rule evaluate:
    """Combine the measures of all entries and test seeds into the tables of spectra and metrics."""
    input:
        expand("<results>/measures/{entry}/{seed}.ecsv", entry=ENTRIES, seed=CONFIG.seeds.test),
    output:
        spectra=report(
            "<results>/evaluation/spectra.ecsv",
            caption="../report/spectra.rst",
            category="Tables",
            labels={"table": "spectra"},
        ),
        metrics=report(
            "<results>/evaluation/metrics.ecsv",
            caption="../report/metrics.rst",
            category="Tables",
            labels={"table": "metrics"},
        ),
    log:
        "<results>/logs/evaluate/evaluate.log",
    benchmark:
        "<results>/benchmarks/evaluate/evaluate.tsv"
    resources:
        mem_mb=2000,
        runtime=minutes(10),
    shell:
        "supercosm evaluate {input:q} --output-spectra {output.spectra:q} --output-metrics {output.metrics:q}"
        " > {log:q} 2>&1"
