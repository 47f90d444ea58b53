"""How the column-height network counts far from the zone axis, on carbon and along other axes.

``python -m training.evaluate_limits`` simulates particles that no training has seen: as usual, then the same
ones tilted further or on a film of amorphous carbon, and others in zone axes that the network does not know.
It runs the shipped networks as the live program does and writes ``docs/evaluation/limits.md`` and its figure
(``MATERIAL_limits.md`` of another material, whose columns along [111] and [211] are too near to one another).
Lens, detector and particle *i* are the same in all conditions; what differs is the condition.
"""

import argparse
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.assembly import FrameAssembly, find_in_batch
from pipeline.backends import Backend, BatchShape, make_backend
from pipeline.familiarity import Trained, terms_of
from pipeline.machine import describe_machine
from pipeline.networks import find_networks
from pipeline.prepare import PreparedFrame
from pipeline.preprocess import normalise
from simulator.dataset import GRIDS, build_nonempty, in_field, particle_waves
from simulator.films import film_wave
from simulator.multislice import MultisliceSettings
from simulator.structures import COLUMN_DTYPE, Particle, build_particle, draw_settings, with_tilt
from simulator.support import membrane_distance_A, supported
from simulator.waves import pack
from streamer.records import AnalyserInfo, Compression, FrameHeader, SeriesKey
from training.data import DrawConfig, Store, draw_optics, fixed_dose
from training.evaluate import matched_rows, summary
from training.score import Particles, compare, taken

__all__ = ["CONDITIONS", "WARNS_FROM", "Condition", "judged", "main", "page", "simulated", "summarised"]

Look = Callable[[NDArray[np.float32]], tuple[NDArray[np.void], float]]
"""Analyses a frame [electrons]: its columns, and how unfamiliar it is."""
Table = dict[str, dict[float, dict[str, float]]]
"""Figures by condition and dose."""

SEED = 4711
"""Not the data set's: none of its particles is among them."""
SIZE_PX = 256
THRESHOLD = 0.5
"""Column probability from which on a peak is a column: `analysis.detection_threshold`."""
WARNS_FROM = 0.5
"""Unfamiliarity from which on the window's gauge warns (`gui.status_text.HIGH_UNFAMILIARITY`)."""
MEMBRANES = 4
"""Membranes of each thickness; a particle's is shifted and turned at random."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What is asked of the network: a zone axis (empty: drawn as in the training), tilt and film.

    ``tilt_deg`` NaN leaves the tilt as it was drawn, 0 to 1°.
    """

    name: str
    zone_axis: str = ""
    tilt_deg: float = float("nan")
    carbon_A: float = 0.0
    material: str = "ceria"


CONDITIONS = (
    Condition("usual: [110] and [100], 0 to 1°"),
    *(Condition(f"tilt {tilt:g}°", tilt_deg=tilt) for tilt in (1.0, 1.5, 2.0, 3.0, 4.0)),
    *(Condition(f"on {nm:g} nm of carbon", carbon_A=10.0 * nm) for nm in (2.0, 3.5, 5.0)),
    Condition("[111]", zone_axis="111"),
    Condition("[211]", zone_axis="211"),
)


