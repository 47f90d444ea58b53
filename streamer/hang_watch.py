"""Notices an analyser, or a follower, that lives and answers nothing while others wait for it."""

from collections.abc import Sequence

from streamer.analysers import Peer

__all__ = ["HangWatch"]


class HangWatch:
    """Remembers since when each owes an answer; asked now and then by one thread.

    Loading networks for another shape can take minutes, and then all analysers are silent: one hangs only
    where the others have answered whatever they had.

    Parameters
    ----------
    limit_s : float
        How long an answer may take.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._owing: dict[Peer, tuple[int, float]] = {}  # answers by then, and since when one is owed

    def hanging(self, analysers: Sequence[Peer], follower: Peer | None, now: float) -> list[Peer]:
        """Return those that hang.

        Parameters
        ----------
        analysers : sequence of Peer
            All that there are, while results wait for others; else none.
        follower : Peer or None
            If it has been given results that it has not answered.
        now : float
            Time [s].
        """
        busy = [peer for peer in analysers if peer.held]
        watched = [*busy, *([follower] if follower is not None else [])]
        self._owing = {peer: self._owed(peer, now) for peer in watched}
        last = [peer for peer in watched if peer.follows or busy == [peer]]
        return [peer for peer in last if now - self._owing[peer][1] >= self._limit_s]

    def _owed(self, peer: Peer, now: float) -> tuple[int, float]:
        n_answered, since = self._owing.get(peer, (-1, now))
        return (n_answered, since) if n_answered == peer.n_answered else (peer.n_answered, now)
