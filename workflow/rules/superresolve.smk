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
        entry=one_of(name for name, entry in ENTRIES.items() if entry.phases != "drawn"),
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
        entry=one_of(name for name, entry in ENTRIES.items() if entry.phases == "drawn"),
