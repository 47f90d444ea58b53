"""From what is known and what was set to what is drawn: pure functions, no Qt, no clock, no sockets."""

from dataclasses import dataclass, field

from gui.counting import any_fused
from gui.figures import Headline, headline_of, is_analysed
from gui.following import expected_place, find_chosen
from gui.format import duration_text, number_text
from gui.geometry import whole_frame
from gui.markers import Markers, resolve_markers
from gui.particles import ParticleMark, resolve_particles
from gui.picture import Picture, denoised_picture, raw_picture
from gui.remote import why_not
from gui.settings import Backdrop, Corners, CountsFrom, Region, Settings, ViewState
from gui.status_text import Alarm, Cell, alarm, recording_light, status_cells
from streamer.window_link import RunStatus, View

__all__ = [
    "Drawing",
    "FrameDrawing",
    "Headline",
    "Markers",
    "Picture",
    "Scene",
    "recording_range",
    "resolve",
    "resolve_frame",
    "resolve_markers",
    "time_range",
]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Everything the window knows at one moment.

    Attributes
    ----------
    view : View or None
        The frame to be shown.
    newest_t : float
        When the newest frame was received [Unix s].
    shown_per_s, screen_ms, silent_s, refused, connected
        See `gui.status_text`.
    recorded : bool
        Whether this is a file; there is no live view to go back to.
    refusal : str
        Why the run does not let this window in; empty if it does.
    said : str
        What the run has answered to this window, while it is news.
    events : tuple
        How many triggers have fired, and what the last one said.
    unreadable : str
        Why a file cannot be read any more; empty if it can.
    """

    view: View | None = None
    status: RunStatus | None = None
    newest_t: float = float("nan")
    address: str = ""
    shown_per_s: float = 0.0
    screen_ms: tuple[float, float] = (float("nan"), float("nan"))
    detector_ms: tuple[float, float] = (float("nan"), float("nan"))
    silent_s: float = 0.0
    refused: int = 0
    connected: bool = False
    recorded: bool = False
    refusal: str = ""
    said: str = ""
    events: tuple[int, str] = (0, "")
    unreadable: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class FrameDrawing:
    """The part of a drawing that changes with the frame or the settings only, and costs the most.

    `counts_atoms` says whether columns are counted here, or particles classified.
    """

    raw: Picture | None = None
    denoised: Picture | None = None
    backdrop: Picture | None = None
    markers: Markers | None = None
    particles: tuple[ParticleMark, ...] = ()
    headline: Headline = field(default_factory=Headline)
    text: str = ""
    counts_atoms: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """What the widgets show; they decide nothing.

    `untold` says why the run cannot be told anything; empty: it can.
    """

    title: str
    frame: FrameDrawing
    cells: tuple[Cell, ...]
    light: Cell
    alarm: Alarm | None
    badge: str
    placeholder: str
    pixel_size_A: float
    region: Region | None
    markers_on_denoised: bool = False
    counts: CountsFrom = CountsFrom.SINGLE
    selected: tuple[float, float] | None = None
    roi: Corners | None = None
    untold: str = ""
    recording: bool = False
    can_go_live: bool = True
    said: str = ""


def resolve_frame(
    view: View | None, recent: tuple[View, ...], settings: Settings, largest_count: int = 0
) -> FrameDrawing:
    """Decide how a frame is drawn.

    Parameters
    ----------
    recent : tuple of View
        The frames to average, ending with `view`.
    largest_count : int
        The most atoms any column of the series has had, for the colour scale.
    """
    if view is None:
        return FrameDrawing()
    raw = raw_picture(view, recent, settings)
    denoised = denoised_picture(view, settings)
    shapes = view.header.shapes
    return FrameDrawing(
        raw=raw,
        denoised=denoised,
        backdrop=_backdrop(raw, denoised, settings.backdrop),
        markers=resolve_markers(view.columns, settings, largest_count) if settings.show_columns else None,
        particles=resolve_particles(view.particles, shapes) if settings.show_columns else (),
        headline=headline_of(view, settings),
        text=_frame_text(view),
        counts_atoms=not shapes,
    )


def _backdrop(raw: Picture | None, denoised: Picture | None, wanted: Backdrop) -> Picture | None:
    """Choose what lies beneath the columns; where the denoised picture shows nothing, that is the raw one."""
    if wanted is Backdrop.NONE:
        return None
    there = denoised is not None and bool(denoised.pixels.any())  # the null backend's is empty
    return denoised if wanted is Backdrop.DENOISED and there else raw


def resolve(scene: Scene, frame: FrameDrawing, settings: Settings, state: ViewState) -> Drawing:
    """Decide everything that is drawn, from the newest data, the settings and where the person looks."""
    view = scene.view
    return Drawing(
        title=_title(scene),
        frame=frame,
        cells=status_cells(
            scene.status, scene.shown_per_s, scene.screen_ms, scene.detector_ms, recorded=scene.recorded
        ),
        light=recording_light(scene.status),
        alarm=alarm(
            scene.status,
            acknowledged=_acknowledged(scene.status, state),
            silent_s=scene.silent_s,
            refused=scene.refused,
            connected=scene.connected,
            events=scene.events,
            unreadable=scene.unreadable,
        ),
        badge="   ·   ".join(filter(None, (_past_text(scene, state), _no_fused_text(view, settings)))),
        placeholder=_placeholder(scene),
        pixel_size_A=float("nan") if view is None else view.header.pixel_size_A,
        region=state.region or (None if view is None else whole_frame(view.header.height, view.header.width)),
        markers_on_denoised=settings.columns_on_denoised,
        counts=settings.counts,
        selected=_place_of(state, view),
        roi=state.roi,
        untold=why_not(scene.status, scene.address),
        recording=scene.status is not None and scene.status.recording,
        can_go_live=not scene.recorded or (scene.status is not None and scene.status.state == "running"),
        said=scene.said,
    )


def _acknowledged(status: RunStatus | None, state: ViewState) -> tuple[int, int, int]:
    """Return what was confirmed; of another run's losses nothing was."""
    same_run = status is not None and status.t_started == state.acknowledged_run
    return state.acknowledged if same_run else 0, state.acknowledged_refused, state.acknowledged_events


