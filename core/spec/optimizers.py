"""The optimizers a job may ask for, with torch's own names and defaults."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.spec.base import NonNegative, Positive, Probability, Spec

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
Betas = Annotated[tuple[Beta, Beta], Field(strict=False)]


class SgdSpec(Spec):
    """Stochastic gradient descent. Source: `torch.optim.SGD`."""

    name: Literal["sgd"] = "sgd"
    lr: Positive = 1e-2
    momentum: NonNegative = 0.0
    dampening: NonNegative = 0.0
    weight_decay: NonNegative = 0.0
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise ValueError("nesterov needs a momentum above 0 and a dampening of 0")
        return self


class AdamSpec(Spec):
    """Adam. Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2014; `torch.optim.Adam`."""

    name: Literal["adam"] = "adam"
    lr: Positive = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    amsgrad: bool = False


class AdamWSpec(Spec):
    """Adam with decoupled weight decay. Source: Loshchilov and Hutter, 2017; `torch.optim.AdamW`."""

    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 1e-2
    amsgrad: bool = False


class RmspropSpec(Spec):
    """RMSprop. Source: Hinton's lecture 6e, 2012; `torch.optim.RMSprop`."""

    name: Literal["rmsprop"] = "rmsprop"
    lr: Positive = 1e-2
    alpha: Probability = 0.99
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    momentum: NonNegative = 0.0
    centered: bool = False


class AdagradSpec(Spec):
    """Adagrad. Source: Duchi, Hazan and Singer, 2011; `torch.optim.Adagrad`."""

    name: Literal["adagrad"] = "adagrad"
    lr: Positive = 1e-2
    lr_decay: NonNegative = 0.0
    weight_decay: NonNegative = 0.0
    initial_accumulator_value: NonNegative = 0.0
    eps: Positive = 1e-10


class AdadeltaSpec(Spec):
    """Adadelta. Source: Zeiler, 2012; `torch.optim.Adadelta`."""

    name: Literal["adadelta"] = "adadelta"
    lr: Positive = 1.0
    rho: Probability = 0.9
    eps: Positive = 1e-6
    weight_decay: NonNegative = 0.0


OptimizerSpec = Annotated[
    SgdSpec | AdamSpec | AdamWSpec | RmspropSpec | AdagradSpec | AdadeltaSpec,
    Field(discriminator="name"),
]
