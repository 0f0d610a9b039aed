"""Networks and training in words: the short recipe that every headline states, and the full one of a paragraph on methods."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from resexp import config
from resexp.config import Settings
from resexp.runs import Results
from resexp.tables.labels import INITIALIZATIONS, NORMALIZATIONS
from resexp.tables.sentences import Sentence

LR = "training.lr"
GRID = (0.1, 0.3, 1.0, 3.0)  # multiples of the learning rate in the command below
ONE_RATE = "all networks have one learning rate"
SENTENCES = {
    "recipe": Sentence("learning rate{plural} {rates}", "always; the length of training follows"),
    "untuned": Sentence("Not tuned: every arm has learning rate {rate}; results may differ at another one.", ONE_RATE),
    "train": Sentence("To tune it: {command}", ONE_RATE),
    "compare": Sentence("then: resexp compare {name} --tune lr", ONE_RATE),
}


def recipe(results: Results) -> str:
    """'learning rate 0.001, 20 epochs'; the range if there are several values."""
    if results.table:
        return ""
    lengths = []
    for key, unit in (("training.epochs", "epoch"), ("training.steps", "step")):
        values = _values(results, key)
        if values:
            lengths.append(f"{_range(values)} {unit}{'' if values == [1] else 's'}")
    rates = _values(results, LR)
    rate = SENTENCES["recipe"].format(plural="s" if len(rates) > 1 else "", rates=_range(rates))
    return ", ".join([rate, " or ".join(lengths)])


def untuned(results: Results) -> list[str]:
    """If all networks have one learning rate: that it was not tuned, and the commands that tune it."""
    rates = _values(results, LR)
    if results.table or len(rates) != 1:
        return []
    folder, experiment = results.sources[0]
    name, grid = f"{experiment.name}-lr", ",".join(f"{rates[0] * factor:.3g}" for factor in GRID)
    return [
        SENTENCES["untuned"].format(rate=_range(rates)),
        SENTENCES["train"].format(command=changed(folder, f"{LR}={grid}", name)),
        SENTENCES["compare"].format(name=shlex.quote(name)),
    ]


def changed(folder: Path, override: str, name: str) -> str:
    """The command that trains the experiment in `folder` with one key changed, as a new experiment."""
    return shlex.join(["resexp", "train", str(folder), override, f"name={name}"])


def _values(results: Results, key: str) -> list[float]:
    """All values of a key in the trials, sorted, without None."""
    return sorted({record.conditions[key] for record in results.records if record.conditions.get(key) is not None})


def _range(values: Sequence[float]) -> str:
    ends = [config.format_value(value) for value in (values[0], values[-1])]
    return ends[0] if len(values) == 1 else " to ".join(ends)


# ---- methods ----------------------------------------------------------------------------------------------------------------

FAMILIES = {"mlp": "fully connected (MLP)", "cnn": "convolutional (CNN)"}
PLACEMENTS = {
    "post": "activation after the addition",
    "pre": "full pre-activation",
    "branch": "ReLU before addition",
    "post-norm": "normalization and activation after the addition",
    "pre-act-only": "ReLU-only pre-activation",
}
ACTIVATIONS = {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU"}
OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}


def networks_text(results: Results) -> str:
    """'Networks: fully connected (MLP), depth 8 and 64, width 64, blocks of 2 layers, ...; shortcuts: identity.'."""
    arms = [record.trial.arm for record in results.records if record.trial.parameters_of is None]
    shortcuts = [arm for arm in dict.fromkeys(arms) if arm != "plain"]
    return f"Networks: {_facts(results, NETWORK_FACTS)}; shortcuts: {', '.join(shortcuts) or 'none'}."


def training_text(results: Results) -> str:
    """'Training: 20 epochs, batches of 64, Adam (betas 0.9 and 0.999), learning rate 0.001, constant schedule, ...'."""
    return f"Training: {_facts(results, TRAINING_FACTS)}; the table lists the settings that vary."


def _facts(results: Results, facts: Sequence[tuple[str, Callable[[Settings], str]]]) -> str:
    """Each fact with all its values, in the order of the trials; parameter-matched baselines are left out."""
    settings = [record.trial.settings for record in results.records if record.trial.parameters_of is None]
    texts = []
    for name, value in facts:
        *others, last = dict.fromkeys(value(each) for each in settings)
        texts.append(f"{name}{', '.join(others)} and {last}" if others else f"{name}{last}" if last else "")
    return ", ".join(filter(None, texts))


def _block(settings: Settings) -> str:
    network = settings.network
    if network.block == "bottleneck":
        return "bottleneck blocks"
    return f"{'basic ' if network.family == 'cnn' else ''}blocks of {network.block_layers} layers"


def _activation(settings: Settings) -> str:
    label = config.arm_name(settings.network.activation)
    return ACTIVATIONS.get(label, label)


def _initialization(settings: Settings) -> str:
    network = settings.network
    name = "PyTorch default" if network.init == "pytorch" else INITIALIZATIONS.get(network.init, network.init)
    scale = "" if network.init_scale is None else f" with fan_in * Var(W) = {network.init_scale:g}"
    return f"{name} initialization{scale}{', every branch 0 at initialization' if network.zero_init_residual else ''}"


def _length(settings: Settings) -> str:
    training = settings.training
    return f"{training.epochs} epochs" if training.epochs is not None else f"{training.steps} steps"


def _optimizer(settings: Settings) -> str:
    training = settings.training
    name = OPTIMIZERS[training.optimizer]
    if training.optimizer == "sgd":
        kind = "Nesterov momentum" if training.nesterov else "momentum"
        return f"{name} with {kind} {training.momentum:g}" if training.momentum else f"{name} without momentum"
    return f"{name} (betas {training.betas[0]:g} and {training.betas[1]:g}, eps {training.eps:g})"


def _weight_decay(settings: Settings) -> str:
    training = settings.training
    if not training.weight_decay:
        return "no weight decay"
    return f"weight decay {training.weight_decay:g}{' of weights only' if training.decay == 'weights' else ''}"


def _schedule(settings: Settings) -> str:
    training = settings.training
    warmup = training.warmup
    milestones = " and ".join(map(config.format_value, training.milestones))
    steps = f" (factor {training.gamma:g} at {milestones})" if training.schedule == "step" else ""
    factor = f", warmup at {warmup.factor:g} x learning rate for {warmup.steps} steps" if warmup else ""
    return f"{training.schedule} schedule{steps}{factor}"


def _regularization(settings: Settings) -> str:
    training = settings.training
    texts = [f"label smoothing {training.label_smoothing:g}"] if training.label_smoothing else []
    texts += [f"gradients clipped to norm {training.clip_norm:g}"] if training.clip_norm is not None else []
    return " and ".join(texts)


NETWORK_FACTS: tuple[tuple[str, Callable[[Settings], str]], ...] = (
    ("", lambda settings: FAMILIES[settings.network.family]),
    ("depth ", lambda settings: str(settings.network.depth)),
    ("width ", lambda settings: str(settings.network.width)),
    ("", _block),
    ("", lambda settings: PLACEMENTS[settings.network.placement]),
    ("", _activation),
    ("", lambda settings: NORMALIZATIONS[settings.network.norm]),
    ("", _initialization),
)
TRAINING_FACTS: tuple[tuple[str, Callable[[Settings], str]], ...] = (
    ("", _length),
    ("batches of ", lambda settings: str(settings.training.batch_size)),
    ("", _optimizer),
    ("", _weight_decay),
    ("learning rate ", lambda settings: f"{settings.training.lr:g}"),
    ("", _schedule),
    ("", _regularization),
    ("", lambda settings: "no augmentation" if settings.data.augment == "none" else f"augmentation {settings.data.augment}"),
)
