"""Kill a small real workflow again and again, and see that it ends with the numbers of an undisturbed run.

    python tests/reliability/soak.py --kills 50 --seed 1 --folder /tmp/soak

Each kill is a `kill -9` of Snakemake and all its jobs, at a random moment after a job of the rule aimed at has started;
every rule is aimed at. Three kills of four meet a run from scratch, which goes on after each; the others a forced rerun
of one job of the finished run. In the end every table, box, weight and card is compared, and the exit code is 1 where
one is missing or another.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from killing import ROOT, Job, Log, Outcome, command, durations, environment, plan, run

from supercosm.records.verdict import Comparison, compare_runs

OVERLAY = Path(__file__).with_name("soak.yaml")
RUN = Path("results/soak")
NEEDED = ("simulations", "pairs", "variants", "shifts", "skewed", "costs", "classification")  # by other files alone
AGAIN = 4  # one kill of so many meets the rerun of a finished job
TRIES = 4  # starts per kill, where the job aimed at was quicker
LONGEST = 0.95  # of the time a job took undisturbed is the latest moment of a kill
UNKNOWN = 3.0  # seconds, of rules without a benchmark

# has numba compile what jobs use, lest the first ones, whose times tell when to kill, take longer than those after them
WARM = """
import sys
from pathlib import Path
from supercosm.compare import compare_files
from supercosm.config import Evaluation, check
from supercosm.pairs import make_pairs
from supercosm.simulate import simulate_pair

folder = Path(sys.argv[1])
simulation = {"box_size": 25.0, "low": 8, "high": 16, "steps": 2}
simulate_pair(check({"device": "cpu", "simulation": simulation, "superresolution": {"tile": 8}}), 1, folder)
low, high = (folder / f"{name}.hdf5" for name in ("low", "high"))
make_pairs(low, high, folder / "pairs.hdf5", slabs=4)
compare_files([high], high, folder / "comparison.ecsv", Evaluation(bins=8, mesh=1))
"""


@dataclass
class Soak:
    """The folders, the dice and the account of one such trial."""

    folder: Path
    dice: random.Random
    targets: tuple[str, ...] = ()
    overlay: Path = OVERLAY
    jobs: list[Job] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    kills: Counter = field(default_factory=Counter)
    running: Counter = field(default_factory=Counter)
    starts: int = 0

    @property
    def rules(self) -> list[str]:
        """Rules of the undisturbed run in the order of their first jobs."""
        return list(dict.fromkeys(job.rule for job in self.jobs if job.outputs))

    def prepare(self) -> None:
        """Make the folders of both runs."""
        for name in ("undisturbed", "disturbed"):
            shutil.copytree(ROOT / "config", self.folder / name / "config")
            shutil.copyfile(self.overlay, self.folder / name / "soak.yaml")
        subprocess.run([sys.executable, "-c", WARM, str(self.folder / "warm")], env=environment(), check=True)

    def start(
        self, *arguments: str, name: str = "disturbed", aims: Sequence[str] = (), latest: float = LONGEST
    ) -> Outcome:
        """Start Snakemake; kill it at a job of the rules aimed at. Exits with the log where it fails by itself."""
        self.starts += 1
        log = self.folder / f"{self.starts}.log"
        outcome = run(
            command(self.folder / name, *arguments),
            self.folder / name,
            log,
            aims,
            lambda job: self.dice.uniform(0, latest) * self.seconds.get(job.rule, UNKNOWN),
        )
        if outcome.code:
            sys.exit(f"{log.read_text()}\nsoak: Snakemake ended with {outcome.code}, see above and {log}")
        if outcome.hit:
            self.kills[outcome.aim] += 1
            self.running.update(outcome.running)
            print(f"kill {self.kills.total()}: {outcome.aim}, running: {', '.join(outcome.running)}", flush=True)
        return outcome

    def undisturbed(self) -> None:
        """Run without a kill; learn the jobs and how long they take."""
        self.start(*self.targets, name="undisturbed")
        log = Log(self.folder / f"{self.starts}.log")
        log.look()
        self.jobs = list(log.jobs.values())
        self.seconds = durations(self.folder / "undisturbed", self.jobs)

    def from_scratch(self, aims: list[str]) -> list[str]:
        """Run from scratch, killed on the way; return the aims that the run ended without."""
        while aims:
            outcome = self.start(*self.targets, aims=aims)
            if outcome.code == 0:
                break
            if outcome.hit:
                aims.remove(outcome.aim)
        return aims

    def again(self, aims: Sequence[str]) -> None:
        """Force one job of each rule in a run that is finished, and kill that."""
        self.start(*self.targets)
        for rule in aims:
            job = self.dice.choice([job for job in self.jobs if job.rule == rule])
            for attempt in range(TRIES):
                if self.start(job.outputs[0], "--force", aims=[rule], latest=LONGEST / 2**attempt).hit:
                    break

    def finish(self) -> Comparison:
        """Let the run end; compare it with the undisturbed one.

        Runs, pairs and the like, which a killed rerun has deleted, are made again when they are asked for. Temporary
        files stay where Snakemake was killed between making and deleting them, and go when it is told so.
        """
        self.start(*self.targets)
        self.start(*self.targets, "-n")
        if "Nothing to be done" not in (self.folder / f"{self.starts}.log").read_text():
            sys.exit(f"soak: the finished run has something to do, see {self.folder / f'{self.starts}.log'}")
        outputs = [output for job in self.jobs for output in job.outputs]
        kept = [output for output in outputs if (self.folder / "undisturbed" / output).exists()]
        absent = [output for output in kept if not (self.folder / "disturbed" / output).exists()]
        wrong = [output for output in absent if not output.startswith(tuple(f"{RUN}/{part}/" for part in NEEDED))]
        if wrong:
            sys.exit(f"soak: the finished run lacks {', '.join(wrong)}")
        if absent:
            print(f"made again by name: {', '.join(absent)}")
            self.start(*absent)
        self.start(*self.targets, "--delete-temp-output")
        return compare_runs(self.folder / "undisturbed" / RUN, self.folder / "disturbed" / RUN, 0.0)

    def faults(self, comparison: Comparison) -> list[str]:
        """List what is wrong with the disturbed run, its files without numbers included."""
        first, second = (self.folder / name / RUN for name in ("undisturbed", "disturbed"))
        found = [
            f"{file.status}: {file.file} ({file.where})" for file in comparison.files if file.status != "identical"
        ]
        there, again = (files_of(folder) for folder in (first, second))
        found += [f"missing: {name}" for name in sorted(there - again - {file.file for file in comparison.files})]
        return found + [f"left over: {name}" for name in sorted(again - there)]

    def table(self) -> str:
        """Write a table of the rules: jobs, kills aimed at them, and kills that met them."""
        jobs = Counter(job.rule for job in self.jobs)
        rows = [("rule", "jobs", "kills", "jobs killed")]
        rows += [(rule, str(jobs[rule]), str(self.kills[rule]), str(self.running[rule])) for rule in self.rules]
        rows += [("all", str(jobs.total() - jobs["all"]), str(self.kills.total()), str(self.running.total()))]
        return "\n".join("".join(f"{cell:<{28 if i == 0 else 13}}" for i, cell in enumerate(row)) for row in rows)


def files_of(results: Path) -> set[str]:
    """List the files of a run, hidden ones included, but for logs, benchmarks, locks and the record's environments."""
    names = {path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file()}
    return {name for name in names if not name.endswith("/.lock") and name.partition("/")[0] not in ("logs", ".lock")}


