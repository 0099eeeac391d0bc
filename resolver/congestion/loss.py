"""Loss, and what was done about it: rounds, the account of loss, reductions, and the rate that gets through.

A reduction is on trial until a review shows whether it cured anything:

    none --(loss beyond what is accepted)--> on trial
    on trial --(the lost replies came late)--> undone: rate and size as before
    on trial --(less loss since)--> kept
    on trial --(as much loss since)--> futile; after FUTILE of them in a row all are undone, and that loss is accepted

The account holds numbers and judges them; what is sent less or more is the window's (window.py).
"""

from __future__ import annotations

import math

import msgspec

SHORTEST_ROUND = 0.02  # seconds
TOLERATED = 0.01  # of the queries: a loss that is no reason to slow down
FUTILE = 2  # reductions in a row that cure nothing: then the loss is not ours,
FUTILE_SHARED = 4  # nor that of others who reduce what they send at the same time
TELLING = 64  # queries that show whether a reduction cured anything,
REVIEW = 0.5  # or seconds
FADING = 500  # queries: what came before them counts half
SLOWEST = 20.0  # queries a second: the slowest that congestion alone makes us


class Round:
    """Queries that went out together, and what became of them."""

    __slots__ = ("answered", "blind", "closed", "congested", "idle", "in_flight", "judged", "opened", "sent")

    def __init__(self, now: float, idle: float = 0.0, *, blind: bool = False) -> None:
        self.opened = now
        self.idle = idle  # seconds that were spent waiting: in all before it, then, once closed, within it
        self.blind = blind  # sent to a nameserver that had not answered yet, or not for long
        self.closed = math.inf
        self.sent = 0
        self.answered = 0
        self.in_flight = 0  # neither answered, nor presumed lost
        self.judged = False
        self.congested = False  # it was as much as was allowed: its loss may be our doing

    @property
    def span(self) -> float:
        """Seconds in which it was sent."""
        return max(self.closed - self.opened, SHORTEST_ROUND / 4)


class Reduction(msgspec.Struct):
    """A reduction, with enough to undo it.

    Attributes:
        loss: The share of loss that it met.
        lost: Queries lost of the round.
        round: The round that showed the loss.
        rate, size: The window's before it.
    """

    loss: float
    lost: int
    round: Round
    rate: float
    size: float

    def refuted(self, round_: Round, queries: int) -> bool:
        """Count late replies to a round; say whether they show that it was late, and not lost."""
        if self.round is not round_:
            return False
        self.lost -= queries
        return self.lost <= self.loss * round_.sent / 4


