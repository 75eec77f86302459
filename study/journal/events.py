"""What happens in a study: one frozen dataclass for each kind of event.

An event is a line of the journal. Its fields are plain JSON values, and a field at its default is
left out of the line. :data:`FORMAT` numbers the format that this version writes; every file of a
journal names its own in its first line (files of format 1 name none), and an event of an older
format is upgraded as it is read.

To add a kind, write its class here; to change the fields of one, raise :data:`FORMAT` and add a
function to :mod:`study.journal.upgrades`.
"""

# One thing: the kinds of events, side by side.

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Self

from study.journal.upgrades import UPGRADES, Data, upgraded

FORMAT = 5
"""The journal format that this version writes; it reads this one and all before it."""
assert len(UPGRADES) == FORMAT - 1

Numbers = Mapping[str, float | None]


class EventError(ValueError):
    """A line that holds no event of the format it is of."""


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events. ``str()`` describes it in words."""

    kind: ClassVar[str]
    """What the journal's lines call it."""

    def to_data(self) -> dict[str, Any]:
        """The fields as a line holds them: those at their default are left out."""
        defaults = _DEFAULTS[self.kind]
        values = ((name, getattr(self, name)) for name in defaults)
        return {name: value for name, value in values if value != defaults[name]}

    @classmethod
    def read(cls, data: Data) -> Self:
        """The event that a line's ``data`` describes.

        Raises:
            EventError: a field is missing, or one is not known.
        """
        try:
            return cls(**data)
        except TypeError as error:
            raise EventError(str(error).partition("() ")[2]) from None

    def __str__(self) -> str:
        return self.kind


class Entry(NamedTuple):
    """An event with its place in the journal."""

    sequence: int
    """How many events the study has before it."""
    time: float
    """Seconds since the Unix epoch. Within a launch, differences are the time that passed
    (:class:`study.journal.clock.Clock`)."""
    event: Event


@dataclass(frozen=True, slots=True)
class StudyDescribed(Event):
    """The study as this launch runs it; again whenever that changes."""

    kind = "study"
    name: str
    spec: Data
    """The whole spec, defaults included."""
    spec_hash: str
    code_version: str
    data: Data = field(default_factory=dict)
    """The prepared images (:meth:`vae_core.data.PreparedData.to_dict`)."""
    roles: Mapping[str, Data] = field(default_factory=dict)
    """By arm, ``hand_tuned``, in words ``why``, and where it ``departs`` from a balancer's defaults
    (:func:`study.spec.roles.arm_roles`)."""
    design: str = "same_seeds"
    """How the compared pair of arms comes about: ``named`` in advance, chosen in ``two_stages``, or
    not at all: all arms train on the ``same_seeds``."""
    assumed: Data = field(default_factory=dict)
    """Of a line of an older format: what of ``spec`` it left open, and the upgrade filled in with
    the defaults it had then; the study itself set none of it."""


@dataclass(frozen=True, slots=True)
class LaunchBegan(Event):
    """A driver holds the lease, and begins the study or resumes it."""

    kind = "launch"
    epoch: int
    """Its lease epoch."""
    pid: int
    host: str
    command: list[str]


@dataclass(frozen=True, slots=True)
class EngineChanged(Event):
    """An engine came up, stopped, or was lost; with its account of its time, as far as known."""

    kind = "engine"
    engine: str
    state: str
    """``started``, ``stopped`` or ``lost``."""
    device: str = ""
    width: int = 0
    """K, its slots."""
    startup_seconds: float = 0.0
    node: str = ""
    """Ray's id of the node it is on."""
    host: str = ""
    """The node's name."""
    served: bool = False
    """Whether its node does not see the study's home, and has it through the driver's."""
    features: Mapping[str, Data] = field(default_factory=dict)
    """By name, the networks that its distances are measured with."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Device seconds by purpose, idle ones included."""
    unreported: Mapping[str, float] = field(default_factory=dict)
    """By trial, the part of them that is in no report."""
    cause: str = ""
    """Of a loss: ``process``, ``node`` or ``driver``, whichever ended. Of a stop: ``drain``, where
    its node was about to go."""

    def __str__(self) -> str:
        if self.served:
            return (
                f"{self.host} does not see the studies' home: the files of its engines pass "
                "through this machine"
            )
        if self.cause == "drain":
            return f"engine {self.engine} stopped (its node drains): its trials go on elsewhere"
        if self.state != "lost":
            return f"engine {self.engine} {self.state}"
        whose = "its node is gone" if self.cause == "node" else "its process died"
        return f"engine {self.engine} lost ({whose}): its trials resume from checkpoints"


