"""Families: every loss, field and dimension learns; the critic's arithmetic is what the papers say."""

import itertools
import math

import pytest
import torch
from learning import DEFAULTS, STOCHASTIC, configuration, small_family

from supercosm.families.base import VALIDATION_SEED
from supercosm.families.ensemble import _draw
from supercosm.losses import root_paint, score

FIELDS = {
    "displacement": {},
    "density": {"fields": "density"},
    "slabs": {"fields": "density", "dimensions": 2},
}
CONDITIONS = {
    "known": {"condition": ["low", "initial"]},
    "white": {"condition": ["low"], "noise": "white"},
    "drawn": {"condition": ["low"], "noise": "initial"},
}
LOSSES = [{"mse": 1.0}, {"l1": 1.0}, {"huber": 1.0}, {"log_cosh": 1.0}, {"mse": 1.0, "density": 0.5}]
COMBINATIONS = [
    (fields, condition, loss)
    for (fields, condition), loss in itertools.product(itertools.product(FIELDS, CONDITIONS), LOSSES)
    if fields == "displacement" or "density" not in loss
]


def label(loss):
    return "+".join(loss)


def gan(boxes, fields="displacement", **model):
    training = {"crop": 24, **model.pop("training", {})}  # the critic needs more room than a regression
    settings = {"family": "gan", "noise": "white", "critic_channels": 4, **FIELDS[fields], **model}
    family, batch = small_family(boxes, training=training, **settings)
    family.log = family.log_dict = lambda *_, **__: None
    return family, batch


@pytest.mark.parametrize(
    ("fields", "condition", "loss"), COMBINATIONS, ids=lambda x: x if isinstance(x, str) else label(x)
)
def test_every_regression_falls_on_a_fixed_batch(boxes, fields, condition, loss):
    family, batch = small_family(boxes, loss=loss, **FIELDS[fields], **CONDITIONS[condition])
    family.log = family.log_dict = lambda *_, **__: None
    optimiser = torch.optim.Adam(family.network.parameters(), lr=1e-2)
    values = []
    for _ in range(8):
        value = family.training_step(batch, 0)
        optimiser.zero_grad()
        value.backward()
        assert all(torch.isfinite(p.grad).all() for p in family.network.parameters() if p.grad is not None)
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0] * 0.99


@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize("adversarial", ["wgan-gp", "non-saturating", "minimax"])
@pytest.mark.parametrize("condition", ["white", "drawn"])
def test_every_gan_trains_both_networks(boxes, fields, adversarial, condition):
    family, batch = gan(
        boxes,
        fields,
        adversarial=adversarial,
        penalty_every=2,
        critic_learning_rate=5e-3,
        training={"learning_rate": 1e-2},
        **CONDITIONS[condition],
    )
    optimisers, noted = family.configure_optimizers(), {}
    family.optimizers = lambda: optimisers
    family.manual_backward = lambda loss: loss.backward()
    family.learning_rate = lambda step: 1.0
    family.note = lambda batch, **values: [noted.setdefault(k, []).append(float(v.detach())) for k, v in values.items()]
    before = [p.detach().clone() for p in family.critic.parameters()]
    for step in range(8):
        family.training_step(batch, step)
    assert noted["train_loss"][-1] < noted["train_loss"][0] * 0.99
    assert len(noted["penalty"]) == 4
    assert len(noted["critic_loss"]) == len(noted["adversarial_loss"]) == 8
    assert all(torch.isfinite(torch.tensor(values)).all() for values in noted.values())
    assert any(not torch.equal(a, b) for a, b in zip(before, family.critic.parameters(), strict=True))
    assert all(p.requires_grad for p in family.critic.parameters())


