"""What the diagnostics at initialization say about networks that do not train, and what often helps such networks."""

from collections.abc import Sequence
from dataclasses import dataclass

from resexp import config
from resexp.comparison import Flow, Inputs, flow, groups, inputs, mean_distance, mean_growth
from resexp.config import Experiment, Settings
from resexp.runs import Outcome, Results
from resexp.tables.at_initialization import InitDiagnostics
from resexp.tables.formats import distance_text, growth_text
from resexp.tables.labels import cell_labels, cell_text, label_text
from resexp.tables.sentences import Sentence

MAX_REMEDIES = 2  # of an arm
MAX_LABELS = 3  # that are listed


@dataclass(frozen=True)
class Diagnosis:
    """One arm of a configuration: its diagnostics at initialization, its settings and how its trials ended.

    growth: change of log10 |dL/dx| over the network. distance: cosine distance at the last block boundary. Both are means over
    seeds, None if they were not measured. above_chance, diverged: their number of `trained` networks.
    """

    arm: str
    label: str
    growth: float | None
    distance: float | None
    shortcut: str
    init: str
    init_scale: float | None
    norm: str
    lr: float
    trained: int = 0
    above_chance: int = 0
    diverged: int = 0

    @property
    def flow(self) -> Flow | None:
        return None if self.growth is None else flow(self.growth)

    @property
    def inputs(self) -> Inputs | None:
        return None if self.distance is None else inputs(self.distance)

    @property
    def failed(self) -> bool:
        """Whether a network is at chance or diverged."""
        return self.above_chance < self.trained

    @property
    def is_sound(self) -> bool:
        """Whether nothing vanishes, explodes or collapses."""
        return self.flow in (None, Flow.STABLE) and self.inputs in (None, Inputs.DISTINCT)


# ---- remedies ---------------------------------------------------------------------------------------------------------------

OWN_SCALE = ("skipinit", "rezero", "depth-scaled")  # shortcuts that set the scale of the branch
REMEDIES = {
    "lr": Sentence(
        "a smaller learning rate (lr={lr:g}, arXiv:1206.5533)",
        "a network diverged, or is at chance although gradients are stable and inputs distinct at initialization",
    ),
    "shortcut": Sentence(
        "a shortcut (shortcut=identity, arXiv:1512.03385)",
        "a plain network whose gradients vanish, or one with normalization whose gradients explode or whose inputs collapse",
    ),
    "he": Sentence(
        "a larger initialization scale (init=he, arXiv:1502.01852)",
        "a plain network without normalization, with PyTorch or Xavier initialization, whose gradients vanish",
    ),
    "looks-linear": Sentence(
        "a plain network that is linear at initialization (init=looks-linear, arXiv:1702.08591)",
        "a plain network without normalization whose inputs collapse, with another initialization",
    ),
    "init scale": Sentence(
        "a smaller initialization scale (init_scale=2, arXiv:1502.01852)",
        "a plain network without normalization whose gradients explode, with an init_scale above 2",
    ),
    "branch": Sentence(
        "smaller branches (shortcut=skipinit, arXiv:2002.10444)",
        "a residual network without normalization or scaled branches whose gradients explode or whose inputs collapse",
    ),
    "normalization": Sentence(
        "normalization layers (norm=layer, arXiv:1607.06450)",
        "a residual network without normalization whose gradients explode",
    ),
}


def _applies(arm: Diagnosis) -> dict[str, bool]:
    """Remedy -> whether its condition holds, in the order of preference."""
    plain, unnormalized = arm.shortcut == "plain", arm.norm == "none"
    vanishing, exploding = arm.flow == Flow.VANISHING, arm.flow == Flow.EXPLODING
    collapsed = arm.inputs == Inputs.COLLAPSED
    unscaled = not plain and arm.shortcut not in OWN_SCALE
    return {
        "lr": arm.diverged > 0 or (arm.failed and (arm.flow, arm.inputs) == (Flow.STABLE, Inputs.DISTINCT)),
        "shortcut": plain and (vanishing or ((collapsed or exploding) and not unnormalized)),
        "he": plain and unnormalized and vanishing and arm.init in ("pytorch", "xavier") and arm.init_scale is None,
        "looks-linear": plain and unnormalized and collapsed and arm.init not in ("looks-linear", "identity"),
        "init scale": plain and unnormalized and exploding and (arm.init_scale or 0) > 2,
        "branch": unscaled and unnormalized and (exploding or collapsed),
        "normalization": not plain and unnormalized and exploding,
    }


def remedies(arm: Diagnosis) -> list[str]:
    """What often helps networks like this one, at most two remedies; empty if no condition holds."""
    keys = [key for key, applies in _applies(arm).items() if applies]
    return [REMEDIES[key].format(lr=arm.lr / 10) for key in keys[:MAX_REMEDIES]]


