# What the rules share: the checked configuration, the lists made from it, input and parameter functions.
import re
from contextlib import ExitStack
from pathlib import Path

from snakemake.exceptions import WorkflowError

try:
    from supercosm.choice.contenders import (
        choice_figures,
        choice_settings,
        contenders,
        iterative,
        realism_task,
        regression,
    )
    from supercosm.config import check, entries
    from supercosm.errors import SupercosmError
    from supercosm.files import locked
    from supercosm.records.inventory import expected
    from supercosm.records.run import record_run
    from supercosm.stages import (
        BY_SLABS,
        CALIBRATIONS,
        OF_FIELDS,
        OF_PARTICLES,
        OTHER_SEEDS,
        TRUTH,
        UNIVERSES,
    )
    from supercosm.stages import (
        class_settings,
        classification_figures,
        classification_settings,
        classified_entries,
        compression_figures,
        compression_settings,
        figures_of,
        measured,
        parts_of,
        split_entries,
        stage_settings,
        tables_of,
    )
    from supercosm.variants import skewed, variants
except ImportError as error:
    raise WorkflowError(f"{error}: install the package first, `pip install -c constraints.txt -e .`")


def checked(function, content):
    """Check the configuration before anything runs; one sentence says what is wrong with it."""
    try:
        return function(content)
    except SupercosmError as error:
        raise WorkflowError(str(error)) from None


CONFIG = checked(check, config)
RESULTS = f"results/{CONFIG.name}"
ENTRIES = {entry.name: entry for entry in entries(CONFIG)}
SPLIT = split_entries(CONFIG)  # made slab by slab
WHOLE = {name: entry for name, entry in ENTRIES.items() if name not in SPLIT}
MEASURED = {entry.name: entry for entry in measured(CONFIG)}
VARIANTS = checked(variants, CONFIG)
SHIFTED_SEEDS = CONFIG.seeds.test[: CONFIG.audit.seeds]
SHIFTED = [
    entry.name
    for entry in ENTRIES.values()
    if entry.model and entry.scale_factor == CONFIG.simulation.scale_factors[-1]
]
SKEWED = skewed(CONFIG)
CODERS = CONFIG.compression.expanded()
DENSE_CODERS = [name for name, coder in CODERS.items() if coder.kind == "dense"]
SMALL_CODERS = [name for name, coder in CODERS.items() if coder.kind in ("pca", "downsample", "dense")]
LARGE_CODERS = [name for name in CODERS if name not in SMALL_CODERS]
TASKS = CONFIG.classification.tasks
PARTS = [(name, part) for name, task in TASKS.items() for part in parts_of(CONFIG, task)]
CONTENDERS = [entry.name for entry in contenders(CONFIG)]
ITERATIVE = [entry.name for entry in iterative(CONFIG)]
FIGURES = [(section, name) for section, names in figures_of(CONFIG).items() for name in names]
SUMMARIES = list(tables_of(CONFIG, Path(RESULTS)))
TAGS = [CONFIG.simulation.tag(a) for a in CONFIG.simulation.scale_factors]
USED_TAGS = sorted({CONFIG.simulation.tag(entry.scale_factor) for entry in ENTRIES.values()})
RUN = ExitStack()


def hold_results():
    """Refuse a second run on the same results; unlike Snakemake's lock, this one dies with the process.

    So do jobs of a run that was killed, but on a cluster they live on: their checkpoints are locked.
    """
    try:
        RUN.enter_context(locked(RESULTS))
        for lock in Path(RESULTS, "checkpoints").rglob(".lock"):
            with locked(lock.parent):
                pass
    except SupercosmError as error:
        raise WorkflowError(str(error)) from None


def keep_record():
    """Write down in the results what they are made of: the configuration, the environment and these rules."""
    entry = Path(workflow.basedir)
    record_run(CONFIG, RESULTS, entry.parent if entry.name == "workflow" else entry)


def settings(stage):
    """Return a parameter function: the settings of a stage, which Snakemake must not take for a pattern."""
    return lambda wildcards: stage_settings(CONFIG, stage)


def training_settings(wildcards):
    return stage_settings(CONFIG, "train", wildcards.model)


def training_hardware(wildcards, resources):
    """Return the hardware of trainings as JSON; as it asks for `resources`, a change is no reason to train anew."""
    return CONFIG.hardware.model_dump_json()


