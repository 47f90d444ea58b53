"""Everything a person can do from the keyboard and the menu: one table for both, and for the help."""

from dataclasses import dataclass

__all__ = ["ACTIONS", "ActionSpec"]


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """One action: the name of the window's method, what it says, its keys, and the group it is shown in."""

    method: str
    text: str
    keys: tuple[str, ...]
    group: str


ACTIONS = (
    ActionSpec("go_live", "Back to the live view", ("L", "End"), "Time"),
    ActionSpec("pause", "Pause the display (never the run)", ("Space",), "Time"),
    ActionSpec("step_back", "One frame back", ("Left",), "Time"),
    ActionSpec("step_forward", "One frame forward", ("Right",), "Time"),
    ActionSpec("leap_back", "Ten frames back", ("Shift+Left",), "Time"),
    ActionSpec("leap_forward", "Ten frames forward", ("Shift+Right",), "Time"),
    ActionSpec("next_time_window", "Length of the time axes", ("W",), "Time"),
    ActionSpec("write_note", "Write a note into the file", ("N",), "Run"),
    ActionSpec("toggle_recording", "Recording off or on", ("Ctrl+R",), "Run"),
    ActionSpec("next_file", "Go on in the next file", ("Ctrl+N",), "Run"),
    ActionSpec("show_particle", "Keep the particle in view", ("P",), "Pictures"),
    ActionSpec("show_whole_frame", "Whole frame", ("F", "Home"), "Pictures"),
    ActionSpec("zoom_in", "Zoom in", ("+", "="), "Pictures"),
    ActionSpec("zoom_out", "Zoom out", ("-",), "Pictures"),
    ActionSpec("toggle_columns", "Columns, or particles, on or off", ("C",), "Pictures"),
    ActionSpec("next_counts", "Counts of this frame, or fused over all", ("S",), "Pictures"),
    ActionSpec("next_backdrop", "What lies beneath the columns", ("B",), "Pictures"),
    ActionSpec("next_contrast", "Contrast: automatic, percentile, manual", ("X",), "Pictures"),
    ActionSpec("next_average", "Average raw frames for display", ("V",), "Pictures"),
    ActionSpec("next_colour_map", "Colour map of the pictures", ("M",), "Pictures"),
    ActionSpec("clear_selection", "Clear the chosen column and region", ("Esc",), "Pictures"),
    ActionSpec("open_file", "Open a result file", ("Ctrl+O",), "Window"),
    ActionSpec("connect_to_run", "Connect to a run", ("Ctrl+K",), "Window"),
    ActionSpec("export_png", "Save the window as PNG", ("Ctrl+P",), "Window"),
    ActionSpec("export_svg", "Save the map as SVG", ("Ctrl+Shift+P",), "Window"),
    ActionSpec("export_csv", "Save the series as CSV", ("Ctrl+S",), "Window"),
    ActionSpec("acknowledge", "Acknowledge the alarm", ("A",), "Window"),
    ActionSpec("toggle_theme", "Dark or light", ("T",), "Window"),
    ActionSpec("toggle_full_screen", "Full screen", ("F11",), "Window"),
    ActionSpec("toggle_help", "This help", ("?", "F1"), "Window"),
)