@pytest.mark.parametrize("adversarial", ["wgan-gp", "non-saturating", "minimax"])
def test_a_critic_learns_to_tell_real_from_generated(boxes, adversarial):
    family, batch = gan(boxes, adversarial=adversarial, penalty_every=2)
    optimiser = torch.optim.Adam(family.critic.parameters(), lr=5e-3, betas=(0.0, 0.99))
    target = family.features.target(batch["low"], batch["high"])
    real, fake = family.judged(target, batch), family.judged(torch.zeros_like(target), batch)
    for step in range(8):
        optimiser.zero_grad()
        family._critic_loss(real, fake, step).backward()
        optimiser.step()
    with torch.no_grad():
        assert family.critic(real).mean() > family.critic(fake).mean() + 0.05


@pytest.mark.parametrize(("adversarial", "steepest"), [("non-saturating", "rejected"), ("minimax", "accepted")])
def test_which_scores_move_the_generator_most(boxes, adversarial, steepest):
    """softplus(−s) has slope −1 where the critic rejects, and none where it accepts; −softplus(s) the reverse."""
    family, _ = gan(boxes, adversarial=adversarial)
    slopes = {}
    for name, value in (("rejected", -8.0), ("accepted", 8.0)):
        family.critic = LinearCritic([1.0])
        fake = torch.full((1, 1, 4, 4, 4), value, requires_grad=True)
        family._adversarial(fake).backward()
        slopes[name] = float(fake.grad.sum())
    gentlest = ({"rejected", "accepted"} - {steepest}).pop()
    assert slopes[steepest] == pytest.approx(-1, abs=1e-3)
    assert slopes[gentlest] == pytest.approx(0, abs=1e-3)


class LinearCritic(torch.nn.Module):
    """One score w·x per cell: its gradient is w everywhere."""

    def __init__(self, weights):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor(weights))

    def forward(self, x):
        return torch.einsum("c,bcxyz->bxyz", self.weights, x).flatten(1)