def on_nodes(wildcards, resources, threads):
    """Return the command that starts a training on each of several nodes; nothing for one, as above."""
    count = str(CONFIG.hardware.nodes)
    if count == "1":
        return []
    command = ["srun", "--nodes", count, "--ntasks", count, "--ntasks-per-node", "1", "--kill-on-bad-exit=1"]
    gres = [f"--gres={resources.gres}"] if "gres" in resources.keys() else []
    return [*command, *gres, "--cpus-per-task", str(threads)]


def one_of(names):
    """Return a wildcard constraint that matches these names, and nothing where there are none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def repeated(option, name, of="input"):
    """Return a parameter function: `option file` for each file of one named input or output."""

    def flags(wildcards, input, output):
        files = getattr(dict(input=input, output=output)[of], name)
        return [part for file in files for part in (option, file)]

    return flags


def pairs_of(role):
    """Return an input function: the pair files of one role's seeds at the outputs that a model is trained on."""

    def files(wildcards):
        tags = [CONFIG.simulation.tag(a) for a in CONFIG.trained_at(wildcards.model)]
        return [f"<results>/pairs/{seed}{tag}.hdf5" for tag in tags for seed in getattr(CONFIG.seeds, role)]

    return files


def start_of(wildcards):
    """Return the weights that a model starts from, if it does."""
    start = getattr(CONFIG.models[wildcards.model], "start", None)
    return [f"<results>/models/{start}/model.safetensors"] if start else []


def start_flag(wildcards, input):
    return ["--start", str(Path(input.start[0]).parent)] if input.start else []


def tag_of(wildcards):
    return CONFIG.simulation.tag(ENTRIES[wildcards.entry].scale_factor)


def low_snapshot(wildcards):
    return f"<results>/simulations/{wildcards.seed}/low{tag_of(wildcards)}.hdf5"


def high_snapshot(wildcards):
    return f"<results>/simulations/{wildcards.seed}/high{tag_of(wildcards)}.hdf5"


def external_path(wildcards):
    """Return the path of the user's own snapshot that stands for a simulated one."""
    number = TAGS.index(wildcards.tag)
    return str(CONFIG.simulation.external.path(wildcards.resolution, int(wildcards.seed), number))


def external_files(wildcards):
    """Return all files of that snapshot; one sentence says what is wrong with it, unless it was imported already."""
    from supercosm.formats import files_of

    path = external_path(wildcards)
    imported = Path(f"{RESULTS}/simulations/{wildcards.seed}/{wildcards.resolution}{wildcards.tag}.hdf5")
    if imported.exists() and not Path(path).exists():
        return path
    return [str(file) for file in checked(files_of, path)]


def model_of(wildcards):
    """Return the files of the model that an entry applies; baselines have none."""
    model = ENTRIES[wildcards.entry].model
    return [f"<results>/models/{model}/model.{kind}" for kind in ("safetensors", "json")] if model else []


def source_of(wildcards, input):
    """Return what `supercosm superresolve --model` is told: a model folder or the name of a baseline."""
    if input.model:
        return str(Path(input.model[0]).parent)
    return ENTRIES[wildcards.entry].name.partition("_")[0]


def phases_of(wildcards):
    return ENTRIES[wildcards.entry].phases


def samples_of(wildcards):
    entry = ENTRIES[wildcards.entry]
    return [
        f"<results>/superresolved/{entry.name}/{wildcards.seed}/{i + 1}.hdf5" for i in range(entry.samples)
    ]


def part_prefix(wildcards):
    """Return what the names of the slabs of one sample begin with."""
    return f"{RESULTS}/superresolved/{wildcards.entry}/{wildcards.seed}/parts/{wildcards.sample}"


def part_number(wildcards):
    return getattr(wildcards, "part", 0)


def shared_modes(wildcards):
    """Return the folder in which the small-scale modes of one sample lie until all of its slabs are made."""
    return f"{part_prefix(wildcards)}.modes"


def sample_seed(wildcards):
    return CONFIG.superresolution.seed + int(wildcards.sample) - 1


def parts_of_samples(kind):
    """Return an input function: the files of this kind of all slabs of all samples of a box, sample by sample."""

    def files(wildcards):
        return [
            f"<results>/superresolved/{wildcards.entry}/{wildcards.seed}/parts/{i + 1}.{part}.{kind}"
            for i in range(ENTRIES[wildcards.entry].samples)
            for part in range(CONFIG.superresolution.files)
        ]

    return files


def sample_prefixes(wildcards, output):
    """Return what the names of the slabs of each sample of a box begin with."""
    samples = [Path(sample) for sample in output.samples]
    return [str(sample.parent / "parts" / sample.stem) for sample in samples]


def of_kind(kind):
    """Return the names of the variants of one kind."""
    return [name for name, variant in VARIANTS.items() if variant.kind == kind]