def soak(
    folder: Path, kills: int, seed: int, targets: Sequence[str] = (), rules: Sequence[str] = (), overlay: Path = OVERLAY
) -> list[str]:
    """Run the trial, print its tables; return what is wrong, nothing if all is well.

    rules: to aim at, some of which may turn out to be too quick; else all, each of which has then to be killed.
    """
    trial = Soak(folder, random.Random(seed), tuple(targets), overlay)
    trial.prepare()
    trial.undisturbed()
    aims = plan(rules or trial.rules, kills, trial.dice)
    trial.dice.shuffle(aims)
    late, early = aims[: kills // AGAIN], aims[kills // AGAIN :]
    trial.again(late + trial.from_scratch(early))
    comparison = trial.finish()
    faults = trial.faults(comparison)
    print(f"\n{trial.table()}\n\n{comparison.as_text()}\n  Snakemake was started {trial.starts} times.")
    unhit = [rule for rule in trial.rules if not trial.kills[rule]] if not rules and kills >= len(trial.rules) else []
    if trial.kills.total() < kills:
        print(f"  {kills - trial.kills.total()} kills met no job: it was quicker in {TRIES} starts.")
    return faults + [f"never killed: {rule}" for rule in unhit]


def main() -> None:
    """Parse the command line, run the trial, and exit with 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True, help="an empty or a new one")
    arguments = parser.parse_args()
    faults = soak(arguments.folder.resolve(), arguments.kills, arguments.seed)
    print("\n".join(["", *faults, f"{len(faults)} faults"]))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
