rule superresolve:
    """Apply one model, or a baseline, to the low run of one test seed; a killed job resumes."""
    input:
        snapshot=low_snapshot,
        model=model_of,
    output:
        samples=["<results>/superresolved/{entry}/{seed}/1.hdf5"],
        cost="<results>/costs/superresolved/{entry}/{seed}.json",
    log:
        "<results>/logs/superresolve/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/superresolve/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(name for name, entry in WHOLE.items() if entry.phases != "drawn"),
    threads: 2
    resources:
        gpu=gpus_of_entry,
        mem_mb=box_memory,
        runtime=sampling_minutes,
    params:
        source=source_of,
        phases=phases_of,
        outputs=repeated("--output", "samples", of="output"),
        checkpoints=f"{RESULTS}/checkpoints/superresolved/{{entry}}/{{seed}}",
        settings=settings("superresolve"),
    shell:
        "supercosm superresolve {input.snapshot:q} --model {params.source:q} --phases {params.phases}"
        " {params.outputs:q} --cost {output.cost:q} --checkpoints {params.checkpoints:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


use rule superresolve as sample with:
    output:
        samples=expand(
            "<results>/superresolved/{{entry}}/{{seed}}/{i}.hdf5",
            i=range(1, CONFIG.superresolution.samples + 1),
        ),
        cost="<results>/costs/superresolved/{entry}/{seed}.json",
    log:
        "<results>/logs/sample/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/sample/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(name for name, entry in WHOLE.items() if entry.phases == "drawn"),


rule superresolve_first:
    """Make the first slab of one sample of a box, and leave the small-scale modes of the box for the others."""
    input:
        snapshot=low_snapshot,
        model=model_of,
    output:
        part=temp("<results>/superresolved/{entry}/{seed}/parts/{sample}.0.hdf5"),
        cost=temp("<results>/superresolved/{entry}/{seed}/parts/{sample}.0.json"),
        modes=temp(directory("<results>/superresolved/{entry}/{seed}/parts/{sample}.modes")),
    log:
        "<results>/logs/superresolve_first/{entry}/{seed}/{sample}.log",
    benchmark:
        "<results>/benchmarks/superresolve_first/{entry}/{seed}/{sample}.tsv"
    wildcard_constraints:
        entry=one_of(SPLIT),
        sample=r"\d+",
    threads: 2
    resources:
        gpu=gpus_of_entry,
        mem_mb=part_memory,
        runtime=first_minutes,
    params:
        source=source_of,
        phases=phases_of,
        output=part_prefix,
        modes=shared_modes,
        files=CONFIG.superresolution.files,
        part=part_number,
        seed=sample_seed,
        settings=settings("superresolve"),
    shell:
        "mkdir -p {params.modes:q} && "
        "supercosm superresolve {input.snapshot:q} --model {params.source:q} --phases {params.phases}"
        " --output {params.output:q} --files {params.files} --part {params.part} --seed {params.seed}"
        " --scratch {params.modes:q} --cost {output.cost:q} --settings {params.settings:q} > {log:q} 2>&1"


use rule superresolve_first as superresolve_part with:
    input:
        snapshot=low_snapshot,
        model=model_of,
        modes="<results>/superresolved/{entry}/{seed}/parts/{sample}.modes",
    output:
        part=temp("<results>/superresolved/{entry}/{seed}/parts/{sample}.{part}.hdf5"),
        cost=temp("<results>/superresolved/{entry}/{seed}/parts/{sample}.{part}.json"),
    log:
        "<results>/logs/superresolve_part/{entry}/{seed}/{sample}.{part}.log",
    benchmark:
        "<results>/benchmarks/superresolve_part/{entry}/{seed}/{sample}.{part}.tsv"
    wildcard_constraints:
        entry=one_of(SPLIT),
        sample=r"\d+",
        part=r"[1-9]\d*",
    priority: 1  # modes take space until the last slab is there
    resources:
        gpu=gpus_of_entry,
        mem_mb=part_memory,
        runtime=part_minutes,


rule join_parts:
    """Join the slabs of the outcome of one test seed, and add up what they cost."""
    input:
        parts=parts_of_samples("hdf5"),
        costs=parts_of_samples("json"),
    output:
        samples=["<results>/superresolved/{entry}/{seed}/1.hdf5"],
        cost="<results>/costs/superresolved/{entry}/{seed}.json",
    log:
        "<results>/logs/join_parts/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/join_parts/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(name for name in SPLIT if ENTRIES[name].phases != "drawn"),
    resources:
        mem_mb=table_memory,
        runtime=joining_minutes,
    params:
        snapshots=sample_prefixes,
        costs=repeated("--part-cost", "costs"),
        outputs=repeated("--output", "samples", of="output"),
    shell:
        "supercosm join {params.snapshots:q} {params.outputs:q} {params.costs:q} --cost {output.cost:q} > {log:q} 2>&1"


use rule join_parts as join_samples with:
    output:
        samples=expand(
            "<results>/superresolved/{{entry}}/{{seed}}/{i}.hdf5",
            i=range(1, CONFIG.superresolution.samples + 1),
        ),
        cost="<results>/costs/superresolved/{entry}/{seed}.json",
    log:
        "<results>/logs/join_samples/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/join_samples/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(name for name in SPLIT if ENTRIES[name].phases == "drawn"),
