rule sort_particles:
    """Sort the particles of a box larger than memory into slabs on disk; the shares of its slabs start from there."""
    input:
        measured_box,
    output:
        touch(temp("<results>/slabs/{entry}/{seed}/sorted")),
    log:
        "<results>/logs/sort_particles/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/sort_particles/{entry}/{seed}.tsv"
    resources:
        mem_mb=sorting_memory,
        runtime=minutes(10, 0.1),
    params:
        folder=statistics_folder,
        scratch=subpath(output[0], parent=True),
        slabs=CONFIG.statistics.slabs,
        settings=settings("measure"),
    shell:
        "supercosm measure {input:q} --output {params.folder:q} --scratch {params.scratch:q} --sort"
        " --slabs {params.slabs} --settings {params.settings:q} > {log:q} 2>&1"


rule measure_slab:
    """Do one slab's share of measuring a box larger than memory."""
    input:
        box=measured_box,
        sorted=rules.sort_particles.output,
    output:
        touch(temp("<results>/slabs/{entry}/{seed}/{slab}.done")),
    log:
        "<results>/logs/measure_slab/{entry}/{seed}/{slab}.log",
    benchmark:
        "<results>/benchmarks/measure_slab/{entry}/{seed}/{slab}.tsv"
    wildcard_constraints:
        slab=r"\d+",
    resources:
        mem_mb=slab_memory,
        runtime=minutes(10, 0.5 / CONFIG.statistics.slabs),
    params:
        folder=statistics_folder,
        scratch=subpath(output[0], parent=True),
        slabs=CONFIG.statistics.slabs,
        settings=settings("measure"),
    shell:
        "supercosm measure {input.box:q} --output {params.folder:q} --scratch {params.scratch:q}"
        " --slab {wildcards.slab} --slabs {params.slabs} --settings {params.settings:q} > {log:q} 2>&1"


rule measure:
    """Measure one box by itself: spectra, densities, haloes, motions."""
    input:
        measured_box,
    output:
        slab="<results>/statistics/{entry}/{seed}/slab.fits",
        tables=expand("<results>/statistics/{{entry}}/{{seed}}/{name}.ecsv", name=OF_FIELDS + OF_PARTICLES),
        haloes="<results>/statistics/{entry}/{seed}/haloes.hdf5",
    log:
        "<results>/logs/measure/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/measure/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(measured_with("haloes", slabs=False)),
    resources:
        mem_mb=box_memory,
        runtime=minutes(10, 2.0),
    params:
        folder=subpath(output.haloes, parent=True),
        settings=settings("measure"),
    shell:
        "supercosm measure {input:q} --output {params.folder:q} --settings {params.settings:q} > {log:q} 2>&1"


use rule measure as measure_density with:
    output:
        slab="<results>/statistics/{entry}/{seed}/slab.fits",
        tables=expand("<results>/statistics/{{entry}}/{{seed}}/{name}.ecsv", name=OF_FIELDS),
    log:
        "<results>/logs/measure_density/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/measure_density/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(measured_without("haloes", slabs=False)),
    params:
        folder=subpath(output.slab, parent=True),
        settings=settings("measure"),


rule gather_slabs:
    """Measure one box larger than memory, from what was made of its slabs."""
    input:
        box=measured_box,
        shares=shares_of_slabs,
    output:
        slab="<results>/statistics/{entry}/{seed}/slab.fits",
        tables=expand("<results>/statistics/{{entry}}/{{seed}}/{name}.ecsv", name=BY_SLABS),
        haloes="<results>/statistics/{entry}/{seed}/haloes.hdf5",
    log:
        "<results>/logs/gather_slabs/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/gather_slabs/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(measured_with("haloes", slabs=True)),
    resources:
        mem_mb=gathering_memory,
        runtime=minutes(10, 2.0),
    params:
        folder=subpath(output.haloes, parent=True),
        more=slabs_flags,
        settings=settings("measure"),
    shell:
        "supercosm measure {input.box:q} --output {params.folder:q} {params.more:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


