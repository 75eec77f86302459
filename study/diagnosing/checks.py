"""What the facts of several places mean for a study: a row a check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from study.diagnosing.limits import ENGINE_MEMORY, SOCKET_PATH
from study.diagnosing.places import DRIVER, Place, Silent
from study.diagnosing.storage import Storage
from study.engine.parts import ENGINE
from study.formatting import duration, size
from study.spec import EnginesSpec

CLOCKS_APART, CLOCKS_WRONG = 2.0, 60.0
"""Seconds between two clocks: worth a note, a problem."""
FEW_FILES, TOO_FEW_FILES = 4096, 1024
"""Open files: below this Ray warns, and a node with many processes comes to its end."""
LITTLE_SHARED = 2**27
"""Bytes of /dev/shm: below this Ray keeps its objects elsewhere."""
SLOW_SYNC = 100.0
"""Milliseconds of a sync from which a study waits for its journal."""


class State(StrEnum):
    """What a check found."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Row:
    """A check, what it found, and what to do."""

    check: str
    state: State
    found: str
    remedy: str = ""
    refuses: bool = False
    """Whether a study would be wrong or impossible."""


def ok(check: str, found: str) -> Row:
    """A row in order."""
    return Row(check, State.OK, found)


def launch_checks(
    asked: Sequence[Place | Silent], engines: EnginesSpec | None = None
) -> Iterator[Row]:
    """What is asked at every launch on a cluster: it costs seconds and writes nothing."""
    places = _answered(asked)
    # Engines that do not start on some nodes start on the others.
    of_engines = [place for place in places if place.name != DRIVER and place.offered != 0]
    none_fit = all(place.facts.broken for place in of_engines)
    yield from _silence([one for one in asked if isinstance(one, Silent)], refuses=none_fit)
    yield from _versions(places)
    yield _imports(places, refuses=none_fit)
    yield _clocks(places)
    yield _open_files(places)
    yield _shared_memory(places)
    yield _sockets(places)
    yield _memory(places)
    yield from _precision(places, engines)


def slow_bfloat16(where: str = "") -> Row:
    """That processors are to multiply bfloat16 and cannot."""
    remedy = "set engines.precision to float32: in bfloat16 a step takes ten times as long there"
    return Row("bfloat16", State.PROBLEM, f"no instructions to multiply it{where}", remedy)


def _precision(places: Sequence[Place], engines: EnginesSpec | None) -> Iterator[Row]:
    """Whether the processors that are to multiply bfloat16 can."""
    if engines is None or engines.precision != "bfloat16" or engines.device == "cuda":
        return
    if engines.device == "auto" and any(place.gpus or place.facts.torch_gpus for place in places):
        return
    of_engines = [place for place in places if place.offered != 0]
    nodes = [place for place in of_engines if place.offered] or of_engines
    slow = [place.name for place in nodes if not place.facts.bfloat16]
    if slow:
        yield slow_bfloat16("" if len(slow) == len(nodes) else f" ({', '.join(slow)})")
    else:
        yield ok("bfloat16", "the processors multiply it")


def all_checks(
    asked: Sequence[Place | Silent], engines: EnginesSpec | None = None
) -> Iterator[Row]:
    """Every check on facts; those of services are the caller's."""
    yield from launch_checks(asked, engines)
    places = _answered(asked)
    yield _cores(places)
    yield _gpus(places)
    yield from _home(places)


def _answered(asked: Iterable[Place | Silent]) -> list[Place]:
    return [one for one in asked if isinstance(one, Place)]


def _each(places: Iterable[Place], say: Callable[[Place], str]) -> str:
    """What ``say`` says of all places; with names where it differs."""
    named: dict[str, list[str]] = {}
    for place in places:
        named.setdefault(say(place), []).append(place.name)
    if len(named) == 1:
        return next(iter(named))
    return _with_names(named)


def _with_names(named: Mapping[str, Iterable[str]]) -> str:
    return "; ".join(f"{text} ({', '.join(names)})" for text, names in named.items())


