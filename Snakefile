# From initial conditions to the report on super-resolution: `snakemake` runs everything that
# config/config.yaml asks for; `snakemake --configfile config/smoke.yaml` merges an overlay onto it.
from snakemake.utils import min_version

min_version("9.25")


configfile: "config/config.yaml"


# Acts only with `--software-deployment-method apptainer`, on an image that you build from container/supercosm.def; by
# default, rules run what pip installed.
container: "container/supercosm.sif"


report: "workflow/report/workflow.rst"


# A scheduler asks all processes of a job to stop: the shell waits for its command, which may have something to keep.
shell.prefix("set -euo pipefail; trap : TERM USR1; ")


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"


pathvars:
    results=RESULTS,


wildcard_constraints:
    seed=r"\d+",
    variant=one_of(VARIANTS),
    skew=one_of(SKEWED),
    tag=r"(_a\d\.\d+)?",


include: "workflow/rules/simulate.smk"
include: "workflow/rules/pairs.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/superresolve.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/variants.smk"
include: "workflow/rules/compress.smk"
include: "workflow/rules/classify.smk"
include: "workflow/rules/choose.smk"
include: "workflow/rules/report.smk"


rule all:
    """Everything: simulations, models, super-resolved boxes, tables, figures and the report."""
    default_target: True
    input:
        everything,
        "<results>/report/index.html",
    localrule: True


onstart:
    hold_results()
    keep_record()
