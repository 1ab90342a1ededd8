rule compare:
    """Compare all samples of one entry and test seed with the true run: P(k), T(k) and r(k)."""
    input:
        samples=samples_of,
        reference=high_snapshot,
    output:
        "<results>/comparisons/{entry}/{seed}.ecsv",
    log:
        "<results>/logs/compare/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/compare/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(ENTRIES),
    resources:
        mem_mb=box_memory,
        runtime=minutes(10, 1.0),
    params:
        settings=settings("compare"),
    shell:
        "supercosm compare {input.samples:q} --reference {input.reference:q} --output {output:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


use rule compare as compare_few_steps with:
    input:
        samples="<results>/variants/{entry}/{seed}/high.hdf5",
        reference="<results>/simulations/{seed}/high.hdf5",
    log:
        "<results>/logs/compare_few_steps/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/compare_few_steps/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(of_kind("steps")),


rule evaluate:
    """Combine the comparisons of all entries and test seeds into the tables of spectra and metrics."""
    input:
        expand(
            "<results>/comparisons/{entry}/{seed}.ecsv",
            entry=[*ENTRIES, *of_kind("steps")],
            seed=CONFIG.seeds.test,
        ),
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
    localrule: True
    resources:
        mem_mb=table_memory,
        runtime=minutes(10),
    shell:
        "supercosm evaluate {input:q} --output-spectra {output.spectra:q} --output-metrics {output.metrics:q}"
        " > {log:q} 2>&1"