@pytest.mark.parametrize(
    ("adversarial", "expected"), [("wgan-gp", (5.0 - 1) ** 2), ("non-saturating", 5.0**2 / 2), ("minimax", 5.0**2 / 2)]
)
def test_the_penalty_of_a_linear_critic_is_known(boxes, adversarial, expected):
    family, _ = gan(boxes, adversarial=adversarial)
    family.critic = LinearCritic([3.0, -4.0, 0.0])
    real, fake = torch.randn(2, 2, 3, 4, 4, 4)
    penalty = family._penalty(real, fake, step=0)
    assert float(penalty.detach()) == pytest.approx(expected, rel=1e-5)
    penalty.backward()
    slope = family.critic.weights.grad / torch.tensor([3.0, -4.0, 1.0])
    # d/dw (|w| − 1)² = 2 (|w| − 1) w / |w|; d/dw |w|²/2 = w
    factor = 2 * (5.0 - 1) / 5.0 if adversarial == "wgan-gp" else 1.0
    torch.testing.assert_close(slope, torch.tensor([factor, factor, 0.0]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("adversarial", "generator", "critic"),
    [
        ("wgan-gp", -0.7, 0.7 - 0.2),
        ("non-saturating", 0.4032, 1.1032 + 0.5981),
        ("minimax", -1.1032, 1.1032 + 0.5981),
    ],
)
def test_adversarial_losses_of_known_scores(boxes, adversarial, generator, critic):
    """Scores 0.7 (generated), 0.2 (real); softplus of −0.7, 0.7, −0.2 is 0.4032, 1.1032, 0.5981."""
    family, _ = gan(boxes, adversarial=adversarial, penalty=0.0)
    fake, real = torch.full((1, 1, 4, 4, 4), 0.7), torch.full((1, 1, 4, 4, 4), 0.2)
    family.critic = LinearCritic([1.0])
    assert float(family._adversarial(fake)) == pytest.approx(generator, abs=1e-4)
    noted = {}
    family.manual_backward = lambda loss: loss.backward()
    family.note = lambda batch, **values: noted.update({k: float(v.detach()) for k, v in values.items()})
    family._critic_loss(real, fake, step=0)
    assert noted["critic_loss"] == pytest.approx(critic, abs=1e-4)
    assert noted["critic_real"] == pytest.approx(0.2)
    assert noted["critic_fake"] == pytest.approx(0.7)


def test_in_the_warm_up_the_critic_learns_but_has_no_say(boxes):
    family, batch = gan(boxes, warm_up=2)
    optimisers = family.configure_optimizers()
    family.optimizers = lambda: optimisers
    family.manual_backward = lambda loss: loss.backward()
    noted = set()
    family.note = lambda count, **values: noted.update(values)
    before = [p.detach().clone() for p in family.critic.parameters()]
    for step, judged in ((0, False), (1, False), (2, True)):
        family.training_step(batch, step)
        assert any(not torch.equal(a, b) for a, b in zip(before, family.critic.parameters(), strict=True))
        assert ("adversarial_loss" in noted) == judged


def test_the_critic_judges_input_output_and_density_side_by_side(boxes):
    family, batch = gan(boxes)
    output = torch.randn(1, 6, 24, 24, 24)
    seen = family.judged(output, batch)
    assert seen.shape == (1, 18 + 6 + 1, 16, 16, 16)
    inner = slice(4, 20)
    torch.testing.assert_close(seen[:, :18], family.features.encode_low(batch["low"])[..., inner, inner, inner])
    torch.testing.assert_close(seen[:, 18:24], output[..., inner, inner, inner])
    torch.testing.assert_close(seen[:, 24:], family.painted(output, batch)[..., inner, inner, inner])


def test_the_painted_density_is_that_of_the_particles_however_the_crop_moves(boxes):
    family, batch = small_family(boxes)
    target = family.features.target(batch["low"], batch["high"])
    painted = family.inner(family.painted(target, batch))
    displacement = batch["high"][:, :3] - batch["low"][:, :3].mean(dim=(2, 3, 4), keepdim=True)
    torch.testing.assert_close(painted, family.inner(root_paint(displacement, 50.0 / 32)), rtol=0, atol=1e-4)
    moved = {**batch, "low": batch["low"] + 9.0, "high": batch["high"] + 9.0}
    torch.testing.assert_close(family.inner(family.painted(target, moved)), painted, rtol=0, atol=1e-3)


def test_the_margin_is_left_out_of_the_loss(boxes):
    family, batch = small_family(boxes)
    output, target = torch.zeros(2, 1, 6, 16, 16, 16)
    output[..., :4, :, :] = 100.0
    assert float(family.distance(output, target, batch)) == 0
    output[..., 4, 4, 4] = 1.0
    weight = family.settings.velocity_weight
    assert float(family.distance(output, target, batch)) == pytest.approx((3 + 3 * weight**2) / (6 * 8**3))


def test_weights_depend_on_the_seed_alone(boxes):
    first, _ = small_family(boxes, noise="white")
    torch.randn(7)
    again, _ = small_family(boxes, noise="white")
    other, _ = small_family(boxes, noise="white", training={"seed": 1})
    name = "stem.weight"
    assert torch.equal(first.network.state_dict()[name], again.network.state_dict()[name])
    assert not torch.equal(first.network.state_dict()[name], other.network.state_dict()[name])


def test_validation_noise_never_repeats_that_of_training():
    training = configuration(training={"steps": 200000, "validate_every": 100000}).models["model"].training
    assert training.steps * training.batch < VALIDATION_SEED


def test_the_learning_rate_rises_then_falls_to_a_hundredth(boxes):
    family, _ = small_family(boxes, training={"steps": 100, "validate_every": 10})
    rates = [family.learning_rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) in (9, 10)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.01, abs=2e-3)


