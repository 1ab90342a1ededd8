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
        gpu=gpus,
        mem_mb=simulation_memory,
        runtime=simulation_minutes,
    params:
        folder=subpath(output.low, parent=True),
        settings=variant_settings,
    shell:
        "supercosm simulate --seed {wildcards.seed} --output {params.folder:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


rule simulate_high:
    """Run the high resolution of one test seed in few steps, or with other small scales."""
    output:
        high="<results>/variants/{variant}/{seed}/high.hdf5",
        cost="<results>/costs/variants/{variant}/{seed}.json",
    log:
        "<results>/logs/simulate_high/{variant}/{seed}.log",
    benchmark:
        "<results>/benchmarks/simulate_high/{variant}/{seed}.tsv"
    wildcard_constraints:
        variant=one_of(of_kind("steps") + of_kind("universe")),
    threads: 2
    resources:
        gpu=gpus,
        mem_mb=simulation_memory,
        runtime=simulation_minutes,
    params:
        folder=subpath(output.high, parent=True),
        small_scales=small_scales_flag,
        settings=variant_settings,
    shell:
        "supercosm simulate --seed {wildcards.seed} --output {params.folder:q} --only high {params.small_scales:q}"
        " --cost {output.cost:q} --settings {params.settings:q} > {log:q} 2>&1"


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
        gpu=gpus_of_entry,
        mem_mb=box_memory,
        runtime=sampling_minutes,
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
    localrule: True
    resources:
        mem_mb=table_memory,
        runtime=minutes(10),
    shell:
        "supercosm drift {input:q} --output {output:q} > {log:q} 2>&1"


rule train_skewed:
    """Train one model on crops that abound in one environment, or on even ones, with the same small budget."""
    input:
        training=pairs_of_skewed("training"),
        validation=pairs_of_skewed("validation"),
    output:
        weights="<results>/skewed/{skew}/model.safetensors",
        card="<results>/skewed/{skew}/model.json",
    log:
        "<results>/logs/train_skewed/{skew}.log",
    benchmark:
        "<results>/benchmarks/train_skewed/{skew}.tsv"
    threads: 2 * CONFIG.hardware.devices
    resources:
        **devices_of_training(),
        gpu=gpus_of_training,
        mem_mb=skewed_memory,
        runtime=skewed_minutes,
    params:
        model=CONFIG.audit.skew.model,
        training=repeated("--training", "training"),
        validation=repeated("--validation", "validation"),
        folder=subpath(output.weights, parent=True),
        hardware=training_hardware,
        nodes=on_nodes,
        checkpoints=f"{RESULTS}/checkpoints/skewed-{{skew}}",
        settings=skewed_settings,
    shell:
        "{params.nodes:q} supercosm train {params.model:q} {params.training:q} {params.validation:q}"
        " --output {params.folder:q} --checkpoints {params.checkpoints:q}"
        " --settings {params.settings:q} --hardware {params.hardware:q} > {log:q} 2>&1"


rule superresolve_skewed:
    """Apply a model of a skewed training to one test seed."""
    input:
        snapshot=low_snapshot_skewed,
        model=rules.train_skewed.output,
    output:
        temp("<results>/skewed/superresolved/{skew}/{seed}/1.hdf5"),
    log:
        "<results>/logs/superresolve_skewed/{skew}/{seed}.log",
    benchmark:
        "<results>/benchmarks/superresolve_skewed/{skew}/{seed}.tsv"
    threads: 2
    resources:
        gpu=gpus,
        mem_mb=box_memory,
        runtime=minutes(10, 1.0),
    params:
        source=source_of,
        settings=settings("superresolve"),
    shell:
        "supercosm superresolve {input.snapshot:q} --model {params.source:q} --output {output:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


use rule audit as audit_skewed with:
    input:
        sample="<results>/skewed/superresolved/{skew}/{seed}/1.hdf5",
        reference=high_snapshot_skewed,
    output:
        environment="<results>/skewed/audits/{skew}/{seed}/environment.ecsv",
        halomass="<results>/skewed/audits/{skew}/{seed}/halomass.ecsv",
    log:
        "<results>/logs/audit_skewed/{skew}/{seed}.log",
    benchmark:
        "<results>/benchmarks/audit_skewed/{skew}/{seed}.tsv"
    wildcard_constraints:
        skew=one_of(SKEWED),