def _silence(silent: Iterable[Silent], *, refuses: bool) -> Iterator[Row]:
    """A row for each cause that keeps nodes from answering."""
    causes: dict[tuple[str, bool], list[str]] = {}
    for one in silent:
        causes.setdefault((one.why, one.runs_no_code), []).append(one.name)
    for (why, no_code), names in causes.items():
        remedy = "see whether they are busy, and their Ray logs; or end Ray there"
        if no_code:
            remedy = "install the driver's version of this package and of all it needs there"
        found = f"{', '.join(names)}: {why}"
        yield Row("nodes", State.PROBLEM, found, remedy, refuses=no_code and refuses)


def _versions(places: Sequence[Place]) -> Iterator[Row]:
    remedies = {
        "Python": "use one version of it on all",
        "Ray": "use one version of it on all",
        "torch": "use one version of it on all: numbers differ in their last digits",
        "study": "install the driver's code on all: they would not run the same study",
    }
    for name, remedy in remedies.items():
        named = _by_version({place.name: place.facts.versions[name] for place in places})
        if len(named) == 1:
            yield ok(name, next(iter(named)))
        else:
            refuses = name == "study"
            yield Row(name, State.PROBLEM, _with_names(named), remedy, refuses=refuses)
    for part in sorted({part for place in places for part in place.facts.code}):
        named = _by_version({place.name: place.facts.code.get(part) for place in places})
        if len(named) > 1:
            remedy = "put the driver's module on all: they would not train the same"
            yield Row(part, State.PROBLEM, _with_names(named), remedy, refuses=True)


def _by_version(versions: Mapping[str, str | None]) -> dict[str, list[str]]:
    """The names of places by the version that each has, of those that have one."""
    named: dict[str, list[str]] = {}
    for place, version in versions.items():
        if version is not None:
            named.setdefault(version, []).append(place)
    return named


def _imports(places: Sequence[Place], *, refuses: bool) -> Row:
    causes: dict[str, list[str]] = {}
    for place in places:
        for part, error in place.facts.broken.items():
            said = error if part in error else f"{part}: {error}"
            causes.setdefault(said, []).append(place.name)
    if not causes:
        return ok("imports", "an engine, and what the study file names")
    remedy = "put the study's own modules where the driver has them, on every node"
    if any(ENGINE.path in place.facts.broken for place in places):
        remedy = "install what requirements.txt names there"
    return Row("imports", State.PROBLEM, _with_names(causes), remedy, refuses=refuses)


def _clocks(places: Sequence[Place]) -> Row:
    wrong = [place for place in places if _apart(place) >= CLOCKS_APART]
    if not wrong:
        within = max(abs(place.offset) + place.doubt for place in places)
        return ok("clocks", f"within {within:.2f} s" if len(places) > 1 else "one machine's")
    found = ", ".join(
        f"{place.name} is {duration(abs(place.offset))} {'ahead' if place.offset > 0 else 'behind'}"
        for place in wrong
    )
    state = State.PROBLEM if max(map(_apart, wrong)) >= CLOCKS_WRONG else State.NOTE
    remedy = "let a time server set them: times of files and logs there are others"
    return Row("clocks", state, found, remedy)


def _apart(place: Place) -> float:
    """Seconds by which a clock is certainly off the driver's."""
    return abs(place.offset) - place.doubt


def _open_files(places: Sequence[Place]) -> Row:
    def files(place: Place) -> int:
        now, most = place.facts.open_files
        return most if place.name == DRIVER else now  # a driver's Ray raises it

    found, least = _each(places, lambda place: f"{files(place):,}"), min(map(files, places))
    if least >= FEW_FILES:
        return ok("open files", found)
    state = State.PROBLEM if least < TOO_FEW_FILES else State.NOTE
    return Row("open files", state, found, "`ulimit -n 65536` before `ray start`")


def _shared_memory(places: Sequence[Place]) -> Row:
    def shared(place: Place) -> str:
        there = place.facts.shared_memory
        return "none" if there is None else size(there)

    found = _each(places, shared)
    if all((place.facts.shared_memory or 0) >= LITTLE_SHARED for place in places):
        return ok("/dev/shm", found)
    remedy = "give the container more, as `docker run --shm-size=1g` does: Ray gets slower"
    return Row("/dev/shm", State.NOTE, found, remedy)