@pytest.mark.parametrize(("clip", "length", "cut"), [(10.0, 1000.0, 10.0), (10.0, 3.0, 3.0), (None, 1000.0, 1000.0)])
def test_gradients_are_cut_where_they_are_too_long_and_else_left_alone(boxes, clip, length, cut):
    family, _ = small_family(boxes, training={"clip": clip})
    optimiser, weights = family.optimiser(), list(family.network.parameters())
    count = sum(weight.numel() for weight in weights)
    for weight in weights:
        weight.grad = torch.full_like(weight, length / math.sqrt(count))
    before = [weight.grad.clone() for weight in weights]
    family.on_before_optimizer_step(optimiser)
    norm = math.sqrt(sum(float(weight.grad.double().square().sum()) for weight in weights))
    assert norm == pytest.approx(cut, rel=1e-3)
    if cut == length:
        assert all(torch.equal(weight.grad, old) for weight, old in zip(weights, before, strict=True))


CONDITIONS_OF_ENSEMBLES = [
    {"noise": "initial"},
    {"noise": "white"},
    {"noise": "white", "condition": ["low", "initial"]},
]


def ensemble(boxes, fields="displacement", **model):
    family, batch = small_family(boxes, **{"family": "ensemble", **FIELDS[fields], **model})
    family.log = family.log_dict = lambda *_, **__: None
    return family, batch


@pytest.mark.parametrize(
    ("fields", "loss"),
    [("displacement", {"field": 1.0}), ("displacement", {"field": 1.0, "density": 0.5}), ("density", {"field": 1.0}),
     ("slabs", {"field": 1.0})],
)  # fmt: skip
@pytest.mark.parametrize("condition", CONDITIONS_OF_ENSEMBLES, ids=str)
def test_every_ensemble_learns_and_uses_its_noise(boxes, fields, loss, condition):
    family, batch = ensemble(boxes, fields, loss=loss, **condition)
    optimiser = torch.optim.Adam(family.network.parameters(), lr=1e-2)
    values = []
    for _ in range(12):
        value = family.training_step(batch, 0)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0] * 0.99
    draws = [family.generate(family.network, _draw(batch, number), number) for number in (0, 1)]
    assert torch.any((draws[0] - draws[1]).abs() > 1e-4)
    torch.testing.assert_close(draws[0], family.generate(family.network, _draw(batch, 0), 0), rtol=0, atol=0)


def test_draws_of_an_ensemble_are_never_drawn_twice(boxes, monkeypatch):
    """Two draws for each of two crops in each of three steps, and others at validation."""
    family, batch = ensemble(boxes)
    batch = {name: torch.cat([field, field]) for name, field in batch.items()}
    seeds, generate = [], family.generate
    monkeypatch.setattr(
        family, "generate", lambda network, crop, seed: seeds.append(seed) or generate(network, crop, seed)
    )
    for step in range(3):
        family.training_step(batch, step)
    for index in range(2):
        family.validation_step(batch, index)
    drawn = [seed + i for seed in seeds for i in range(2)]
    assert len(set(drawn)) == len(drawn) == 20


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0, 2.0])
def test_the_score_of_gaussians_is_known(spread):
    """N(0, s²) drawn for N(0, 1): E|x − y| − E|x − x'|/2 = √(2 (1 + s²)/π) − s/√π, smallest at s = 1.

    Of 160 000 cells; the standard error is 0.002.
    """
    generator = torch.Generator().manual_seed(0)
    first, second, target = torch.randn(3, 10, 1, 16, 1000, generator=generator)
    found = float(score(spread * first, spread * second, target, 1))
    expected = math.sqrt(2 * (1 + spread**2) / math.pi) - spread / math.sqrt(math.pi)
    assert found == pytest.approx(expected, abs=0.01)


def test_the_score_of_blocks_sees_what_cells_have_in_common():
    """Samples with right values that vary together where the truth's do not score worse over blocks, not over cells."""
    generator = torch.Generator().manual_seed(0)
    target, *free = torch.randn(3, 1, 1, 256, 256, generator=generator)
    bound = [x.kron(torch.ones(1, 1, 4, 4)) for x in torch.randn(2, 1, 1, 64, 64, generator=generator)]
    assert float(score(*bound, target, 1)) == pytest.approx(float(score(*free, target, 1)), abs=0.03)
    assert float(score(*bound, target, 4)) > float(score(*free, target, 4)) + 0.05


