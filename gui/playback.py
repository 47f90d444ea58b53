"""Playing a file: the bar with its buttons, the clock, and the frame that is shown."""

import time

from gui.commands import Commands
from gui.past import Past
from gui.play_bar import PlayBar
from gui.player import Player
from gui.settings import Model, ViewState

__all__ = ["Playback"]


class Playback:
    """Moves the view through a recorded series.

    Parameters
    ----------
    player : Player
        Says which time follows.
    bar : PlayBar
        Shown from now on.
    commands : Commands
        Move the view.
    state : Model
        Read only: where the view is.
    past : Past
        The series.
    """

    def __init__(
        self, player: Player, bar: PlayBar, commands: Commands, state: Model[ViewState], past: Past
    ) -> None:
        self._player, self._bar, self._commands = player, bar, commands
        self._state, self._past = state, past
        bar.show()
        bar.play.clicked.connect(self.toggle)
        bar.back.clicked.connect(commands.step_back)
        bar.forward.clicked.connect(commands.step_forward)
        bar.moved.connect(self._move_to)
        bar.speed_chosen.connect(player.choose_speed)
        commands.go_to(past.t_first)

    def toggle(self) -> None:
        """Play, or stop; at the end, play from the beginning."""
        t, rows = self._state.value.t, self._past.rows
        if not self._player.playing and len(rows) and (t is None or t >= rows["t"][-1]):
            self._commands.go_to(float(rows["t"][0]))
        self._player.toggle(time.monotonic())

    def advance(self) -> None:
        """Go on to the time that is due, and show on the bar where that is."""
        t, rows = self._state.value.t, self._past.rows
        if not len(rows):
            return
        first, last = float(rows["t"][0]), float(rows["t"][-1])
        if t is None:  # the newest frame of a file that grows
            t = last
        elif self._player.playing:
            t = self._player.advance(t, time.monotonic(), last)
            self._commands.play_to(t)
        self._bar.draw(t - first, last - first, playing=self._player.playing)

    def _move_to(self, share: float) -> None:
        times = self._past.rows["t"]
        if len(times):
            self._commands.go_to(float(times[0] + share * (times[-1] - times[0])))