@dataclass(frozen=True, slots=True)
class SlotsChosen(Event):
    """``slots: auto`` was timed, and is fixed from now on."""

    kind = "slots"
    device: str
    width: int
    """K, slots an engine."""
    seconds_per_image: Mapping[str, float]
    """By width (as text), what was timed."""


@dataclass(frozen=True, slots=True)
class TrialsTold(Event):
    """An arm's searches begin with trials of an earlier search, which are not trained again."""

    kind = "told"
    arm: str
    source: str
    """The earlier search, in words."""
    trials: Sequence[Data]
    """Of each trial its ``params`` and its ``value``, the objective on validation."""
    left_out: int
    """Trials of the earlier search that are not told: not complete, or outside the space."""
    images: int
    """Trained on by the whole earlier search, trials that are not told included."""
    billed: float
    """Device seconds that took."""
    standard: float | None
    """The same in standard device seconds; None: not known."""

    def __str__(self) -> str:
        others = f" ({self.left_out} others left out)" if self.left_out else ""
        return f"{self.arm} is told {len(self.trials)} trials of {self.source}{others}"


STATED = "a pilot outside this home, as the spec states it"
"""The source of an :class:`ArmPiloted` whose cost no study says."""


@dataclass(frozen=True, slots=True)
class ArmPiloted(Event):
    """An arm begins with settings that were chosen before, at a cost."""

    kind = "piloted"
    arm: str
    source: str
    """Where they were chosen, in words."""
    images: int
    """Trained on there."""
    billed: float
    """Device seconds that took."""
    standard: float | None
    """The same in standard device seconds; None: not known."""

    def __str__(self) -> str:
        return f"{self.arm} has settings from {self.source}: {self.images:,} images are charged"


@dataclass(frozen=True, slots=True)
class TrialAsked(Event):
    """A phase asked for a trial: who it is, and what it trains with."""

    kind = "trial"
    trial: str
    """Its name, unique in the study and fit to be a file's."""
    arm: str
    phase: str
    """``search`` or ``confirm``."""
    replicate: int
    number: int
    """Its place in its phase; a retry has that of the trial it runs again."""
    seed: int
    params: Data
    """What was searched, in the spec's keys and units."""
    settings: Mapping[str, Data]
    """``model``, ``training`` and ``balancer``, resolved; beta as k sigma^2."""
    optuna: int = -1
    """Its number in Optuna, where a retry is a trial like any other."""
    chosen_from: int | None = None
    """Of a confirm run: number of the search trial whose configuration it trains."""
    retry_of: str | None = None
    """The trial that it runs again."""
    drawn_by: str = ""
    """What chose a search trial: the sampler's name, ``random`` where an adaptive sampler had too
    few results, ``enqueue`` where the spec gave it; "" of a confirm run, and in journals of earlier
    versions."""
    stage: str = ""
    """Of a confirm run of a study in two stages: ``choosing`` or ``comparing``; else ""."""
    course: Data = field(default_factory=dict)
    """Where its settings change on the way, how (:class:`study.journal.course.Course`)."""

    @property
    def phase_name(self) -> str:
        """The name of its phase, which is its Optuna study's."""
        parts = self.trial.split(".")
        return ".".join(parts[: 3 if self.phase == "search" else 4])

    @property
    def configuration(self) -> tuple[Any, ...]:
        """What it and its retries have in common, and no other trial."""
        return self.arm, self.phase, self.replicate, self.chosen_from, self.number

    def __str__(self) -> str:
        return "asked" if self.retry_of is None else f"asked, as a retry of {self.retry_of}"


@dataclass(frozen=True, slots=True)
class TrialPlaced(Event):
    """A trial trains on an engine."""

    kind = "start"
    trial: str
    engine: str
    shape: str
    """Of its bank: what trials must have in common to be rows of one."""
    key: Data
    """The numerics key."""
    unrecorded: str = ""
    """Why its steps are made one by one there, where a GPU should replay them."""

    def __str__(self) -> str:
        steps = f"; steps are not replayed: {self.unrecorded}" if self.unrecorded else ""
        return f"trains on {self.engine} ({json.dumps(self.key)}){steps}"