COLUMNS = {
    "columns": "columns",
    "exact": "exact [%]",
    "within_one": "within one [%]",
    "off": "off [atoms]",
    "stated": "stated probability [%]",
    "missed": "missed [%]",
    "false": "false [%]",
    "warned": "frames with a warning [%]",
    "unfamiliarity": "median unfamiliarity",
}
LABELS = {"exact": "exact", "within_one": "within one", "missed": "missed", "warned": "frames with a warning"}
TITLES = {
    "ceria": "# Ceria networks at the edges of their training, and beyond",
    "gold-columns": "# Networks for gold's columns at the edges of their training",
}
OTHER_AXES = {
    "ceria": " Those in [111] and [211] are others, cut along these axes, of which the training had nothing.",
    "gold-columns": "",
}
SAMPLE = """The particles are drawn as most of the training's, from another seed. Those that are tilted or on
carbon are the particles of the first row, with the same lens, detector and noise level.{other_axes} The
training had three particles in ten between 1 and 4°, and films of 1 to 5.5 nm with one in four. Films of
amorphous carbon of 2 g/cm³ fill the frame, before or behind the particle (`simulator/support.py`). Optics and
detectors are drawn as in the training. *Exact*, *within one*, *stated probability* and *off* (mean of found
less true atoms) are of the true columns that were found, *missed* and *false* are shares of all true columns.
A *warning* is an unfamiliarity of {warns_from:g} or more, from which on the window's gauge changes
([unfamiliarity](../analysis.md#unfamiliarity))."""
FIGURE = "![shares against condition]({name}.png)"
TRUTH = """What the truth means here: a column is a row of atoms along the zone axis, at its atoms' mean
projected place, however far it is tilted."""
READINGS = {
    "ceria": """At 4° a column of ten atoms in [110] (34 Å from the first to the last) is 2.4 Å long in
projection, nearly as long as columns are apart: there is hardly a spot left to look for. In [111] columns are
2.2 Å apart with 9.4 Å between their atoms, in [211] 1.9 Å and 6.6 Å; the networks were taught 3.3 and 2.7 Å
with 3.8 and 5.4 Å between atoms, and what is nearer than 1.6 Å is one column to the analysis.""",
    "gold-columns": """At 4° a column of ten atoms is 1.8 Å long in projection along [110],
where columns are 2.5 Å apart, and 2.6 Å along [100], where they are 2.0 Å apart: there is hardly a spot left
to look for.""",
}
CAUTION = """The frames are simulated from one model of the crystal, carbon and detector, and a condition is a
few dozen particles: differences of one or two per cent between rows say nothing."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows of `training.score.ROW_DTYPE` and the unfamiliarity (n,) of the frames."""

    columns: NDArray[np.void]
    unfamiliarity: NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> Path:
    """Simulate, count, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, help="folder of the networks (default: the shipped ones)")
    parser.add_argument("--material", choices=tuple(TITLES), default="ceria")
    parser.add_argument("--out", type=Path, default=Path("docs/evaluation"))
    parser.add_argument("--particles", type=int, default=20, help="in each condition")
    parser.add_argument("--doses", type=float, nargs="+", default=[300.0, 1000.0])
    args = parser.parse_args(arguments)
    networks = find_networks(args.models, args.material)
    table: Table = {}
    with closing(make_backend("openvino", networks)) as backend:
        info = backend.load(BatchShape(1, SIZE_PX, SIZE_PX))
        look = partial(analysed, backend, networks.pixel_size_A, Trained.of(networks))
        for condition in tqdm(conditions_for(args.material), unit="condition", disable=None):
            particles = simulated(condition, args.particles)
            table[condition.name] = {dose: summarised(judged(look, particles, dose)) for dose in args.doses}
    args.out.mkdir(parents=True, exist_ok=True)
    name = "limits" if args.material == "ceria" else f"{args.material}_limits"
    plotted(table).savefig(args.out / f"{name}.png", dpi=110)
    path: Path = args.out / f"{name}.md"
    path.write_text(page(table, args.particles, info, args.material, name), encoding="utf-8")
    return path


def conditions_for(material: str) -> tuple[Condition, ...]:
    """Return the conditions of a material; other zone axes are of ceria alone."""
    if material == "ceria":
        return CONDITIONS
    return tuple(replace(each, material=material) for each in CONDITIONS if not each.zone_axis)


def simulated(condition: Condition, count: int, grid: MultisliceSettings | None = None) -> Particles:
    """Compute the exit waves of a condition's particles, and draw a lens for each."""
    grid = grid or GRIDS[condition.material]
    particles = [built(condition, index) for index in range(count)]
    waves = np.stack([particle_waves(p, grid) for p in particles])
    if condition.carbon_A:
        membranes = [film_wave(condition.carbon_A, SEED + number, grid) for number in range(MEMBRANES)]
        for index, particle in enumerate(particles):
            waves[index] = on_carbon(waves[index], particle, membranes, condition.carbon_A, index, grid)
    columns = np.zeros((count, max(len(p.columns) for p in particles)), COLUMN_DTYPE)
    for row, particle in zip(columns, particles, strict=True):
        row[: len(particle.columns)] = in_field(particle.columns, grid)
    rng = np.random.default_rng([SEED, 1])
    optics = [draw_optics(1, DrawConfig(), rng) for _ in particles]
    store = Store(pack(waves), columns, grid.pixel_size_A)
    return Particles(store, [asdict(p.settings) for p in particles], optics)


def built(condition: Condition, index: int) -> Particle:
    """Build particle `index`; but for the zone axes, it is the same one in all conditions."""
    draw = partial(draw_settings, zone_axis=condition.zone_axis or None, material=condition.material)
    particle = build_nonempty(SEED, index, draw)
    if np.isnan(condition.tilt_deg):
        return particle
    return build_particle(with_tilt(particle.settings, condition.tilt_deg))


def on_carbon(
    waves: NDArray[np.complex64],
    particle: Particle,
    membranes: list[NDArray[np.complex64]],
    thickness_A: float,
    index: int,
    grid: MultisliceSettings,
) -> NDArray[np.complex64]:
    """Return a particle's waves (1, h, w) with a membrane before or behind it (`simulator/support.py`)."""
    rng = np.random.default_rng([SEED, 2, index])
    y, x = (int(shift) for shift in rng.integers(grid.pixels, size=2))
    carbon = np.rot90(np.roll(membranes[index % len(membranes)], (y, x), (0, 1)), int(rng.integers(4)))
    height_A = float(np.ptp(particle.atoms.positions[:, 2]))
    travel_A = membrane_distance_A(bool(rng.integers(2)), height_A, thickness_A)
    return np.asarray(supported(waves, carbon, travel_A, grid.pixel_size_A, np), np.complex64)


