"""How much of a predicted loss is left after training, by kind of form.

Sensitivities are measured from the weights alone. Training makes up for most of that, but not
equally. So a network of each kind is trained as the attempts are, and what it still loses scales
the accuracy changes of its kind.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot

from compress.candidates import recipe_of
from compress.recipe import Recipe
from compress.sensitivity import Loss, Progress, Sensitivity
from splitter.cost.variants import Candidate
from splitter.variants import AS_IS, Choice

TRIAL_POINTS = 30.0
"""Predicted points at which a kind is tried: about one is left of them after training."""
_NOTHING = 1e-6
"""Predicted points that tell nothing."""
_LEAST = 0.1
"""No kind is taken to be more than so many times better than all of them together."""


@dataclass(frozen=True)
class Trial:
    """A network with forms of one kind only."""

    kind: str
    """Names of the methods: ``trp + slq``."""
    variants: Choice
    predicted_points: float
    """Sum of what its layers lose one by one, without training."""
    loss: Loss
    """Of all of them together, after training."""


def kind_of(form: str) -> str:
    """The methods of a form, without their parameters."""
    return " + ".join(method.partition(":")[0] for method in form.split(" + "))


def try_kinds(
    sensitivity: Sensitivity,
    trained_loss: Callable[[Recipe], Loss],
    steps: int,
    progress: Progress = lambda done, total, kind: None,
) -> Iterator[Trial]:
    """One trained network for each kind of form.

    Args:
        sensitivity: what every form loses from the weights alone.
        trained_loss: applies a recipe with training, and measures on requests not trained on.
        steps: of training, for each network.
        progress: is told networks done, networks in all, and the kind that is next.
    """
    choices = trial_choices(sensitivity)
    for done, (kind, variants) in enumerate(choices.items()):
        progress(done, len(choices), kind)
        loss = trained_loss(recipe_of(variants, steps))
        yield Trial(kind, variants, sensitivity.predicted_points(variants), loss)


def trial_choices(sensitivity: Sensitivity) -> dict[str, Choice]:
    """By kind: every layer's smallest form of the kind, the least harmful layers first.

    As many layers as `TRIAL_POINTS` allow; the others stay as they are.
    """
    smallest: dict[str, dict[str, Candidate]] = {}
    for layer, own in sensitivity.candidates.items():
        for one in own:
            if one.variant.name != AS_IS:
                known = smallest.setdefault(kind_of(one.variant.name), {})
                known[layer] = min(known.get(layer, one), one, key=_bytes)
    return {
        kind: dict.fromkeys(sensitivity.candidates, AS_IS) | dict(_allowed(forms))
        for kind, forms in smallest.items()
    }


def _bytes(one: Candidate) -> int:
    return one.variant.weight_bytes


def _allowed(forms: Mapping[str, Candidate]) -> Iterator[tuple[str, str]]:
    total = 0.0
    for layer, one in sorted(forms.items(), key=lambda item: item[1].variant.accuracy_drop):
        total += one.variant.accuracy_drop
        if total > TRIAL_POINTS and total > one.variant.accuracy_drop:
            return
        yield layer, one.variant.name


def left_after_training(trials: Sequence[Trial]) -> dict[str, float]:
    """Share of the predicted points that is lost in the end, by kind.

    The share of all kinds together is what each is expected to have, give or take that share; the
    measurement of the kind itself counts as much as its standard error allows (normal prior and
    normal error).
    """
    predicted = sum(trial.predicted_points for trial in trials)
    if predicted < _NOTHING:
        return {}
    lost = sum(trial.loss.points for trial in trials)
    common = max(lost, hypot(*(trial.loss.error for trial in trials)), 1e-3 * predicted) / predicted
    return {trial.kind: max(_posterior(trial, common), _LEAST * common) for trial in trials}


def _posterior(trial: Trial, common: float) -> float:
    error = max(trial.loss.error, 1e-3)
    known, prior = (trial.predicted_points / error) ** 2, common**-2
    measured = trial.predicted_points * trial.loss.points / error**2
    return (measured + prior * common) / (known + prior)


def after_training(sensitivity: Sensitivity, trials: Sequence[Trial]) -> Sensitivity:
    """The sensitivities, scaled to what is left of them after training."""
    shares = left_after_training(trials)
    return replace(
        sensitivity,
        candidates={
            layer: tuple(_scaled(one, shares.get(kind_of(one.variant.name), 1.0)) for one in own)
            for layer, own in sensitivity.candidates.items()
        },
    )


def _scaled(one: Candidate, share: float) -> Candidate:
    drop = one.variant.accuracy_drop * share
    return replace(one, variant=replace(one.variant, accuracy_drop=drop))
