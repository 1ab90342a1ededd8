"""Conditional GAN after Li et al. 2021 (PNAS 118, e2022038118): the critic sees output, input and density.

The generator is warm-started from a regression or warmed up on the pixel loss, which also stays on as an
anchor; meanwhile the critic learns, for one that knows nothing yet misleads. The critic's penalty is lazy
(Karras et al. 2020, section 3.1): evaluated every few steps with as much more weight.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from supercosm.crops import Crop
from supercosm.families.base import Family
from supercosm.family_settings import Gan
from supercosm.features import Features
from supercosm.networks.critic import PatchCritic


class GanFamily(Family):
    """Generator and critic, updated in turn."""

    def __init__(self, settings: Gan, features: Features) -> None:
        """Build both networks."""
        super().__init__(settings, features)
        self.automatic_optimization = False
        seen = Features(
            settings.model_copy(update={"noise": "none", "condition": ["low"]}),
            features.cell,
            features.scales,
        )
        density = settings.fields == "displacement"
        layout = torch.channels_last_3d if settings.dimensions == 3 else torch.channels_last
        self.critic = PatchCritic(
            seen.inputs + features.outputs + density,
            channels=settings.critic_channels,
            patch=settings.network.patch,
            dimensions=settings.dimensions,
        ).to(memory_format=layout)

    def judged(self, output: Tensor, crop: Crop) -> Tensor:
        """Return what the critic sees, without the margin: up-sampled input, output, painted root density."""
        channels = [self.features.encode_low(crop["low"]), output]
        if self.settings.fields == "displacement":
            channels.append(self.painted(output, crop))
        return self.inner(torch.cat(channels, dim=1))

    def training_step(self, crop: Crop, index: int) -> None:
        """Update the critic, then the generator; in the warm-up the generator by the pixel loss alone.

        A batch in several parts is generated twice, since the critic judges none before it has learnt from all.
        """
        step, parts = self.step_number(index), self.parts(crop, index)
        generator, critic = self.optimizers()
        generator.param_groups[0]["lr"] = self.settings.training.learning_rate * self.learning_rate(step)
        made = self._make(*parts[0]) if len(parts) == 1 else None
        critic.zero_grad(set_to_none=True)
        for part, seed in parts:
            with torch.no_grad():
                fake = self._make(part, seed)[1] if made is None else made[1].detach()
            real = self.judged(self.features.target(part["low"], part["high"]), part)
            self.manual_backward(self._critic_loss(real, fake, step, seed) / len(parts))
        critic.step()
        generator.zero_grad(set_to_none=True)
        for part, seed in parts:
            pixel, fake = self._make(part, seed) if made is None else made
            self.manual_backward(self._generator_loss(pixel, fake, step) / len(parts))
        generator.step()

    def _make(self, crop: Crop, seed: int) -> tuple[Tensor, Tensor]:
        """Generate for some crops: return the pixel loss, and what the critic sees of it."""
        target = self.features.target(crop["low"], crop["high"])
        output = self.generate(self.network, crop, seed)
        return self.distance(output, target, crop), self.judged(output, crop)

    def _generator_loss(self, pixel: Tensor, fake: Tensor, step: int) -> Tensor:
        self.log("loss", pixel.detach(), prog_bar=True, batch_size=len(fake))
        self.note(len(fake), train_loss=pixel)
        if step < self.settings.warm_up:
            return pixel
        adversarial = self._adversarial(fake)
        self.note(len(fake), adversarial_loss=adversarial)
        return pixel + self.settings.adversarial_weight * adversarial

    def _adversarial(self, fake: Tensor) -> Tensor:
        self.critic.requires_grad_(False)
        score = self.critic(fake).float()
        self.critic.requires_grad_(True)
        if self.settings.adversarial == "wgan-gp":
            return -score.mean()
        if self.settings.adversarial == "minimax":
            return -functional.softplus(score).mean()
        return functional.softplus(-score).mean()

    def _critic_loss(self, real: Tensor, fake: Tensor, step: int, seed: int = 0) -> Tensor:
        """Return what the critic makes small; seed: number of the first crop of a part of a batch."""
        score_real, score_fake = self.critic(real).float(), self.critic(fake).float()
        if self.settings.adversarial == "wgan-gp":
            loss = score_fake.mean() - score_real.mean()
        else:
            loss = functional.softplus(score_fake).mean() + functional.softplus(-score_real).mean()
        logged = {"critic_loss": loss, "critic_real": score_real.mean(), "critic_fake": score_fake.mean()}
        if self.settings.penalty and step % self.settings.penalty_every == 0:
            penalty = self._penalty(real, fake, step, seed)
            loss = loss + self.settings.penalty * self.settings.penalty_every * penalty
            logged["penalty"] = penalty
        self.note(len(real), **logged)
        return loss

    def _penalty(self, real: Tensor, fake: Tensor, step: int, seed: int = 0) -> Tensor:
        """Return the gradient penalty, in float32.

        WGAN-GP: (‖∇ Σ scores‖ − 1)² between real and fake, the norm being the root mean square over the cells of a
        crop, so that it does not depend on the crop's size (Gulrajani et al. 2017, eq. 3). Non-saturating: R1 at
        the real data (Mescheder et al. 2018, eq. 9), normalised alike.
        """
        if self.settings.adversarial == "wgan-gp":
            generator = torch.Generator().manual_seed(self.settings.training.seed * 1_000_003 + step)
            first, size = self.batch_around(seed, len(real))
            mix = torch.rand(size, *(1,) * (real.ndim - 1), generator=generator).to(real)
            mix = mix[seed - first : seed - first + len(real)]
            point = (mix * real + (1 - mix) * fake).detach().requires_grad_(True)
        else:
            point = real.detach().requires_grad_(True)
        with torch.autocast(real.device.type, enabled=False):
            score = self.critic(point)
            (slope,) = torch.autograd.grad(score.sum(), point, create_graph=True)
        norm = slope.square().sum(dim=1).mean(dim=tuple(range(1, slope.ndim - 1)))
        if self.settings.adversarial == "wgan-gp":
            return ((norm + 1e-12).sqrt() - 1).square().mean()
        return norm.mean() / 2

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return AdamW for the generator and Adam without momentum for the critic."""
        critic = torch.optim.Adam(self.critic.parameters(), lr=self.settings.critic_learning_rate, betas=(0.0, 0.99))
        return [self.optimiser(), critic]