@pytest.mark.parametrize("block", [1, 2])
def test_the_score_finds_the_posterior_of_linear_gaussian_super_resolution(block):
    """y = w c + s n: a generator a c + b z trained by the score ends at a = w, b = s, mean and spread of y given c."""
    generator = torch.Generator().manual_seed(0)
    learnt = torch.nn.Parameter(torch.tensor([0.0, 0.1]))
    optimiser = torch.optim.Adam([learnt], lr=0.03)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, 300)
    for _ in range(300):
        c, n, *z = torch.randn(4, 4, 1, 32, 32, generator=generator)
        loss = score(*(learnt[0] * c + learnt[1] * x for x in z), 0.8 * c + 0.6 * n, block)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    assert learnt.tolist() == pytest.approx([0.8, 0.6], abs=0.03)


OWN = ["vae", "flow_matching", "diffusion"]
NOISY = {name: DEFAULTS[name] for name in STOCHASTIC if name != "gan"} | {
    "white vae": {**DEFAULTS["vae"], "noise": "white"},
    "white flow_matching": {**DEFAULTS["flow_matching"], "noise": "white", "begin": "white"},
    "diffusion to noise": {**DEFAULTS["diffusion"], "target": "noise"},
}


@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize("name", NOISY)
def test_every_loss_of_a_family_falls_on_a_fixed_batch(boxes, fields, name):
    family, batch = small_family(boxes, **NOISY[name], **FIELDS[fields])
    family.log = family.log_dict = lambda *_, **__: None
    optimiser = family.optimiser()
    optimiser.param_groups[0]["lr"] = 1e-3 if name == "flow" else 1e-2  # logarithms of scales are touchy
    values = []
    for _ in range(10):
        value = family.training_step(batch, 1)
        optimiser.zero_grad()
        value.backward()
        assert all(torch.isfinite(p.grad).all() for p in family.parameters() if p.grad is not None)
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0] * 0.99


@pytest.mark.parametrize("name", OWN)
def test_steps_and_crops_of_a_family_have_noise_of_their_own(boxes, name):
    """Of three steps of two crops and of validation, no field is drawn twice; what a step draws, it draws again."""
    family, batch = small_family(boxes, **DEFAULTS[name])
    family.log = family.log_dict = lambda *_, **__: None
    batch = {key: torch.cat([field, field]) for key, field in batch.items()}
    white, drawn = family.white, []
    family.white = lambda like, seed: drawn.append(white(like, seed)) or drawn[-1]
    for step in range(3):
        family.training_step(batch, step)
    family.validation_step(batch, 0)
    family.training_step(batch, 0)
    assert torch.equal(drawn[0], drawn[-1])
    fields = torch.cat(drawn[:-1]).flatten(1)
    assert len(fields) == 8
    assert (torch.corrcoef(fields) - torch.eye(8)).abs().max() < 0.1
    assert fields.std() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", OWN)
def test_the_margin_is_left_out_of_every_loss(boxes, name):
    """What is wrong only in the margin, by 100, costs nothing, one cell more does; fresh networks pass nothing on."""
    family, batch = small_family(boxes, **DEFAULTS[name], network={"blocks": 1, "levels": 1})
    margin = family.settings.training.margin
    before = float(family.loss(family.network, batch, VALIDATION_SEED))
    for depth, costs in ((margin, False), (margin + 1, True)):
        high = batch["high"].clone()
        high[..., :depth, :, :] += 100.0
        after = float(family.loss(family.network, {**batch, "high": high}, VALIDATION_SEED))
        assert (after > before + 1) == costs
        assert costs or after == pytest.approx(before, abs=1e-4)
