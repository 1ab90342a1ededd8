rule simulate:
    """Run the low- and the high-resolution simulation of one seed."""
    output:
        low=expand("<results>/simulations/{{seed}}/low{tag}.hdf5", tag=TAGS),
        high=expand("<results>/simulations/{{seed}}/high{tag}.hdf5", tag=TAGS),
        cost="<results>/costs/simulate/{seed}.json",
    log:
        "<results>/logs/simulate/{seed}.log",
    benchmark:
        "<results>/benchmarks/simulate/{seed}.tsv"
    threads: 2
    resources:
        gpu=gpus,
        mem_mb=simulation_memory,
        runtime=simulation_minutes,
    params:
        folder=f"{RESULTS}/simulations/{{seed}}",
        settings=settings("simulate"),
    shell:
        "supercosm simulate --seed {wildcards.seed} --output {params.folder:q} --cost {output.cost:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"
