"""What the keys, buttons and the mouse do, as changes of the two models. No Qt."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from gui.following import chosen_column
from gui.geometry import nearest_column, neighbour_distance_px, particle_region, whole_frame
from gui.past import Past
from gui.region_note import region_note
from gui.remote import Remote
from gui.settings import (
    AVERAGES,
    COLOUR_MAPS,
    Backdrop,
    ContrastMode,
    Corners,
    CountsFrom,
    Model,
    Region,
    Settings,
    ThemeName,
    ViewState,
)
from gui.status_text import Alarm
from streamer.window_link import View

__all__ = ["Commands"]

_ZOOM_STEP = 1.5
_SMALLEST_EXTENT_PX = 8.0
_Choice = TypeVar("_Choice")


class Commands:
    """Each method is one thing a person can ask for; see `gui.actions.ACTIONS`.

    Parameters
    ----------
    settings, state : Model
        Changed by the methods.
    history : Past
        Read only: where "one frame back" leads.
    remote : Remote
        The run that is shown.
    """

    def __init__(
        self, settings: Model[Settings], state: Model[ViewState], history: Past, remote: Remote
    ) -> None:
        self.settings = settings
        self.state = state
        self._history = history
        self._remote = remote
        self._kept_in_view: View | None = None

    def go_live(self) -> None:
        """Show the newest frame again."""
        self.state.change(t=None, t_end=None)

    def go_to(self, t: float) -> None:
        """Show the kept frame nearest to `t` [Unix s]; the time axes stand still from now on."""
        view = self._history.at(t)
        if view is None:
            return
        newest = self._newest_t()
        t_end = self.state.value.t_end
        self.state.change(t=view.header.t_received, t_end=newest if t_end is None else t_end)

    def play_to(self, t: float) -> None:
        """Show the time `t` [Unix s] of a file that plays; it need not be a frame's own."""
        self.state.change(t=t)

    def pause(self) -> None:
        """Hold the frame on display, or go on."""
        if self.state.value.live:
            self.go_to(self._newest_t())
        else:
            self.go_live()

    def step_back(self) -> None:
        """Show the kept frame before this one."""
        self._step(-1)

    def step_forward(self) -> None:
        """Show the kept frame after this one."""
        self._step(1)

    def leap_back(self) -> None:
        """Go ten frames back."""
        self._step(-10)

    def leap_forward(self) -> None:
        """Go ten frames forward."""
        self._step(10)

    def show_whole_frame(self) -> None:
        """End the zoom."""
        self.state.change(region=None, following=False)

    def show_particle(self) -> None:
        """Zoom to the particle and keep it in view."""
        self.state.change(region=None, following=True)
        self._kept_in_view = None
        self.keep_particle_in_view()

    def keep_particle_in_view(self) -> None:
        """Move the zoom after the particle, if that was asked for; called for each frame drawn."""
        view = self._shown()
        if self.state.value.following and view is not None and view is not self._kept_in_view:
            self._kept_in_view = view
            whole = whole_frame(view.header.height, view.header.width)
            self.state.change(region=particle_region(view.columns, whole, self.state.value.region))

    def zoom_in(self) -> None:
        """Zoom in on the middle."""
        self._zoom(1 / _ZOOM_STEP)

    def zoom_out(self) -> None:
        """Zoom out from the middle."""
        self._zoom(_ZOOM_STEP)

    def show_region(self, region: Region) -> None:
        """Show `region` in all pictures."""
        self.state.change(region=region, following=False)

    def toggle_columns(self) -> None:
        """Show or hide the columns."""
        self.settings.change(show_columns=not self.settings.value.show_columns)

    def next_counts(self) -> None:
        """Show the counts of single frames, or those of all frames so far."""
        self.choose_counts(_next(tuple(CountsFrom), self.settings.value.counts))

    def choose_counts(self, counts: CountsFrom) -> None:
        """Show these counts."""
        self.settings.change(counts=counts)

    def next_backdrop(self) -> None:
        """Take the next picture beneath the columns."""
        self.settings.change(backdrop=_next(tuple(Backdrop), self.settings.value.backdrop))

    def next_contrast(self) -> None:
        """Take the next contrast policy."""
        self.settings.change(contrast=_next(tuple(ContrastMode), self.settings.value.contrast))

    def next_average(self) -> None:
        """Take the next number of raw frames to average."""
        self.settings.change(average_frames=_next(AVERAGES, self.settings.value.average_frames))

    def next_colour_map(self) -> None:
        """Take the next colour map for both pictures."""
        name = _next(COLOUR_MAPS, self.settings.value.raw_colour_map)
        self.settings.change(raw_colour_map=name, denoised_colour_map=name)

    def toggle_theme(self) -> None:
        """Change between dark and light."""
        self.settings.change(theme=_next(tuple(ThemeName), self.settings.value.theme))

    def select(self, y: float, x: float) -> None:
        """Choose the column at (y, x) [px], or none if there is none."""
        view = self._shown()
        if view is None:
            return
        spacing = neighbour_distance_px(view.columns)
        index = nearest_column(view.columns, y, x, 0.6 * spacing if math.isfinite(spacing) else 10.0)
        self.state.change(chosen=None if index is None else chosen_column(view.header, view.columns[index]))

    def set_roi(self, corners: Corners | None) -> None:
        """Take `corners` (y, x) [px] as the region of interest; None: no region."""
        self.state.change(roi=corners)

    def save_roi(self) -> None:
        """Ask the run to write the region of interest into its file."""
        if self.state.value.roi is not None:
            self.note(region_note(self.state.value.roi), 0.0)

    def propose_roi(self, shape: Callable[[Region], Corners]) -> None:
        """Put a region of that shape into the middle of what is in view."""
        view = self._shown()
        if view is not None:
            whole = whole_frame(view.header.height, view.header.width)
            self.set_roi(shape(self.state.value.region or whole))

    def clear_selection(self) -> None:
        """Choose no column and no region."""
        self.state.change(chosen=None, roi=None)

    def confirm(self, alarm: Alarm) -> None:
        """Note that the person has seen `alarm`; only further losses or triggers raise it again."""
        self.state.change(
            acknowledged=alarm.losses, acknowledged_run=alarm.run, acknowledged_refused=alarm.refused,
            acknowledged_events=alarm.events,
        )  # fmt: skip

    def record(self, on: bool) -> None:
        """Ask the run to switch recording on or off."""
        self._remote.record(on)

    def next_file(self) -> None:
        """Ask the run to go on in the next file."""
        self._remote.next_file()

    def note(self, text: str, age_s: float) -> None:
        """Ask the run to write a note of `age_s` seconds ago into its file; an empty one is none."""
        if text:
            self._remote.note(text, age_s)

    def new_series(self) -> None:
        """Follow a series that has just begun: live, whole frame, nothing chosen."""
        self.state.change(t=None, t_end=None, region=None, following=True, chosen=None)

    def _shown(self) -> View | None:
        return self._history.at(self.state.value.t)

    def _newest_t(self) -> float:
        newest = self._history.newest
        return math.nan if newest is None else newest.header.t_received

    def _step(self, frames: int) -> None:
        t = self.state.value.t
        if self._history.newest is not None:
            self.go_to(self._history.step(self._newest_t() if t is None else t, frames))

    def _zoom(self, factor: float) -> None:
        view = self._shown()
        if view is None:
            return
        whole = whole_frame(view.header.height, view.header.width)
        now = self.state.value.region or whole
        extent = min(max(now.extent_px * factor, _SMALLEST_EXTENT_PX), 4 * whole.extent_px)
        self.show_region(Region(now.y, now.x, extent))


def _next(choices: Sequence[_Choice], value: _Choice) -> _Choice:
    return choices[(choices.index(value) + 1) % len(choices)]
