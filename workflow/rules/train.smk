rule train:
    """Train one model; a job that was killed resumes from its checkpoints, which are no declared output."""
    input:
        training=pairs_of("training"),
        validation=pairs_of("validation"),
        start=start_of,
    output:
        weights="<results>/models/{model}/model.safetensors",
        card="<results>/models/{model}/model.json",
        history="<results>/models/{model}/history.csv",
        curve=report(
            "<results>/models/{model}/loss.png",
            caption="../report/loss.rst",
            category="Training",
            labels={"model": "{model}"},
        ),
    log:
        "<results>/logs/train/{model}.log",
    benchmark:
        "<results>/benchmarks/train/{model}.tsv"
    threads: 2 * CONFIG.hardware.devices
    resources:
        **devices_of_training(),
        gpu=gpus_of_training,
        mem_mb=training_memory,
        runtime=training_minutes,
    params:
        training=repeated("--training", "training"),
        validation=repeated("--validation", "validation"),
        start=start_flag,
        folder=subpath(output.weights, parent=True),
        hardware=training_hardware,
        nodes=on_nodes,
        checkpoints=f"{RESULTS}/checkpoints/{{model}}",
        settings=training_settings,
    shell:
        "{params.nodes:q} supercosm train {wildcards.model} {params.training:q} {params.validation:q} {params.start:q}"
        " --output {params.folder:q} --checkpoints {params.checkpoints:q}"
        " --settings {params.settings:q} --hardware {params.hardware:q} 2>&1"
        " | (trap '' TERM USR1; tee {log:q})"