def time_range(
    t_first: float, t_newest: float, window_s: float, t_end: float | None, t_shown: float | None
) -> tuple[float, float]:
    """Choose the part of time on the axes [Unix s].

    Parameters
    ----------
    window_s : float
        Longest span shown; 0: everything.
    t_end : float or None
        Where the axis stood when the person left the live view; None: live.
    t_shown : float or None
        The frame that must be in sight; None: the newest.
    """
    end = t_newest if t_end is None else t_end
    if t_shown is not None:
        end = max(end, t_shown)
    start = max(t_first, end - window_s) if window_s else t_first
    if t_shown is not None and t_shown < start:
        start, end = t_shown, min(end, t_shown + window_s)
    return start, max(end, start + 1.0)


def recording_range(
    t_first: float, t_last: float, window_s: float, t_shown: float | None
) -> tuple[float, float]:
    """Choose the part of a recording on the time axes [Unix s], if possible about the frame shown.

    Parameters
    ----------
    window_s : float
        Span shown; 0: everything.
    t_shown : float or None
        The frame shown; None: the last.
    """
    if not window_s or window_s >= t_last - t_first:
        return t_first, max(t_last, t_first + 1.0)
    middle = t_last if t_shown is None else t_shown
    start = min(max(t_first, middle - window_s / 2), t_last - window_s)
    return start, start + window_s


def _place_of(state: ViewState, view: View | None) -> tuple[float, float] | None:
    """Find the chosen column in the frame shown; where it is gone, the place it should be."""
    if state.chosen is None or view is None:
        return None
    index = find_chosen(state.chosen, view.header, view.columns)
    if index is None:
        return expected_place(state.chosen, view.header)
    return float(view.columns["y"][index]), float(view.columns["x"][index])


def _title(scene: Scene) -> str:
    status = scene.status
    if status is None:
        return scene.address
    return f"{status.source or scene.address}   ·   series {status.series_id}   ·   {status.state}"


def _frame_text(view: View) -> str:
    h = view.header
    binned = f"  ·  shown {h.bin_px}×{h.bin_px} binned" if h.bin_px > 1 else ""
    unanswered = "" if is_analysed(h) else "  ·  not analysed"
    return f"frame {number_text(h.frame_id)}{unanswered}  ·  {h.height} × {h.width} px{binned}"


def _past_text(scene: Scene, state: ViewState) -> str:
    if state.live or scene.view is None or scene.recorded:
        return ""
    behind = scene.newest_t - scene.view.header.t_received
    return f"PAST  −{duration_text(behind)}   press L for live"


def _no_fused_text(view: View | None, settings: Settings) -> str:
    if settings.counts is CountsFrom.SINGLE or view is None or not len(view.columns):
        return ""
    return "" if any_fused(view.columns) else "No fused counts: columns are not followed here"


def _unanalysed_text(status: RunStatus | None) -> str:
    """Say of a run that only records, or whose analysers are not there yet, why nothing is to be seen."""
    if status is None or status.backend or not status.received:
        return ""
    file = f" Its file can be opened: {status.path}" if status.path else ""
    return f"Nothing analyses this run's frames, so it sends no pictures.{file}"


def _placeholder(scene: Scene) -> str:
    if scene.view is not None:
        return ""
    if scene.status is not None and scene.status.state == "waiting":
        return f"Waiting for the first frame from {scene.status.source}"
    if scene.connected:
        return _unanalysed_text(scene.status) or "Connected. Waiting for the first analysed frame"
    if scene.refusal:
        return f"{scene.address} does not let this window in: {scene.refusal}"
    return f"Waiting for a run at {scene.address}"
