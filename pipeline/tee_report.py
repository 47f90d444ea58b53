"""What is said of a tee's clients, by ``atomstream tee`` and by a run that has some."""

from collections.abc import Sequence

from streamer.counters import OutputCounts

__all__ = ["output_line", "tee_problems"]


def output_line(output: OutputCounts) -> str:
    """Say what a client has got, and what it has not, in one line."""
    line = f"{output.address}   {output.frames:,} frames, {output.starts:,} starts, {output.ends:,} ends"
    lost = (("dropped for want of room", output.dropped), ("while no client was there", output.absent),
            ("starts and ends withheld", output.withheld))  # fmt: skip
    return line + "".join(f"   {text} {count:,}" for text, count in lost if count)


def tee_problems(outputs: Sequence[OutputCounts], undelivered: bool) -> list[str]:
    """Return what lossless clients have lost, one line each; what others have not got is no problem."""
    problems = [
        f"the client of {output.address} left in mid-series ({output.breaks:,} times): frames are lost"
        for output in outputs
        if output.broken
    ]
    if undelivered:
        problems.append("a lossless client did not take its last messages: they are lost")
    return problems
