if CONFIG.simulation.external is None:

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

else:

    rule import_run:
        """Bring one snapshot of the user's own into this package's format, and check it against the configuration."""
        input:
            external_files,
        output:
            "<results>/simulations/{seed}/{resolution}{tag}.hdf5",
        log:
            "<results>/logs/import_run/{seed}/{resolution}{tag}.log",
        benchmark:
            "<results>/benchmarks/import_run/{seed}/{resolution}{tag}.tsv"
        wildcard_constraints:
            resolution="low|high",
        resources:
            mem_mb=box_memory,
            runtime=minutes(10, 1.0),
        params:
            source=external_path,
            scale_factor=lambda wildcards: CONFIG.simulation.scale_factors[TAGS.index(wildcards.tag)],
            settings=settings("import"),
        shell:
            "supercosm import {params.source:q} --output {output:q} --resolution {wildcards.resolution}"
            " --scale-factor {params.scale_factor} --settings {params.settings:q} > {log:q} 2>&1"
