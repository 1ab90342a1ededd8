# What a job asks a scheduler for, as functions of the size of the run. Fitted to the benchmarks of runs with 32³, 64³
# and 128³ particles, with room: about twice the memory, four times the time. Another attempt gets twice as much.
from shutil import which

from supercosm.hardware_settings import PREFETCH

MILLIONS = CONFIG.simulation.high**3 / 1e6  # high-resolution particles
LONGEST = 1440  # minutes for one attempt at what the next one goes on with: a training, or samples


def gpus(wildcards):
    """Return the GPUs of a job: one, unless `device: cpu`; with `auto` on this machine, if it has any."""
    if CONFIG.device == "auto" and workflow.local_exec:
        return int(which("nvidia-smi") is not None)
    return int(CONFIG.device != "cpu")


def several():
    """Tell whether a training asks a scheduler for several GPUs, which `gpu`, that limits groups, cannot say."""
    hardware = CONFIG.hardware
    return hardware.world > 1 and bool(gpus(None)) and (hardware.nodes > 1 or not workflow.local_exec)


def gpus_of_training(wildcards):
    """Return the GPUs of a training, one for each of its processes, unless gres asks for them."""
    return 0 if several() else gpus(wildcards) * CONFIG.hardware.devices


def devices_of_training():
    """Return what a training on several GPUs or nodes asks the SLURM plugin for: GPUs of every node, and its tasks.

    There is a task a node, which the shell command starts. Without `tasks_per_gpu` the plugin would want so many for
    every GPU.
    """
    nodes = CONFIG.hardware.nodes
    asked = {"nodes": nodes, "tasks": nodes, "tasks_per_gpu": 0, "mpi": "srun"} if nodes > 1 else {}
    return asked | ({"gres": f"gpu:{CONFIG.hardware.devices}"} if several() else {})


def gpus_of_entry(wildcards):
    """Return the GPUs of a job that applies an entry: baselines need none."""
    return gpus(wildcards) if ENTRIES[wildcards.entry].model else 0


def more(first, attempt):
    """Return what an attempt gets, twice as much as the one before."""
    return int(first * 2 ** (attempt - 1))


def minutes(start, per_million=0.0):
    """Return a run-time limit [min]: to get going, and for a million particles."""

    def limit(wildcards, attempt):
        return more(start + per_million * MILLIONS, attempt)

    return limit


def simulation_minutes(wildcards, attempt):
    """Return the run-time limit of a simulation [min]: 0.4 s a step for a million particles on two cores."""
    return more(10 + 0.03 * MILLIONS * CONFIG.simulation.steps, attempt)


def universe_minutes(task):
    """Return the run-time limit of the simulations of one class of a task, one after the other [min]."""
    own = TASKS[task]

    def limit(wildcards, attempt):
        return more(10 + 3e-8 * own.particles**3 * own.steps * len(own.seeds.all), attempt)

    return limit


def relative_cost(model):
    """Return the cost of one evaluation of a model's network, relative to 32 channels, and one at least."""
    return max(1.0, (model.network.channels / 32) ** 2)


def sampling_minutes(wildcards, attempt):
    """Return the run-time limit of all samples of a box [min]: 2 s an evaluation for a million particles."""
    entry = ENTRIES[wildcards.entry]
    model = CONFIG.models.get(entry.model)
    work = entry.samples * getattr(model, "evaluations", 1) * relative_cost(model) if model else 1
    return min(more(10 + 0.15 * MILLIONS * work, attempt), LONGEST)


def part_minutes(wildcards, attempt):
    """Return the run-time limit of one slab of one sample [min]: its share of the box, with halos.

    No attempt goes on with what another has begun, so there is no upper limit.
    """
    model = CONFIG.models.get(ENTRIES[wildcards.entry].model)
    work = relative_cost(model) if model else 1
    return more(10 + 0.6 * work / CONFIG.superresolution.files * MILLIONS, attempt)


def first_minutes(wildcards, attempt):
    """Return the same of the first slab, which makes the small-scale modes of the box, too."""
    return part_minutes(wildcards, attempt) + more(0.03 * MILLIONS, attempt)