def variant_settings(wildcards):
    return stage_settings(VARIANTS[wildcards.variant].config, "simulate")


def small_scales_flag(wildcards):
    """Return the seed of the other small scales, for a universe."""
    seed = VARIANTS[wildcards.variant].small_scales(int(wildcards.seed))
    return [] if seed is None else ["--small-scales", str(seed)]


def measured_box(wildcards):
    """Return the box that is measured by itself: a true run, or the first sample of an entry."""
    entry = MEASURED[wildcards.entry]
    if entry.truth:
        return f"<results>/simulations/{wildcards.seed}/{entry.name}.hdf5"
    return f"<results>/superresolved/{entry.name}/{wildcards.seed}/1.hdf5"


def measured_with(statistic, slabs, has=True):
    """List the entries that this statistic is measured of: boxes in slabs, or boxes that are measured whole."""
    found = [name for name, entry in MEASURED.items() if (statistic in entry.statistics) == has]
    return found if slabs == (CONFIG.statistics.slabs > 1) else []


def measured_without(statistic, slabs):
    return measured_with(statistic, slabs, has=False)


def shares_of_slabs(wildcards):
    """Return the marks of the shares of all slabs of a box larger than memory."""
    folder = f"<results>/slabs/{wildcards.entry}/{wildcards.seed}"
    return [f"{folder}/{slab}.done" for slab in range(CONFIG.statistics.slabs)]


def slabs_flags(wildcards, input):
    """Return how many slabs there are, and where their shares lie, if there are any."""
    folder = ["--scratch", str(Path(input.shares[0]).parent)] if hasattr(input, "shares") else []
    return ["--slabs", str(CONFIG.statistics.slabs), *folder]


def statistics_folder(wildcards):
    return f"{RESULTS}/statistics/{wildcards.entry}/{wildcards.seed}"


def skewed_settings(wildcards):
    return stage_settings(SKEWED[wildcards.skew], "train", CONFIG.audit.skew.model)


def pairs_of_skewed(role):
    """Return the pair files of one role's seeds at the last output, which skewed trainings are for."""
    return [f"<results>/pairs/{seed}.hdf5" for seed in getattr(CONFIG.seeds, role)]


def low_snapshot_skewed(wildcards):
    return f"<results>/simulations/{wildcards.seed}/low.hdf5"


def high_snapshot_skewed(wildcards):
    return f"<results>/simulations/{wildcards.seed}/high.hdf5"


def universes_of(wildcards):
    """Return the true runs with other small scales; they exist at the last output."""
    if ENTRIES[wildcards.entry].scale_factor != CONFIG.simulation.scale_factors[-1]:
        return []
    return [f"<results>/variants/{name}/{wildcards.seed}/high.hdf5" for name in of_kind("universe")]


def statistics_tables(wildcards):
    return [
        str(path).replace(RESULTS, "<results>", 1)
        for paths in tables_of(CONFIG, Path(RESULTS)).values()
        for path in paths
    ]


def drift_tables():
    """Return the comparisons of all shifted cosmologies, and of the usual one."""
    shifted = expand(
        "<results>/shifts/{variant}/{entry}/{seed}.ecsv",
        variant=of_kind("shift"),
        entry=SHIFTED,
        seed=SHIFTED_SEEDS,
    )
    usual = expand("<results>/comparisons/{entry}/{seed}.ecsv", entry=SHIFTED, seed=SHIFTED_SEEDS)
    return shifted + usual if shifted else []


def judgement_tables():
    """Return the tables of evaluation/ beside spectra and metrics."""
    names = [
        *SUMMARIES,
        *([] if CONFIG.simulation.external else ["cost"]),
        *(["families"] if CONTENDERS else []),
        *(["drift"] if drift_tables() else []),
    ]
    tables = expand("<results>/evaluation/{name}.ecsv", name=names)
    return tables + expand("<results>/evaluations/{entry}.ecsv", entry=ITERATIVE)


def family_scores():
    """Return how well classifiers tell the families from the true run, where a task asks."""
    parts = [part for task, part in PARTS if task == realism_task(CONFIG) and part in CONTENDERS]
    return expand("<results>/classification/{task}/{part}/scores.ecsv", task=realism_task(CONFIG), part=parts)


def family_costs():
    """Return what samples of the families cost, and a box of a regression without spread."""
    names = CONTENDERS + [entry.name for entry in [regression(CONFIG)] if entry]
    return expand("<results>/costs/superresolved/{entry}/{seed}.json", entry=names, seed=CONFIG.seeds.test)