@dataclass(frozen=True, slots=True)
class ShapeTimed(Event):
    """A bank shape was timed for the first time: the rate of standard device seconds."""

    kind = "pilot"
    shape: str
    width: int
    seconds_per_image: float | None
    """None where the bank could not be made, which earlier versions recorded too."""


@dataclass(frozen=True, slots=True)
class Reported(Event):
    """A report of a trial."""

    kind = "report"
    trial: str
    step: int
    """The report's index in its trial, from 1."""
    images: int
    """Trained on since the trial's beginning."""
    metrics: Numbers
    seconds: Mapping[str, float]
    """Device seconds of ``engine`` by purpose, since the report before."""
    engine: str
    """Which made it."""
    redone: bool = False
    """Another engine had reported this step before: work done twice."""

    def __str__(self) -> str:
        again = " made again" if self.redone else ""
        return f"report {self.step}{again} on {self.engine}"


@dataclass(frozen=True, slots=True)
class TrialSuspended(Event):
    """An engine saved a trial inside a segment and freed its slot."""

    kind = "suspend"
    trial: str
    engine: str
    seconds: Mapping[str, float]
    """Device seconds since the trial's last report."""

    def __str__(self) -> str:
        spent = self.seconds.get("training", 0.0)
        return f"suspended by {self.engine}, {spent:.1f} s after its last report"


@dataclass(frozen=True, slots=True)
class EngineDied(Event):
    """The process of the engine that trained a trial died."""

    kind = "death"
    trial: str
    engine: str

    def __str__(self) -> str:
        return f"the process of {self.engine}, which trained it, died"


@dataclass(frozen=True, slots=True)
class Stopped(Event):
    """Somebody stopped a trial, or an arm with all its trials, for good."""

    kind = "stop"
    arm: str | None = None
    trial: str | None = None

    def __str__(self) -> str:
        return f"stopped by command, {'by itself' if self.arm is None else 'with its arm'}"


@dataclass(frozen=True, slots=True)
class ConfigurationChosen(Event):
    """A search is over, and chose on validation."""

    kind = "choice"
    arm: str
    replicate: int
    number: int | None
    """Of the trial whose configuration it chose; None: no trial of it is complete."""
    value: float | None
    """The objective of that trial on validation."""


@dataclass(frozen=True, slots=True)
class PairChosen(Event):
    """The two arms that are compared were chosen, on validation; or they were named, and their
    configurations are known. Again whenever that changes.
    """

    kind = "pair"
    hand: str
    automatic: str
    scores: Numbers
    """By arm, the mean over its choosing runs of the objective on validation; None: it has none.
    Empty where the pair was named."""

    def __str__(self) -> str:
        how = "chosen on validation" if self.scores else "named"
        return f"the pair, {how}: hand-tuned {self.hand} against automatic {self.automatic}"


@dataclass(frozen=True, slots=True)
class Looked(Event):
    """The pair's difference was looked at, to see whether more seeds are needed."""

    kind = "look"
    seeds: int
    """Comparing seeds that both arms have."""
    outcome: str
    """``pays``, ``does_not_pay`` or ``undecided``."""
    difference: float
    """Hand-tuned minus automatic on test, the mean over them."""
    lower: float | None
    """Of the interval that holds at all looks; None: nothing bounds it there yet."""
    upper: float | None
    failed: int = 0
    """Further seeds that one arm alone has, as the other failed: they count against it."""

    def __str__(self) -> str:
        interval = ""
        if self.lower is not None or self.upper is not None:
            low = "-inf" if self.lower is None else f"{self.lower:.4g}"
            interval = f" [{low}, {'inf' if self.upper is None else f'{self.upper:.4g}'}]"
        outcome = self.outcome.replace("_", " ")
        failed = f" and {self.failed} that one arm lost" if self.failed else ""
        return (
            f"look at {self.seeds} seeds{failed}: {outcome}, difference {self.difference:.4g}"
            f"{interval}"
        )


