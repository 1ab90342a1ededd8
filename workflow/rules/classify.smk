# every task that tells cosmologies apart has seeds of its own, so each has a rule
for task in [name for name, task in TASKS.items() if task.kind == "cosmology"]:

    rule:
        name:
            f"simulate_universe_{task}"
        output:
            expand(
                "<results>/classification/universes/{task}/{{universe}}/{seed}.hdf5",
                task=task,
                seed=TASKS[task].seeds.all,
            ),
        log:
            f"<results>/logs/simulate_universe/{task}/{{universe}}.log",
        benchmark:
            f"<results>/benchmarks/simulate_universe/{task}/{{universe}}.tsv"
        wildcard_constraints:
            universe=one_of(TASKS[task].cosmologies(CONFIG.cosmology)),
        threads: 2
        resources:
            gpu=gpus,
            mem_mb=universe_memory(task),
            runtime=universe_minutes(task),
        params:
            seeds=TASKS[task].seeds.all,
            folder=f"{RESULTS}/classification/universes/{task}/{{universe}}",
            settings=universe_settings(task),
        shell:
            "supercosm simulate-densities {params.seeds} --output {params.folder:q}"
            " --settings {params.settings:q} > {log:q} 2>&1"


rule superresolve_to_classify:
    """Apply one model, or a baseline, to the boxes that classifiers learn from, and keep the densities."""
    input:
        snapshots=low_snapshots_to_classify(),
        model=model_of,
    output:
        densities=densities_to_classify(),
    log:
        "<results>/logs/superresolve_to_classify/{entry}.log",
    benchmark:
        "<results>/benchmarks/superresolve_to_classify/{entry}.tsv"
    wildcard_constraints:
        entry=one_of(classified_entries(CONFIG)),
    threads: 2
    resources:
        gpu=gpus_of_entry,
        mem_mb=box_memory,
        runtime=densities_minutes,
    params:
        source=source_of,
        phases=phases_of,
        outputs=repeated("--output", "densities", of="output"),
        settings=settings("superresolve"),
    shell:
        "supercosm superresolve-densities {input.snapshots:q} --model {params.source:q} --phases {params.phases}"
        " {params.outputs:q} --settings {params.settings:q} > {log:q} 2>&1"


rule classify:
    """Train networks and classical opponents to tell the boxes of one part of a task apart, and judge them."""
    input:
        training=files_of_role("training"),
        validation=files_of_role("validation"),
        test=files_of_role("test"),
    output:
        scores="<results>/classification/{task}/{part}/scores.ecsv",
        predictions="<results>/classification/{task}/{part}/predictions.hdf5",
        histories="<results>/classification/{task}/{part}/histories.ecsv",
        looks="<results>/classification/{task}/{part}/looks.hdf5",
    log:
        "<results>/logs/classify/{task}/{part}.log",
    benchmark:
        "<results>/benchmarks/classify/{task}/{part}.tsv"
    wildcard_constraints:
        task=one_of(TASKS),
        part=one_of(dict.fromkeys(part for _, part in PARTS)),
    resources:
        gpu=gpus,
        mem_mb=box_memory,
        runtime=minutes(60, 2.0),
    params:
        boxes=classified,
        folder=subpath(output.scores, parent=True),
        checkpoints=f"{RESULTS}/checkpoints/classify-{{task}}-{{part}}",
        settings=task_settings,
    shell:
        "supercosm classify {wildcards.task} {params.boxes:q} --output {params.folder:q}"
        " --checkpoints {params.checkpoints:q} --settings {params.settings:q} > {log:q} 2>&1"