def regression_boxes():
    """Return the boxes of a regression without spread and the true runs, whose difference its mean error is."""
    fixed, seeds = regression(CONFIG), CONFIG.seeds.test
    boxes = [f"<results>/superresolved/{fixed.name}/{seed}/1.hdf5" for seed in seeds] if fixed else []
    return boxes + (test_boxes() if fixed else [])


def coder_settings(wildcards):
    return compression_settings(CONFIG, ("patches",), [wildcards.coder])


def pairs_for_coders(role):
    """Return the pair files of one role's seeds at the last output, whose patches coders learn from."""
    return expand("<results>/pairs/{seed}.hdf5", seed=getattr(CONFIG.seeds, role))


def coders_folder(wildcards, output):
    """Return the folder that holds a folder for each coder."""
    return str(Path(output.weights[0]).parents[1])


def test_boxes():
    return expand("<results>/simulations/{seed}/high.hdf5", seed=CONFIG.seeds.test)


def coders_of(dimensions):
    names = [name for name, coder in CODERS.items() if coder.dimensions == dimensions]
    return expand("<results>/compression/coders/{coder}/model.safetensors", coder=names)


def coders_of_arena(wildcards):
    return coders_of(3 if wildcards.arena == "box" else 2)


def boxes_of_arena(wildcards):
    """Return the test boxes: all of them for patches, the first to be compressed whole."""
    return test_boxes()[: 1 if wildcards.arena == "box" else None]


def coders_of_patches(wildcards):
    return coders_of(2)


def folders(option, name):
    """Return a parameter function: `option folder` for the folder of each file of one named input."""

    def flags(wildcards, input):
        return [part for file in getattr(input, name) for part in (option, str(Path(file).parent))]

    return flags


def prediction_of(wildcards):
    """Return the super-resolved box that predicts the displacement of the first test box, if one is asked for."""
    predictor = CONFIG.compression.predictor
    names = [entry.name for entry in ENTRIES.values() if entry.model == predictor]
    return (
        [f"<results>/superresolved/{names[0]}/{CONFIG.seeds.test[0]}/1.hdf5"] if predictor and names else []
    )


def mapped_runs():
    """Return true runs of the first test seed in every cosmology that is run."""
    seed = CONFIG.seeds.test[0]
    shifted = of_kind("shift") if CONFIG.audit.seeds else []
    return [f"<results>/simulations/{seed}/high.hdf5"] + [
        f"<results>/variants/{name}/{seed}/high.hdf5" for name in shifted
    ]


def map_settings():
    return compression_settings(CONFIG, ("patches", "maps"), environment=True)


def compression_results():
    """Return what the stage of compression writes for the report; nothing where no coder is asked for."""
    if not CODERS:
        return []
    found = [f"<results>/compression/{arena}.ecsv" for arena in ("patches", "box", "particles", "prior")]
    found += expand("<results>/compression/maps/{coder}.ecsv", coder=CONFIG.compression.maps.coders)
    found += ["<results>/compression/sanity.ecsv"] if CONFIG.compression.maps.coders else []
    cards = expand("<results>/compression/coders/{coder}/model.json", coder=CODERS)
    return found + cards + ["<results>/compression/gallery.hdf5"]


def universe_settings(task):
    """Return a parameter function: the settings of the simulations of one class of a task."""

    def text(wildcards):
        return class_settings(CONFIG, task, TASKS[task].cosmologies(CONFIG.cosmology)[wildcards.universe])

    return text


def classified_seeds(role):
    """Return the seeds of the boxes that classifiers of entries are trained, validated or judged on."""
    boxes = [task.boxes for task in TASKS.values() if task.kind != "cosmology"]
    seeds = getattr(CONFIG.seeds, role)
    return seeds[: max(boxes, default=0)] if role == "training" else seeds


def box_of(entry, seed, role):
    """Return the file that holds one box of an entry or of the true run, for classifiers."""
    if entry == TRUTH:
        return f"<results>/simulations/{seed}/high.hdf5"
    if role == "test":
        return f"<results>/superresolved/{entry}/{seed}/1.hdf5"
    return f"<results>/classification/densities/{entry}/{seed}.hdf5"


def classes_of(task, part):
    """Return the classes of a part of a task; of the environment, the fields."""
    if part == UNIVERSES:
        return list(TASKS[task].cosmologies(CONFIG.cosmology))
    return list(dict.fromkeys([part, TRUTH]))