def part_memory(wildcards, attempt):
    """Return the memory of one slab [MB]: 120 B a low particle, 400 B a cell of a tile and halo, 60 B one of a strip.

    A network of more than 32 channels holds as much more in every cell.
    """
    simulation, own = CONFIG.simulation, CONFIG.superresolution
    model = CONFIG.models.get(ENTRIES[wildcards.entry].model)
    halo, channels = (model.tiling(simulation.factor)[1], model.network.channels) if model else (0, 0)
    sizes = (min(own.tile, simulation.low // own.files), own.tile)
    thick, wide = (min((size + 2 * halo) * simulation.factor, simulation.high) for size in sizes)
    cells = 400 * max(1, channels / 32) * thick * wide**2 + 60 * thick * wide * simulation.high
    megabytes = (120 * simulation.low**3 + cells) / 1e6
    return more(1000 + megabytes, attempt)


def joining_minutes(wildcards, attempt):
    """Return the run-time limit of joining the slabs of all samples of a box [min]: 50 MB are copied in a second."""
    return more(10 + 0.02 * MILLIONS * ENTRIES[wildcards.entry].samples, attempt)


def densities_minutes(wildcards, attempt):
    """Return the run-time limit of one sample for each of the boxes that classifiers learn from [min]."""
    boxes = len(classified_seeds("training") + classified_seeds("validation"))
    return boxes * sampling_minutes(wildcards, attempt)


def study_minutes(wildcards, attempt):
    """Return the run-time limit of one sample for each number of evaluations that is tried [min]."""
    return sum(CONFIG.evaluation.evaluations) * sampling_minutes(wildcards, attempt)


def fitting_minutes(model, attempt):
    """Return the run-time limit of a training [min]: 1 s for a million cells of crops, on a GPU a twentieth.

    Devices share it.
    """
    training = model.training
    cells = training.steps * training.batch * training.crop**model.dimensions / 1e6
    speed = CONFIG.hardware.world * (20 if CONFIG.device != "cpu" else 1)
    return min(more(20 + 0.15 * cells * relative_cost(model) / speed, attempt), LONGEST)


def fitting_memory(model, attempt):
    """Return the memory of a training on each node [MB]: fields of a box, and on the CPU what the network has computed.

    A batch is shared by nodes; its parts come one after another. Every device has a process of its own, and others that
    read crops: each of all these keeps low fields, at most those of all boxes.
    """
    training, hardware = model.training, CONFIG.hardware
    cells = training.batch * training.crop**model.dimensions / (hardware.nodes * hardware.accumulate)
    activations = 1.5e-4 * cells * model.network.channels if CONFIG.device != "cuda" else 0
    workers = hardware.readers("cpu" if CONFIG.device == "cpu" else "cuda")
    simulation, seeds = CONFIG.simulation, CONFIG.seeds
    boxes = len(simulation.scale_factors) * len([*seeds.training, *seeds.validation])
    kept = min(1e3 * hardware.cache, 25e-6 * simulation.low**3 * boxes)  # six numbers and a class a particle
    crop = 60e-6 * (training.crop + 2) ** model.dimensions  # 15 numbers a cell
    ready = workers * PREFETCH * crop * training.batch / hardware.world
    own = box_memory(None, attempt) + (1 + workers) * kept + ready
    return int(hardware.devices * own + more(activations, attempt))


def training_minutes(wildcards, attempt):
    return fitting_minutes(CONFIG.models[wildcards.model], attempt)


def training_memory(wildcards, attempt):
    return fitting_memory(CONFIG.models[wildcards.model], attempt)


def skewed_minutes(wildcards, attempt):
    return fitting_minutes(SKEWED[wildcards.skew].models[CONFIG.audit.skew.model], attempt)


def skewed_memory(wildcards, attempt):
    return fitting_memory(SKEWED[wildcards.skew].models[CONFIG.audit.skew.model], attempt)


def simulation_memory(wildcards, attempt):
    """Return the memory of one high-resolution run [MB]: particles at 100 B, force mesh at 24 B a cell."""
    return more(1500 + (100 + 24 * CONFIG.simulation.mesh**3) * MILLIONS, attempt)


def box_memory(wildcards, attempt):
    """Return the memory of a job that holds a few high-resolution fields [MB]."""
    return more(2000 + 200 * MILLIONS * max(1, CONFIG.evaluation.mesh**3 / 4), attempt)


def slab_memory(wildcards, attempt):
    """Return the memory of one slab of a box that is measured in slabs [MB]: some hold twice the mean."""
    return more(1500 + 200 * MILLIONS / CONFIG.statistics.slabs, attempt)


def gathering_memory(wildcards, attempt):
    """Return the memory of a job that gathers slabs [MB]: as one of them, and 10 B a particle next to a border.

    Those lie in two planes of cells out of √3/b for each mean separation (`statistics.friends`).
    """
    planes = 3**0.5 / CONFIG.statistics.linking_length * CONFIG.simulation.high / CONFIG.statistics.slabs
    return slab_memory(wildcards, attempt) + more(10 * MILLIONS * min(1, 2 / planes), attempt)


def sorting_memory(wildcards, attempt):
    """Return the memory of a job that reads particles in blocks [MB]: one bit of each is kept."""
    return more(1000 + 0.125 * MILLIONS, attempt)


def universe_memory(task):
    """Return the memory of the simulations of a task that tells cosmologies apart, one after the other [MB]."""

    def megabytes(wildcards, attempt):
        return more(1500 + (1e-4 + 2.4e-5 * CONFIG.simulation.mesh**3) * TASKS[task].particles ** 3, attempt)

    return megabytes


def ensemble_memory(wildcards, attempt):
    """Return the memory of a job that holds one field of every sample of a box [MB]."""
    samples = CONFIG.superresolution.samples + CONFIG.audit.universes
    return box_memory(wildcards, attempt) + more(20 * samples * MILLIONS, attempt)


def table_memory(wildcards, attempt):
    """Return the memory of a job that reads tables alone [MB]."""
    return more(1000, attempt)