def judged(look: Look, particles: Particles, dose_e_per_A2: float, size_px: int = SIZE_PX) -> Judged:
    """Take one frame of each particle and compare what is found in it with the truth."""
    rng = np.random.default_rng([SEED, 3])
    rows, unfamiliarity = [], []
    for index, (frame, true, _) in enumerate(
        taken(particles, size_px, fixed_dose(DrawConfig(), dose_e_per_A2), rng)
    ):
        found, score = look(frame)
        rows.append(compare(found, true, index))
        unfamiliarity.append(score)
    return Judged(np.concatenate(rows), np.array(unfamiliarity))


def analysed(
    backend: Backend, pixel_size_A: float, trained: Trained, frame: NDArray[np.float32]
) -> tuple[NDArray[np.void], float]:
    """Analyse a frame (H, W) [electrons] as the live program does; returns columns and unfamiliarity."""
    assembly = FrameAssembly(prepared(frame, pixel_size_A))
    backend.submit(assembly.prepared.frame[np.newaxis])
    answer = backend.collect()
    assembly.put(assembly.tiles[0], answer, 0, find_in_batch(answer, 1, pixel_size_A, THRESHOLD, np)[0])
    table = assembly.heights().table
    return table, terms_of(assembly.prepared, assembly.denoised, assembly.peaks, table, trained).score


def prepared(frame: NDArray[np.float32], pixel_size_A: float) -> PreparedFrame:
    """Prepare a frame of electrons, which need not be whole numbers as a detector's are."""
    normalised = normalise(frame[np.newaxis])
    shape = (frame.shape[0], frame.shape[1])
    return PreparedFrame(
        header=FrameHeader(SeriesKey(1), 0, shape, frame.dtype, Compression.NONE),
        t_received=0.0,
        xp=np,
        image=frame,
        valid=None,
        frame=normalised.frames[0],
        network_shape=shape,
        pixel_size_A=pixel_size_A,
        levels=np.array([normalised.level_counts[0], normalised.noise[0]]),
    )


def summarised(found: Judged) -> dict[str, float]:
    """Return the shares of `training.evaluate.summary`, what counts say of themselves, and the warnings."""
    matched = matched_rows(found.columns)
    return {
        **summary(found.columns),
        "off": float((matched["found_count"] - matched["true_count"]).mean()),
        "stated": float(matched["probability"].mean()),
        "warned": float((found.unfamiliarity >= WARNS_FROM).mean()),
        "unfamiliarity": float(np.median(found.unfamiliarity)),
    }


def page(
    table: Table, particles: int, info: AnalyserInfo, material: str = "ceria", name: str = "limits"
) -> str:
    """Return the page of a material; ``name`` is that of its files."""
    machine = describe_machine()
    doses = list(next(iter(table.values())))
    head = "| condition | " + " | ".join(COLUMNS.values()) + " |\n" + "|" + "---|" * (len(COLUMNS) + 1)
    tables = [
        f"At {dose:g} e/Å²:\n\n{head}\n" + "\n".join(_row(name, rows[dose]) for name, rows in table.items())
        for dose in doses
    ]
    command = "python -m training.evaluate_limits"
    command += "" if material == "ceria" else f" --material {material}"
    sample = SAMPLE.format(other_axes=OTHER_AXES[material], warns_from=WARNS_FROM)
    reading = f"{TRUTH} {READINGS[material]}"
    packages = ", ".join(f"{name} {machine['packages'][name]}" for name in ("openvino", "numpy", "torch"))
    run = (
        f"Written by `{command}`: {particles} particles a condition, one frame of "
        f"{SIZE_PX} × {SIZE_PX} px each, on {machine['cpu']}, {machine['cores']} cores, {packages}, networks "
        f"in {info.precision}."
    )
    figure = FIGURE.format(name=name)
    return "\n\n".join([TITLES[material], run, sample, *tables, figure, reading, CAUTION]) + "\n"


def _row(name: str, values: dict[str, float]) -> str:
    cells = []
    for key in COLUMNS:
        value = values[key]
        special = {"columns": f"{value:.0f}", "unfamiliarity": f"{value:.2f}", "off": f"{value:+.2f}"}
        cells.append(special.get(key, f"{100 * value:.1f}"))
    return f"| {name} | " + " | ".join(cells) + " |"


def plotted(table: Table) -> Figure:
    """Plot exact counts, missed columns and warnings of every condition."""
    figure = Figure((9.5, 3.8), layout="constrained")
    panels = figure.subplots(1, len(next(iter(table.values()))), sharey=True, squeeze=False)[0]
    places = np.arange(len(table))
    for dose, panel in zip(next(iter(table.values())), panels, strict=True):
        for key, style in {"exact": "o", "within_one": "s", "missed": "v", "warned": "x"}.items():
            shares = [100 * by_dose[dose][key] for by_dose in table.values()]
            panel.plot(places, shares, style, ms=5, label=LABELS[key])  # no lines: conditions are no axis
        panel.set_xticks(places, [name.partition(":")[0] for name in table], rotation=35, ha="right")
        panel.grid(alpha=0.3)
        panel.set(title=f"{dose:g} e/Å²", ylim=(-2, 102))
    panels[0].set(ylabel="share [%]")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return figure


if __name__ == "__main__":
    main()
