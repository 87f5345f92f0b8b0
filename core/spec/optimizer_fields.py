"""The types of the options of optimizers, with their ranges and descriptions."""

from typing import Annotated

from pydantic import Field

from core.spec.base import NonNegative, Positive, Probability

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
Betas = Annotated[
    tuple[Beta, Beta],
    Field(strict=False, description="The decay rates of the running averages of the gradient and of its square."),
]
Shrink = Annotated[float, Field(gt=0.0, lt=1.0)]
Grow = Annotated[float, Field(gt=1.0, le=100.0)]

Lr = Annotated[Positive, Field(description="The learning rate.")]
WeightDecay = Annotated[NonNegative, Field(description="The weight decay (L2 penalty).")]
Eps = Annotated[Positive, Field(description="A small number that is added to the denominator for numerical stability.")]
Amsgrad = Annotated[
    bool, Field(description="Whether to divide by the largest running average of squared gradients so far (AMSGrad).")
]
Momentum = Annotated[NonNegative, Field(description="The momentum factor; 0 for none.")]
Dampening = Annotated[NonNegative, Field(description="The fraction of the gradient that is not added to the momentum.")]
Nesterov = Annotated[bool, Field(description="Whether to use Nesterov momentum.")]
MomentumDecay = Annotated[NonNegative, Field(description="The decay of the momentum over the steps.")]
DecoupledDecay = Annotated[
    bool, Field(description="Whether weight decay is decoupled from the gradient, as in AdamW, instead of added to it.")
]
Beta2Decay = Annotated[
    float,
    Field(ge=-10.0, le=0.0, description="The exponent of the decay rate of the running average of squared gradients."),
]
MuonMomentum = Annotated[Beta, Field(description="The momentum factor.")]
SquareDecay = Annotated[Probability, Field(description="The decay rate of the running average of squared gradients.")]
Centered = Annotated[
    bool, Field(description="Whether to divide by an estimate of the variance of the gradient instead of its square.")
]
LrDecay = Annotated[NonNegative, Field(description="The decay of the learning rate over the steps.")]
InitialAccumulator = Annotated[NonNegative, Field(description="The initial value of the sums of squared gradients.")]
Lambd = Annotated[NonNegative, Field(description="The decay of each step.")]
AsgdPower = Annotated[NonNegative, Field(description="The exponent of the decay of the learning rate.")]
AveragingStart = Annotated[Positive, Field(description="The step at which averaging starts.")]
Etas = Annotated[
    tuple[Shrink, Grow],
    Field(strict=False, description="The factors by which a step size decreases and increases."),
]
StepSizes = Annotated[
    tuple[Positive, Positive], Field(strict=False, description="The smallest and the largest step size.")
]
MaxIterations = Annotated[int, Field(ge=1, le=10_000, description="The maximum number of iterations per step.")]
GradientTolerance = Annotated[NonNegative, Field(description="A step ends when no gradient is larger than this value.")]
ChangeTolerance = Annotated[
    NonNegative, Field(description="A step ends when the loss or the parameters change by less than this value.")
]
HistorySize = Annotated[int, Field(ge=1, le=1000, description="The number of updates that are stored.")]