@dataclass(frozen=True, slots=True)
class SearchLooked(Event):
    """A search's break-even was looked at, to see whether it takes more trials."""

    kind = "search_look"
    arm: str
    trials: int
    """How many it has made, all ended."""
    reached: int
    """Of them, those at the level or below."""
    against: str
    """The automatic arm that is best on validation over its choosing seeds."""
    level: float
    """What the best of its choosing runs scores on test."""
    lower: int
    """Of break-even's interval, which holds at all looks."""
    upper: int | None
    """None: nothing bounds it yet."""

    @property
    def bounded(self) -> bool:
        """Whether the trials made bound it, so that no more are needed."""
        return self.upper is not None and self.upper <= self.trials

    def __str__(self) -> str:
        upper = "inf" if self.upper is None else self.upper
        return (
            f"look at {self.trials} trials of {self.arm}: {self.reached} reach {self.level:.6g} of "
            f"{self.against}, break-even in [{self.lower}, {upper}], "
            f"{'bounded' if self.bounded else 'not bounded'}"
        )


@dataclass(frozen=True, slots=True)
class TrialEnded(Event):
    """A trial ended."""

    kind = "end"
    trial: str
    state: str
    """``complete``, ``pruned`` or ``failed``."""
    step: int
    """Its last report."""
    value: float | None = None
    """The objective on validation, of a complete trial."""
    reason: str = ""
    metrics: Numbers = field(default_factory=dict)
    """On test."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """By name, paths in the study's home."""
    traceback: str = ""

    def __str__(self) -> str:
        because = f": {self.reason}" if self.reason else ""
        value = "" if self.value is None else f", value {self.value:.6g}"
        return f"{self.state}{because} after report {self.step}{value}"


@dataclass(frozen=True, slots=True)
class CapReached(Event):
    """A cap of the spec ended the study."""

    kind = "cap"
    cap: str
    """The spec's key."""
    limit: float
    spent: float
    """In the cap's unit: images, hours, device hours."""


@dataclass(frozen=True, slots=True)
class StudyInterrupted(Event):
    """A launch ended early: by a signal or a command, or by an ``error``."""

    kind = "interrupted"
    error: str = ""


@dataclass(frozen=True, slots=True)
class StudyFinished(Event):
    """Every trial has ended."""

    kind = "finish"


@dataclass(frozen=True, slots=True)
class OptunaOperation(Event):
    """An operation of Optuna's journal storage; its line holds it as it is."""

    kind = "optuna"
    operation: dict[str, Any]

    def to_data(self) -> dict[str, Any]:
        return self.operation

    @classmethod
    def read(cls, data: Data) -> Self:
        return cls(dict(data))


KINDS: Mapping[str, type[Event]] = {
    kind.kind: kind
    for kind in (
        StudyDescribed,
        LaunchBegan,
        EngineChanged,
        SlotsChosen,
        TrialsTold,
        ArmPiloted,
        TrialAsked,
        TrialPlaced,
        ShapeTimed,
        Reported,
        TrialSuspended,
        EngineDied,
        Stopped,
        ConfigurationChosen,
        PairChosen,
        Looked,
        SearchLooked,
        TrialEnded,
        CapReached,
        StudyInterrupted,
        StudyFinished,
        OptunaOperation,
    )
}
"""Every kind of event by what the lines call it."""
SHOWN = tuple(kind for kind in KINDS.values() if kind is not OptunaOperation)
"""Those that tables, reports and MLflow show: half of a large journal; searches need Optuna's."""

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    name: {
        f.name: f.default_factory() if f.default_factory is not MISSING else f.default
        for f in fields(kind)
    }
    for name, kind in KINDS.items()
}
"""By kind and field, its default; of one without, a value that no field has."""


def told_by(entries: Iterable[Entry]) -> dict[str, TrialsTold]:
    """By arm, the earlier search that a journal's searches began with."""
    events = (entry.event for entry in entries)
    return {event.arm: event for event in events if isinstance(event, TrialsTold)}


def read_event(kind: str, data: Data, format: int) -> Event:
    """The event of a line of ``kind``, in a file of ``format``.

    Raises:
        EventError: this format has no such event.
    """
    if format != FORMAT:
        data = upgraded(kind, data, format)
    found = KINDS.get(kind)
    if found is None:
        raise EventError(f"has no event '{kind}'")
    return found.read(data)