class LossAccount:
    """Account of the queries sent and lost since the last change of the window.

    Args:
        alone: No other window shares the nameserver.

    Attributes:
        accepted: The share of loss that slowing down does not cure.
        trial: The reduction on trial; None: there is none.
        changed: When the window last changed for the sake of loss; rounds from before say nothing of how it is now.
    """

    def __init__(self, *, alone: bool) -> None:
        self._futile_at = FUTILE if alone else FUTILE_SHARED
        self.accepted = 0.0  # the share of loss that slowing down does not cure
        self.trial: Reduction | None = None
        self.changed = -math.inf
        self._sent = self._lost = 0.0  # older ones fading
        self._futile = 0  # reductions in a row that cured nothing,
        self._before: tuple[float, float] | None = None  # the rate and the size before them,
        self._worst = 0.0  # and the loss that they met

    @property
    def share(self) -> float:
        """The share of loss since the last change."""
        return self._lost / self._sent

    @property
    def usual(self) -> float:
        """The share of loss that would be no surprise."""
        return max(self.accepted, self._worst)

    @property
    def excessive(self) -> bool:
        """Say whether more is lost than is accepted, and than chance explains."""
        excess = self._lost - self.accepted * self._sent
        return excess > 2 + TOLERATED * self._sent + 3 * math.sqrt(self.accepted * self._sent)

    def record(self, sent: int, lost: int) -> None:
        """Count a judged round."""
        if self._sent > FADING:
            self._sent, self._lost = self._sent / 2, self._lost / 2
        self._sent += sent
        self._lost += lost

    def follow(self, share: float) -> None:
        """Let the accepted loss, where there is one, follow that of a round without excess."""
        if self.accepted:
            self.accepted += 0.02 * (share - self.accepted)

    def restart(self, now: float) -> None:
        """Begin a new account: the window changes now."""
        self._sent = self._lost = 0.0
        self.changed = now

    def reduce(self, lost: int, round_: Round, rate: float, size: float) -> None:
        """Put a reduction on trial; `restart` follows.

        Args:
            lost: Queries lost of the round.
            round_: The round that showed the loss.
            rate, size: The window's before the reduction.
        """
        self._worst = 0.8 * self.share if self._futile else 0.0
        self.trial = Reduction(self.share, lost, round_, rate, size)

    def silence(self, lost: int, round_: Round, rate: float, size: float) -> None:
        """Put what a blackout stops on trial, with the arguments of `reduce`: late replies undo it."""
        self.trial = Reduction(1.0, lost, round_, rate, size)

    def undo(self) -> Reduction | None:
        """End the trial; return the reduction that is to be undone, if there is one."""
        trial, self.trial = self.trial, None
        return trial

    def due(self, now: float) -> bool:
        """Say whether it is time to review the reduction on trial."""
        return self.trial is not None and (self._sent >= TELLING or now - self.changed > REVIEW)

    def review(self, *, queueing: bool) -> tuple[float, float] | None:
        """End the trial; return the rate and the size to go back to where it was futile, and accept the loss then.

        Args:
            queueing: Queries wait at a bottleneck: the loss is congestion's, if not by us alone.
        """
        trial, self.trial = self.trial, None
        if trial is None or self.share <= 0.5 * trial.loss:
            if not self.excessive:  # or it was luck, perhaps
                self._futile, self._before = 0, None
            return None
        self._futile += not queueing
        before = self._before = self._before or (trial.rate, trial.size)
        if queueing or (self._futile < self._futile_at and not self.accepted):
            return None
        self.accepted = self.share
        self._futile, self._before = 0, None
        return before


class DeliveryRate:
    """Replies a second that get through.

    They are counted from one loss to the next: whatever bucket the path has was empty both times, and a burst in
    between says nothing.

    Attributes:
        ceiling: The latest count; infinite before the first.
        confirmed: Two counts agreed.
        answered: Answered queries of judged rounds, in all.
    """

    def __init__(self) -> None:
        self.ceiling = math.inf
        self.confirmed = False
        self.answered = 0
        self._at_loss = 0  # those as of the loss before,
        self._loss = -math.inf  # which was then
        self._began = (0.0, 0)  # when it was first heard, or heard again, and what was answered by then

    def restart(self, now: float) -> None:
        """Count anew for `at_blackout`: a nameserver that was dead answers."""
        self._began = now, self.answered

    def record(self, answered: int) -> None:
        """Count the answers of a judged round."""
        self.answered += answered

    def at_loss(self, round_: Round, since: int, rate: float, now: float) -> float:
        """Return the estimate at a loss; at the first one it is what came after it: better too little than too much.

        Args:
            round_: The round that has suffered it.
            since: Replies that came since that round.
            rate: The window's rate.
            now: Seconds on any monotonic clock.
        """
        loss, at_loss = self._loss, self._at_loss
        if round_.closed - loss < 0.1:
            return min(rate, round_.answered / SHORTEST_ROUND)
        self._loss, self._at_loss = round_.closed, self.answered
        if loss == -math.inf:
            return since / max(now - round_.closed, SHORTEST_ROUND)
        through = (self.answered - at_loss) / (round_.closed - loss)
        self.confirmed = 0.7 < through / self.ceiling < 1.4
        self.ceiling = max(SLOWEST, through)
        return through

    def at_blackout(self, now: float) -> float:
        """Return the ceiling after a first blackout: what came before it was the share of the time up to here."""
        if self.ceiling == math.inf:
            began, answered = self._began
            self.ceiling = max(SLOWEST, (self.answered - answered) / (now - began))
        return self.ceiling

    def growth(self, rate: float, reaction: float) -> float:
        """Return by what share of itself a rate may grow in a second.

        It grows quickly below the ceiling, gently close to it, quickly again beyond.

        Args:
            rate: Queries a second.
            reaction: Seconds until the effect of growing is judged.
        """
        place = rate / self.ceiling
        if place < 0.95:
            return 0.5 / reaction  # no more than by half until the first of it is judged
        if place < 1.1:
            return 0.05 if self.confirmed else 0.5
        return 2.0
