rule simulate_shifted:
    """Run both resolutions of one test seed in another cosmology."""
    output:
        low="<results>/variants/{variant}/{seed}/low.hdf5",
        high="<results>/variants/{variant}/{seed}/high.hdf5",
    log:
        "<results>/logs/simulate_shifted/{variant}/{seed}.log",
    benchmark:
        "<results>/benchmarks/simulate_shifted/{variant}/{seed}.tsv"
    wildcard_constraints:
        variant=one_of(of_kind("shift")),
    threads: 2
    resources:
        gpu=GPU,
        mem_mb=simulation_memory,
        runtime=minutes(60),
    params:
        folder=subpath(output.low, parent=True),
        settings=variant_settings,
    shell:
        "supercosm simulate --seed {wildcards.seed} --output {params.folder:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


rule simulate_high:
    """Run the high resolution of one test seed in few steps, or with other small scales."""
    output:
        "<results>/variants/{variant}/{seed}/high.hdf5",
    log:
        "<results>/logs/simulate_high/{variant}/{seed}.log",
    benchmark:
        "<results>/benchmarks/simulate_high/{variant}/{seed}.tsv"
    wildcard_constraints:
        variant=one_of(of_kind("steps") + of_kind("universe")),
    threads: 2
    resources:
        gpu=GPU,
        mem_mb=simulation_memory,
        runtime=minutes(60),
    params:
        folder=subpath(output[0], parent=True),
        small_scales=small_scales_flag,
        settings=variant_settings,
    shell:
        "supercosm simulate --seed {wildcards.seed} --output {params.folder:q} --only high {params.small_scales:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


rule superresolve_shifted:
    """Apply one model to the low run of another cosmology, which its card does not cover."""
    input:
        snapshot="<results>/variants/{variant}/{seed}/low.hdf5",
        model=model_of,
    output:
        temp("<results>/shifts/{variant}/{entry}/{seed}/1.hdf5"),
    log:
        "<results>/logs/superresolve_shifted/{variant}/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/superresolve_shifted/{variant}/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(SHIFTED),
    threads: 2
    resources:
        gpu=GPU,
        mem_mb=box_memory,
        runtime=minutes(60),
    params:
        source=source_of,
        phases=phases_of,
        settings=settings("superresolve"),
    shell:
        "supercosm superresolve {input.snapshot:q} --model {params.source:q} --phases {params.phases} --override"
        " --output {output:q} --settings {params.settings:q} > {log:q} 2>&1"


use rule compare as compare_shifted with:
    input:
        samples="<results>/shifts/{variant}/{entry}/{seed}/1.hdf5",
        reference="<results>/variants/{variant}/{seed}/high.hdf5",
    output:
        "<results>/shifts/{variant}/{entry}/{seed}.ecsv",
    log:
        "<results>/logs/compare_shifted/{variant}/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/compare_shifted/{variant}/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(SHIFTED),


rule drift:
    """Tell whether the models' outputs follow the input's cosmology or stay at that of their training."""
    input:
        drift_tables(),
    output:
        "<results>/evaluation/drift.ecsv",
    log:
        "<results>/logs/drift/drift.log",
    benchmark:
        "<results>/benchmarks/drift/drift.tsv"
    resources:
        mem_mb=2000,
        runtime=minutes(10),
    shell:
        "supercosm drift {input:q} --output {output:q} > {log:q} 2>&1"
