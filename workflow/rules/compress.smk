rule train_coder:
    """Train one large autoencoder on patches of the true boxes."""
    input:
        training=pairs_for_coders("training"),
        validation=pairs_for_coders("validation"),
    output:
        weights="<results>/compression/coders/{coder}/model.safetensors",
        card="<results>/compression/coders/{coder}/model.json",
        history="<results>/compression/coders/{coder}/history.csv",
        curve="<results>/compression/coders/{coder}/loss.png",
    log:
        "<results>/logs/train_coder/{coder}.log",
    benchmark:
        "<results>/benchmarks/train_coder/{coder}.tsv"
    wildcard_constraints:
        coder=one_of(LARGE_CODERS),
    resources:
        mem_mb=box_memory,
        runtime=minutes(30, 1.0),
    params:
        training=repeated("--training", "training"),
        validation=repeated("--validation", "validation"),
        folder=subpath(output.weights, ancestor=2),
        checkpoints=f"{RESULTS}/checkpoints/coder-{{coder}}",
        settings=coder_settings,
    shell:
        "supercosm train-coder {wildcards.coder} {params.training:q} {params.validation:q}"
        " --output {params.folder:q} --checkpoints {params.checkpoints:q} --settings {params.settings:q} > {log:q} 2>&1"


rule train_small_coders:
    """Train the small coders one after the other: each takes seconds, less than starting a job for it."""
    input:
        training=pairs_for_coders("training"),
        validation=pairs_for_coders("validation"),
    output:
        weights=expand("<results>/compression/coders/{coder}/model.safetensors", coder=SMALL_CODERS),
        cards=expand("<results>/compression/coders/{coder}/model.json", coder=SMALL_CODERS),
        histories=expand("<results>/compression/coders/{coder}/history.csv", coder=DENSE_CODERS),
        curves=expand("<results>/compression/coders/{coder}/loss.png", coder=DENSE_CODERS),
    log:
        "<results>/logs/train_small_coders/coders.log",
    benchmark:
        "<results>/benchmarks/train_small_coders/coders.tsv"
    resources:
        mem_mb=box_memory,
        runtime=minutes(60, 1.0),
    params:
        names=SMALL_CODERS,
        training=repeated("--training", "training"),
        validation=repeated("--validation", "validation"),
        folder=coders_folder,
        checkpoints=f"{RESULTS}/checkpoints/small-coders",
        settings=compression_settings(CONFIG, ("patches",), SMALL_CODERS),
    shell:
        "supercosm train-coder {params.names:q} {params.training:q} {params.validation:q}"
        " --output {params.folder:q} --checkpoints {params.checkpoints:q} --settings {params.settings:q} > {log:q} 2>&1"


rule rate_distortion:
    """Measure bits per cell against what is lost, of coders of patches or of blocks, and of other compressors."""
    input:
        coders=coders_of_arena,
        boxes=boxes_of_arena,
    output:
        "<results>/compression/{arena}.ecsv",
    log:
        "<results>/logs/rate_distortion/{arena}.log",
    benchmark:
        "<results>/benchmarks/rate_distortion/{arena}.tsv"
    wildcard_constraints:
        arena="patches|box",
    threads: 2
    resources:
        mem_mb=box_memory,
        runtime=minutes(20, 2.0),
    params:
        coders=folders("--coder", "coders"),
        boxes=repeated("--high", "boxes"),
        settings=compression_settings(CONFIG, ("patches", "steps", "bounds")),
    shell:
        "supercosm rate-distortion {wildcards.arena} {params.coders:q} {params.boxes:q} --output {output:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


rule rate_distortion_particles:
    """Measure error-bounded codes of displacements, alone and as the difference to the super-resolved low run."""
    input:
        high=expand("<results>/simulations/{seed}/high.hdf5", seed=CONFIG.seeds.test[:1]),
        prediction=prediction_of,
    output:
        "<results>/compression/particles.ecsv",
    log:
        "<results>/logs/rate_distortion_particles/particles.log",
    benchmark:
        "<results>/benchmarks/rate_distortion_particles/particles.tsv"
    threads: 2
    resources:
        mem_mb=box_memory,
        runtime=minutes(20, 2.0),
    params:
        prediction=repeated("--prediction", "prediction"),
        settings=compression_settings(CONFIG, ("lengths",)),
    shell:
        "supercosm rate-distortion particles --high {input.high:q} {params.prediction:q} --output {output:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


rule map_latents:
    """Map the latents of one coder onto two numbers: patches of all cosmologies that were run."""
    input:
        coder="<results>/compression/coders/{coder}/model.safetensors",
        snapshots=mapped_runs(),
    output:
        "<results>/compression/maps/{coder}.ecsv",
    log:
        "<results>/logs/map_latents/{coder}.log",
    benchmark:
        "<results>/benchmarks/map_latents/{coder}.tsv"
    resources:
        mem_mb=box_memory,
        runtime=minutes(20, 1.0),
    params:
        folder=subpath(input.coder, parent=True),
        settings=map_settings(),
    shell:
        "supercosm map-latents {params.folder:q} {input.snapshots:q} --output {output:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


rule check_maps:
    """Map the S-curve and the swiss roll: a check of the tools that map latents."""
    output:
        "<results>/compression/sanity.ecsv",
    log:
        "<results>/logs/check_maps/sanity.log",
    benchmark:
        "<results>/benchmarks/check_maps/sanity.tsv"
    resources:
        mem_mb=table_memory,
        runtime=minutes(10),
    params:
        settings=compression_settings(CONFIG, ("maps",)),
    shell:
        "supercosm check-maps --output {output:q} --settings {params.settings:q} > {log:q} 2>&1"


rule show_coders:
    """Write originals, latents and reconstructions of test patches, and what variational coders draw."""
    input:
        coders=coders_of_patches,
        boxes=test_boxes(),
    output:
        gallery="<results>/compression/gallery.hdf5",
        spectra="<results>/compression/prior.ecsv",
    log:
        "<results>/logs/show_coders/gallery.log",
    benchmark:
        "<results>/benchmarks/show_coders/gallery.tsv"
    resources:
        mem_mb=box_memory,
        runtime=minutes(10, 1.0),
    params:
        coders=folders("--coder", "coders"),
        boxes=repeated("--high", "boxes"),
        settings=compression_settings(CONFIG, ("patches", "gallery")),
    shell:
        "supercosm show-coders {params.coders:q} {params.boxes:q} --output {output.gallery:q}"
        " --spectra {output.spectra:q} --settings {params.settings:q} > {log:q} 2>&1"