def labelled(role):
    """Return a function: the (class, file) pairs of one role's boxes of one part of a task."""

    def pairs(wildcards):
        task, part = wildcards.task, wildcards.part
        if part == OTHER_SEEDS:
            return others(role, TASKS[task].boxes)
        if part == UNIVERSES:
            seeds, folder = getattr(TASKS[task].seeds, role), f"<results>/classification/universes/{task}"
            return [(c, f"{folder}/{c}/{seed}.hdf5") for c in classes_of(task, part) for seed in seeds]
        seeds = getattr(CONFIG.seeds, role)
        seeds = seeds[: TASKS[task].boxes] if role == "training" else seeds
        return [(c, box_of(c, seed, role)) for c in classes_of(task, part) for seed in seeds]

    return pairs


def others(role, boxes):
    """Return true runs of two sets of so many training seeds, which no classifier may tell apart.

    The test boxes are the true runs and others with new small scales, so that their large scales agree.
    """
    training, test = CONFIG.seeds.training, CONFIG.seeds.test
    if role == "validation":
        return []
    if role == "training":
        count = min(boxes, len(training) // 2)
        sides = (training[:count], training[count : 2 * count])
        files = [[box_of(TRUTH, seed, role) for seed in side] for side in sides]
    else:
        folder = f"<results>/variants/{of_kind('universe')[0]}"
        files = [
            [f"{folder}/{seed}/high.hdf5" for seed in test],
            [box_of(TRUTH, seed, role) for seed in test],
        ]
    return [(label, file) for label, side in zip((OTHER_SEEDS, TRUTH), files) for file in side]


def files_of_role(role):
    """Return an input function: the boxes of one role, each once."""

    def files(wildcards):
        return [file for _, file in labelled(role)(wildcards)]

    return files


def classified(wildcards, input):
    """Return the boxes of all roles as options: --training class=file."""
    found = []
    for role in ("training", "validation", "test"):
        names = [label for label, _ in labelled(role)(wildcards)]
        for label, file in zip(names, getattr(input, role)):
            found += [f"--{role}", f"{label}={file}"]
    return found + (["--other-seeds"] if wildcards.part == OTHER_SEEDS else [])


def task_settings(wildcards):
    return classification_settings(CONFIG, wildcards.task)


def low_snapshots_to_classify():
    """Return the low runs of the training and validation seeds that classifiers of entries need super-resolved."""
    seeds = classified_seeds("training") + classified_seeds("validation")
    return expand("<results>/simulations/{seed}/low.hdf5", seed=seeds)


def densities_to_classify():
    seeds = classified_seeds("training") + classified_seeds("validation")
    return expand("<results>/classification/densities/{{entry}}/{seed}.hdf5", seed=seeds)


def classification_results():
    """Return what the stage of classification writes for the report; nothing where there is no task."""
    names = ("scores.ecsv", "predictions.hdf5", "histories.ecsv", "looks.hdf5")
    return [f"<results>/classification/{task}/{part}/{name}" for task, part in PARTS for name in names]


def pictured(wildcards):
    """Return the snapshots that the report shows: those of the first test seed."""
    seed = CONFIG.seeds.test[0]
    samples = [f"<results>/superresolved/{entry}/{seed}/1.hdf5" for entry in ENTRIES]
    runs = [f"<results>/simulations/{seed}/{run}{tag}.hdf5" for tag in USED_TAGS for run in ("low", "high")]
    return samples + runs


def caption_of(section):
    """Return the file that says what to look for in the figures of a section of the report."""
    return f"../report/{section.lower().replace(' ', '-')}.rst"


def everything(wildcards):
    """Return what a finished run holds, so that whatever is deleted of it is made again, by whomever it was.

    A forced rerun deletes what it is to make, and may be killed. What others are made of is made again when needed.
    """
    needed = ("simulations", "pairs")  # which may be deleted to save space
    kept = [name for name in expected(CONFIG) if name.partition("/")[0] not in needed]
    return [f"<results>/{name}" for name in kept] + drift_tables()


def cost_files():
    """Return what every stage of making a box wrote about its cost, and the cards that tell of the trainings."""
    costs = expand("<results>/costs/simulate/{seed}.json", seed=CONFIG.seeds.all)
    costs += expand(
        "<results>/costs/variants/{steps}/{seed}.json", steps=of_kind("steps"), seed=CONFIG.seeds.test
    )
    last = [
        entry.name for entry in ENTRIES.values() if entry.scale_factor == CONFIG.simulation.scale_factors[-1]
    ]
    costs += expand("<results>/costs/superresolved/{entry}/{seed}.json", entry=last, seed=CONFIG.seeds.test)
    return costs + expand("<results>/models/{model}/model.json", model=CONFIG.models)