# ---- lines ------------------------------------------------------------------------------------------------------------------

SENTENCES = {
    "diagnosis": Sentence(
        "{arms}: {facts}.",
        "an arm whose gradients vanish or explode, whose inputs collapse, or with a network not above chance",
    ),
    "helps": Sentence("  Often helps: {remedies}.", "a remedy applies"),
    "distance": Sentence("inputs {verdict} (cosine distance {distances})", "the distance was measured"),
    "growth": Sentence("gradients {verdict} ({growths} orders of magnitude)", "gradients were measured"),
    "outcome": Sentence("{count} of {total} networks above chance", "networks were trained"),
}
FLOWS = {Flow.VANISHING: "vanish", Flow.STABLE: "are stable", Flow.EXPLODING: "explode"}
INPUTS = {Inputs.COLLAPSED: "collapse", Inputs.DISTINCT: "stay distinct"}


def advice(arms: Sequence[Diagnosis]) -> list[str]:
    """For each group of arms with the same verdicts and remedies: what the diagnostics say, and what often helps."""
    alike: dict[tuple[object, ...], list[Diagnosis]] = {}
    for arm in arms:
        if arm.failed or not arm.is_sound:
            alike.setdefault((arm.flow, arm.inputs, tuple(remedies(arm)), arm.failed), []).append(arm)
    lines = []
    for members in sorted(alike.values(), key=lambda members: not members[0].failed):
        first = members[0]
        lines.append(SENTENCES["diagnosis"].format(arms=_names(members), facts=", ".join(_facts(members))))
        if helps := remedies(first):
            lines.append(SENTENCES["helps"].format(remedies="; ".join(helps)))
    return lines


def _names(members: Sequence[Diagnosis]) -> str:
    """'plain (depth 64, layer norm), identity (depth 8 and 2 more)'."""
    labels: dict[str, list[str]] = {}
    for arm in members:
        labels.setdefault(arm.arm, []).append(arm.label)
    return ", ".join(f"{name} ({_listed(names)})" for name, names in labels.items())


def _listed(labels: Sequence[str]) -> str:
    more = len(labels) - MAX_LABELS
    return "; ".join([*labels[:MAX_LABELS], *([f"{more} more"] if more > 0 else [])])


def _facts(members: Sequence[Diagnosis]) -> list[str]:
    first = members[0]
    growths = sorted(arm.growth for arm in members if arm.growth is not None)
    distances = sorted(arm.distance for arm in members if arm.distance is not None)
    facts = []
    if first.flow is not None:
        facts.append(SENTENCES["growth"].format(verdict=FLOWS[first.flow], growths=_range([*map(growth_text, growths)])))
    if first.inputs is not None:
        facts.append(
            SENTENCES["distance"].format(verdict=INPUTS[first.inputs], distances=_range([*map(distance_text, distances)]))
        )
    if trained := sum(arm.trained for arm in members):
        facts.append(SENTENCES["outcome"].format(count=sum(arm.above_chance for arm in members), total=trained))
    return facts


def _range(texts: Sequence[str]) -> str:
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"


# ---- from measurements and results ------------------------------------------------------------------------------------------


def probe_diagnoses(experiment: Experiment, diagnostics: Sequence[InitDiagnostics]) -> list[Diagnosis]:
    """The arms of `resexp probe`, in the order of the experiment."""
    labels = cell_labels(experiment)
    trials = [trials for arms in config.cells(experiment.trials, experiment.axes).values() for trials in arms.values()]
    return [
        _diagnosis(measured.arm, cell_text(measured.cell, labels), measured.growth, measured.distance, settings[0].settings)
        for measured, settings in zip(diagnostics, trials, strict=True)
    ]


def trained_diagnoses(results: Results) -> list[Diagnosis]:
    """The arms of finished trials."""
    diagnoses = []
    for label, arms in groups(results):
        for arm, records in arms.items():
            outcomes = [record.result.outcome for record in records if record.result]
            counts = len(outcomes), outcomes.count(Outcome.ABOVE_CHANCE), outcomes.count(Outcome.DIVERGED)
            measured = mean_growth(records), mean_distance(records)
            diagnoses.append(_diagnosis(arm, label_text(label), *measured, records[0].trial.settings, *counts))
    return [diagnosis for diagnosis in diagnoses if diagnosis.trained]


def _diagnosis(
    arm: str, label: str, growth: float | None, distance: float | None, settings: Settings, *counts: int
) -> Diagnosis:
    network = settings.network
    shortcut = config.shortcut_name(network.shortcut)
    recipe = network.init, network.init_scale, network.norm, settings.training.lr
    return Diagnosis(arm, label, growth, distance, shortcut, *recipe, *counts)