use rule gather_slabs as measure_density_alike with:
    input:
        box=measured_box,
    output:
        slab="<results>/statistics/{entry}/{seed}/slab.fits",
        tables=expand(
            "<results>/statistics/{{entry}}/{{seed}}/{name}.ecsv",
            name=[name for name in OF_FIELDS if name in BY_SLABS],
        ),
    log:
        "<results>/logs/measure_density_alike/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/measure_density_alike/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(measured_without("haloes", slabs=True)),
    resources:
        mem_mb=box_memory,
        runtime=minutes(10, 2.0),
    params:
        folder=subpath(output.slab, parent=True),
        more=slabs_flags,
        settings=settings("measure"),


rule audit:
    """Tell where in a box a model errs: by environment and by halo mass."""
    input:
        sample="<results>/superresolved/{entry}/{seed}/1.hdf5",
        reference=high_snapshot,
    output:
        environment="<results>/audits/{entry}/{seed}/environment.ecsv",
        halomass="<results>/audits/{entry}/{seed}/halomass.ecsv",
    log:
        "<results>/logs/audit/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/audit/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(name for name, entry in MEASURED.items() if "halomass" in entry.audits),
    resources:
        mem_mb=box_memory,
        runtime=minutes(10, 1.0),
    params:
        folder=subpath(output.environment, parent=True),
        settings=settings("audit"),
    shell:
        "supercosm audit {input.sample:q} --reference {input.reference:q} --output {params.folder:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


use rule audit as audit_density with:
    output:
        environment="<results>/audits/{entry}/{seed}/environment.ecsv",
    log:
        "<results>/logs/audit_density/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/audit_density/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(
            name for name, entry in MEASURED.items() if entry.audits and "halomass" not in entry.audits
        ),


rule calibrate:
    """Tell whether the spread of a model's samples of one box is the error they make."""
    input:
        samples=samples_of,
        reference=high_snapshot,
        universes=universes_of,
    output:
        expand("<results>/calibrations/{{entry}}/{{seed}}/{name}.ecsv", name=CALIBRATIONS),
    log:
        "<results>/logs/calibrate/{entry}/{seed}.log",
    benchmark:
        "<results>/benchmarks/calibrate/{entry}/{seed}.tsv"
    wildcard_constraints:
        entry=one_of(name for name, entry in MEASURED.items() if entry.calibrated),
    resources:
        mem_mb=ensemble_memory,
        runtime=minutes(10, 1.0),
    params:
        folder=subpath(output[0], parent=True),
        universes=repeated("--universe", "universes"),
        settings=settings("calibrate"),
    shell:
        "supercosm calibrate {input.samples:q} --reference {input.reference:q} {params.universes:q}"
        " --output {params.folder:q} --settings {params.settings:q} > {log:q} 2>&1"


rule summarise:
    """Put the statistics of all entries side by side: mean over boxes and the scatter between them."""
    input:
        statistics_tables,
    output:
        expand("<results>/evaluation/{name}.ecsv", name=SUMMARIES),
    log:
        "<results>/logs/summarise/summarise.log",
    benchmark:
        "<results>/benchmarks/summarise/summarise.tsv"
    localrule: True
    resources:
        mem_mb=table_memory,
        runtime=minutes(10),
    params:
        results=subpath(output[0], ancestor=2),
        folder=subpath(output[0], parent=True),
        settings=settings("summarise"),
    shell:
        "supercosm summarise {params.results:q} --output {params.folder:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


rule cost:
    """Put cost beside accuracy: the simulation, few-step runs, baselines and models."""
    input:
        metrics="<results>/evaluation/metrics.ecsv",
        costs=cost_files(),
    output:
        "<results>/evaluation/cost.ecsv",
    log:
        "<results>/logs/cost/cost.log",
    benchmark:
        "<results>/benchmarks/cost/cost.tsv"
    localrule: True
    resources:
        mem_mb=table_memory,
        runtime=minutes(10),
    params:
        results=subpath(output[0], ancestor=2),
        settings=settings("cost"),
    shell:
        "supercosm cost {params.results:q} --output {output:q} --settings {params.settings:q} > {log:q} 2>&1"
