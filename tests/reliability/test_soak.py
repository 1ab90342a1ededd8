"""Four kills of a short workflow: the numbers are those of an undisturbed run. soak.py by itself kills every rule."""

import yaml
from soak import OVERLAY, RUN, soak

RULES = ["simulate", "train", "superresolve", "compare"]  # each is killed once, one of them in a forced rerun
TARGET = f"{RUN}/comparisons/unet/4.ecsv"


def test_a_killed_workflow_ends_with_the_same_numbers(tmp_path):
    content = yaml.safe_load(OVERLAY.read_text())
    content["seeds"]["training"] = [1]
    content |= {"compression": {"coders": None}, "classification": {"tasks": None}}
    overlay = tmp_path / "short.yaml"
    overlay.write_text(yaml.safe_dump(content))
    assert soak(tmp_path, 4, 1, [TARGET], RULES, overlay) == []