def _sockets(places: Sequence[Place]) -> Row:
    found = _each(places, lambda place: f"{place.facts.socket} of {SOCKET_PATH} bytes")
    if all(place.facts.socket <= SOCKET_PATH for place in places):
        return ok("socket paths", found)
    remedy = "nothing here: a local Ray uses a shorter folder; for `ray start` set RAY_TMPDIR"
    return Row("socket paths", State.NOTE, found, remedy)


def _cores(places: Sequence[Place]) -> Row:
    said = _each(places, lambda place: str(place.facts.cores))
    over = [p for p in places if p.offered is not None and p.offered > p.facts.cores]
    if not over:
        return ok("usable cores", said)
    found = ", ".join(f"{p.offered:g} offered by Ray on {p.name}" for p in over)
    least = min(p.facts.cores for p in over)
    remedy = (
        f"start Ray there with what may be used, e.g. `--num-cpus={least}`: engines would share"
    )
    return Row("usable cores", State.NOTE, f"{said}; {found}", remedy)


def _memory(places: Sequence[Place]) -> Row:
    said = _each(places, lambda place: size(place.facts.memory))
    nodes = [place for place in places if place.offered is not None]
    room = {place.name: place.facts.memory // ENGINE_MEMORY for place in places}
    tight = [
        f"{place.name} has room for {room[place.name]} of {place.engines} engines"
        for place in nodes or places  # of a cluster, the driver's machine is a node too
        if room[place.name] < place.engines
    ]
    if not tight:
        return ok("usable memory", said)
    remedy = (
        f"an engine takes {size(ENGINE_MEMORY)} besides its banks: set engines.count to less, or "
        "start Ray there with fewer --num-cpus"
    )
    return Row("usable memory", State.PROBLEM, f"{said}; {', '.join(tight)}", remedy)


def _gpus(places: Sequence[Place]) -> Row:
    def listed(place: Place) -> str:
        named = Counter(place.facts.gpus)
        said = (f"{n} {gpu.name}, {size(gpu.memory)}" for gpu, n in named.items())
        return " and ".join(said) or "none"

    said = _each(places, listed)
    lost = [p.name for p in places if p.facts.torch_gpus < len(p.facts.gpus)]
    if not lost:
        return ok("GPUs", said)
    remedy = "install a CUDA build of torch that their driver supports (`nvidia-smi` names it)"
    return Row("GPUs", State.PROBLEM, f"{said}; torch uses less of {', '.join(lost)}", remedy)


def _home(places: Sequence[Place]) -> Iterator[Row]:
    driver = next(place for place in places if place.name == DRIVER).storage
    if driver is None:
        return  # it cannot be written, which is a row of its own
    yield _shared(places)
    yield _files(driver)
    yield _speed(places)


def _shared(places: Sequence[Place]) -> Row:
    unusable = [f"{place.name}: {place.home_error}" for place in places if place.home_error]
    apart = [place.name for place in places if not place.storage and not place.home_error]
    if unusable:
        remedy = "let the engines' user write there, as the driver's may"
        return Row("shared home", State.PROBLEM, "; ".join(unusable), remedy)
    if apart:
        return Row("shared home", State.NOTE, f"not by {', '.join(apart)}: served by the driver")
    nodes = len(places) - 1
    return ok("shared home", f"written and read on {nodes} nodes" if nodes else "one machine's")


def _files(storage: Storage) -> Row:
    lacks = [] if storage.replaces else ["renames that replace a file"]
    lacks += [] if storage.links else ["hard links"]
    if not lacks:
        return ok("home's files", "renames and hard links")
    remedy = "keep studies on another file system: they need these"
    return Row("home's files", State.PROBLEM, f"no {' and no '.join(lacks)}", remedy, refuses=True)


def _speed(places: Sequence[Place]) -> Row:
    """Of the driver, and of the slowest."""
    tried = {place.name: place.storage for place in places if place.storage}
    slowest = max(tried, key=lambda name: tried[name].sync)
    found = "; ".join(
        f"{tried[name].rate:.0f} MiB/s, {tried[name].sync:.1f} ms a sync ({name})"
        for name in dict.fromkeys((DRIVER, slowest))
    )
    if tried[slowest].sync < SLOW_SYNC:
        return ok("home's speed", found)
    remedy = "keep studies on faster storage, or have trials report less often"
    return Row("home's speed", State.NOTE, found, remedy)
