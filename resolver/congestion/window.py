"""Congestion window and rate of one nameserver: how much it may be sent.

Theory of operation. Queries are sent in *rounds* of a few hundredths of a second (half a round trip on a long path). A
round is judged when all its replies are in, or when they are overdue (rtt.py), which is mostly long before a try's own
timeout: what is overdue is presumed lost and no longer fills the window, nor does what a try has waited for in vain. A
round's loss then decides:

* no loss: the window grows while we wait for replies and growing brings more of them (growth.py);
* loss: the sending is reduced to a little under what gets through, and a *rate* holds it there, since on a short path
  no window is small enough to express two thousand queries a second. The rate then probes upwards (loss.py);
* loss that reductions do not cure is the path's own (or that of names whose nameservers are down): they are undone, and
  that much loss is accepted from now on;
* loss that was no loss, since the replies came late, undoes the reduction;
* sudden silence, with plenty to ask, is a blackout (blackout.py).

A nameserver that has never answered, or not for a long time, is dead and not congested: soon nothing holds it back, so
that its lookups run out together instead of in single file. It is not sent everything at once, for where many ask, all
that one of them sent at first may be lost. One that is merely far looks the same until its first reply; a
round that was sent meanwhile, and is answered, shows how large the window may be.

The window is made of small state machines, each with one question to answer:

    part         states                            question                                  where
    liveness     unheard, dead, answering          does anything hold it back at all?        here
    growth       growing, standing                 may the window be larger?                 growth.py
    loss         none, reduction on trial          is what is lost our doing?                loss.py
    rate         infinite, a number                how fast at most?                         here, token_bucket.py
    blackout     none, since                       does it answer nobody just now?           blackout.py

    liveness     unheard   --(a try runs out)--> dead, and unheard
                 unheard, dead --(a reply)--> answering
                 answering --(a try runs out, `dead_after` after the last reply)--> dead

Several windows, in as many processes, may share one nameserver without knowing of each other but their number
(`parties`): each is reduced by the loss that all cause together. What the first moments cost a lookup is no try of its
own (`congested`).

No clock and no I/O here: `now` is seconds on any monotonic clock. All of it runs once a batch, not once a query.
"""

from __future__ import annotations

import math
from collections import deque

from resolver.congestion.blackout import Blackout
from resolver.congestion.growth import LONG, Growth
from resolver.congestion.loss import SHORTEST_ROUND, SLOWEST, TELLING, TOLERATED, DeliveryRate, LossAccount, Round
from resolver.congestion.rtt import RttEstimator
from resolver.congestion.token_bucket import TokenBucket

# What all parties of a run may have in flight together, for the socket buffer at the other end is one:
FIRST = 128  # queries: the window at first, well under what a buffer of Linux' default size holds (about 270)
NEAR = 192  # queries: the largest window on a short path; a smaller part of a buffer that many share
SHORT = 0.01  # seconds of round trip: a short path
ENOUGH = 200_000  # queries a second: more than one interpreter can handle
SMALLEST = 4.0  # queries: the smallest window
LONGEST_ROUND = 0.5  # seconds
OPENING = 0.01  # seconds between two looks how far it has
DOUBLING = 0.25  # seconds in which the window of a dead nameserver doubles
IDLE = 0.25  # of a round's time spent waiting for sockets: below it, the window is not what holds us back


class Window:
    """The window of one nameserver.

    Args:
        limit: The most queries in flight.
        dead_after: Seconds of silence until the nameserver counts as dead.
        parties: Windows of this run at this nameserver, in as many processes, none of which sees the others.
    """

    def __init__(self, limit: int, dead_after: float, parties: int = 1) -> None:
        self.limit = limit
        self._first = max(SMALLEST, FIRST / parties)
        self._near = max(SMALLEST, NEAR / parties)
        self.size = float(min(self._first, limit))
        self.dead = False
        self.in_flight = 0  # sent, not answered, not yet presumed lost
        self.round: Round | None = None  # the one that is being sent
        self.rtt = RttEstimator()
        self._dead_after = dead_after
        self._begun = False
        self.rounds: deque[Round] = deque()  # closed, not yet judged
        self.heard: float | None = None  # when the latest reply came
        self._died = 0.0
        self._loss = LossAccount(alone=parties == 1)
        self._delivery = DeliveryRate()
        self._growth = Growth(alone=parties == 1)
        self._blackout = Blackout()
        self._bucket = TokenBucket(since=0.0)
        self._room = 0  # the last allowance, and whether the rate set it
        self._limited = False
        self._pressed = -math.inf  # when more would have been sent than was allowed
        self._full = self._held = False  # since the last judgement: did the window, or the rate, hold something back?
        self._idle = 0.0  # seconds that the run has spent waiting for sockets

    @property
    def rate(self) -> float:
        """Queries a second at most; infinite where no loss has set it."""
        return self._bucket.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._bucket.rate = rate

    # --- What may be sent, and what was.

    def allowance(self, now: float) -> int:
        """Return how many queries may be sent now."""
        if self.dead:
            return max(0, int(self.size) - self.in_flight)
        if self._blackout.since is not None:
            self._room = self.limit + 1
            return self._blackout.allowance(now)
        room = int(self.size) - self.in_flight
        self._limited = False
        if self.rate < math.inf:
            tokens = self._bucket.allowance(now)
            if tokens < room:
                room, self._limited = tokens, True
        self._room = room
        return max(0, room)

    def sent(self, queries: int, now: float) -> Round:
        """Count queries that go out; returns the round that they belong to, which goes with them."""
        current = self.round
        if current is None:
            if not self._begun:
                self._begun = True
                self._delivery.restart(now)
            current = self.round = Round(now, self._idle, blind=self.heard is None or self.dead)
        current.sent += queries
        current.in_flight += queries
        self.in_flight += queries
        if self._blackout.since is not None:
            self._blackout.probed = now
        self._room -= queries
        if self._room <= 0:
            current.congested = True
            self._pressed = now
            self._held |= self._limited
            self._full |= not self._limited
        if self.rate < math.inf:
            self._bucket.spend(queries)
        return current

    def unsent(self, queries: int) -> None:
        """Take back queries just sent: they did not go out after all."""
        if self.round is not None:
            self.round.sent -= queries
            self.round.in_flight -= queries
        self.in_flight -= queries
        if self.rate < math.inf:
            self._bucket.spend(-queries)

    # --- What became of it.

    def answered(self, round_: Round, queries: int, now: float) -> None:
        """Count replies to queries of a round whose tries have not run out."""
        if not queries:
            return
        if not round_.judged:
            self._release(round_, queries)
        self.answered_late(round_, queries, now)

    def answered_late(self, round_: Round, queries: int, now: float) -> None:
        """Count replies to queries of a round whose tries had run out (see `expired`)."""
        round_.answered += queries
        self.heard = now
        if self.dead:
            self._revive(now)
        if round_.judged and self._loss.trial is not None and self._loss.trial.refuted(round_, queries):
            self._undo()
        if self._blackout.since is not None:
            self._end_blackout(round_, now)

    def expired(self, round_: Round, now: float) -> None:
        """Count a query whose try ran out without a reply: it fills the window no more, but its reply still counts."""
        if not round_.judged:
            self._release(round_, 1)
        self._silent(now)

    def failed(self, round_: Round, now: float) -> None:
        """Forget a query that met a closed port or a broken connection: it says nothing of how much can be sent."""
        self.withdrawn(round_, 1)
        self._silent(now)

    def withdrawn(self, round_: Round, in_flight: int) -> None:
        """Forget a query whose reply nobody will see, since an earlier one was answered meanwhile.

        Args:
            round_: Its round.
            in_flight: 1, or 0 where its try had run out.
        """
        if not round_.judged:
            round_.sent -= 1
            self._release(round_, in_flight)

    def congested(self, round_: Round, since: float) -> bool:
        """Say whether a query that was not answered was likely lost by our own doing.

        It was where its round was as much as was allowed, and a rate holds us back that loss has set, at a nameserver
        that has answered others since, and enough in all for that loss to be no chance. Where some loss is accepted,
        for it is not our doing, only in a round with more.

        Args:
            round_: The query's.
            since: When it was sent.
        """
        ours = round_.congested and self.rate < ENOUGH and not self.dead and self._delivery.answered >= TELLING
        return ours and self.heard is not None and self.heard > since

    @property
    def idle(self) -> bool:
        """Nothing is under way, and nothing is left to judge."""
        return not (self.in_flight or self.rounds or self.round) and self._blackout.since is None

    # --- Time passes.

    def tick(self, now: float, idle: float) -> None:
        """Close the round that is being sent if it lasted long enough, and judge those whose time is up.

        Args:
            now: Seconds on any monotonic clock.
            idle: Seconds that the run has spent waiting for sockets so far.
        """
        self._idle = idle
        if self.dead:
            self.size = min(float(self.limit), self._first * 2 ** min(64, (now - self._died) / DOUBLING))
        current = self.round
        if current is not None and now - current.opened >= self._span():
            # All of it was sent by then: any later tick would have closed it before more was sent.
            self._close(current, current.opened + self._span())
        rounds = self.rounds
        while rounds and (rounds[0].answered >= rounds[0].sent or now >= rounds[0].closed + self._overdue()):
            self._judge(rounds.popleft(), now)

    def wait(self, now: float) -> float:
        """Return the seconds until `allowance` may have grown by itself; infinite when only a reply can bring that."""
        seconds = math.inf
        if self.rounds:
            seconds = max(0.0, self.rounds[0].closed + self._overdue() - now)
        elif self.round is not None and self.in_flight:
            seconds = max(0.0, self.round.opened + self._span() + self._overdue() - now)
        if self._blackout.since is not None:
            return min(seconds, self._blackout.wait(now))
        if self.dead:
            opening = int(self.size) <= self.in_flight < self.limit
            return min(seconds, OPENING) if opening else seconds
        if self.rate < math.inf and self.size > self.in_flight:
            # With tokens left something else holds the queries back.
            seconds = min(seconds, self._bucket.wait(now) or math.inf)
        return seconds

    def _span(self) -> float:
        return max(SHORTEST_ROUND, min(self.rtt.srtt / 2, LONGEST_ROUND))

    def _overdue(self) -> float:
        return self._dead_after if self.heard is None else self.rtt.rto

    def _close(self, round_: Round, now: float) -> None:
        round_.closed = now
        round_.idle = self._idle - round_.idle
        self.rounds.append(round_)
        self.round = None

    # --- The rules.

    def _judge(self, round_: Round, now: float) -> None:
        round_.judged = True
        self._release(round_, round_.in_flight)
        lost = round_.sent - round_.answered
        self._delivery.record(round_.answered)
        self._blackout.record(round_.answered, lost)
        full, held, self._full, self._held = self._full, self._held, False, False
        if self._blackout.outlasted(now):
            self._loss.accepted = 1.0
            self._undo()
            self._loss.restart(now)
        if self.dead or self.heard is None or self._blackout.since is not None or not round_.sent:
            return
        if self._blacked_out(round_, now):
            self._begin_blackout(round_, lost, now)
        if round_.opened < self._loss.changed:
            if round_.blind and lost <= TOLERATED * round_.sent:
                self.size = min(self._most(), self.size + round_.answered)
            return
        self._loss.record(round_.sent, lost)
        if self._loss.due(now):
            self._review(now)
        if self._loss.excessive:
            if self._loss.trial is None:
                self._reduce(round_, lost, now)
            return
        round_.congested &= not self._loss.accepted
        self._loss.follow(lost / round_.sent)
        if held:
            self.rate *= 1 + self._delivery.growth(self.rate, round_.span + self._overdue()) * min(round_.span, 0.25)
        # A run that was busy all the time could do nothing with more replies at once.
        if full and round_.opened >= self._growth.grown and round_.idle > IDLE * round_.span:
            # On a long path a round may be a whole window, or a part of it: the window is what a round trip brings.
            long = self.rtt.srtt > LONG
            self._grow(self.size / self.rtt.srtt if long else round_.answered / round_.span, now)

    def _reduce(self, round_: Round, lost: int, now: float) -> None:
        later = sum(each.answered for each in self.rounds) + (self.round.answered if self.round else 0)
        through = self._delivery.at_loss(round_, later, self.rate, now)
        self._loss.reduce(lost, round_, self.rate, self.size)
        self.rate = max(SLOWEST, 0.85 * through, 0.2 * min(self.rate, round_.sent / round_.span))
        self.size = max(SMALLEST, min(self.size, self.size / 2 + self._first / 4))
        self._bucket.drain(now)
        self._loss.restart(now)

    def _review(self, now: float) -> None:
        before = self._loss.review(queueing=self.rtt.queueing)
        if before is not None:
            self.rate, self.size = max(self.rate, before[0]), max(self.size, before[1])
            self._loss.restart(now)

    def _undo(self) -> None:
        reduction = self._loss.undo()
        if reduction is not None:
            self.rate, self.size = max(self.rate, reduction.rate), max(self.size, reduction.size)

    def _grow(self, through: float, now: float) -> None:
        if self.size >= self._most():
            return
        factor = self._growth.factor(through, self.rtt.least if self.rtt.srtt else 0.0, now)
        if factor > 1:
            self.size = min(self._most(), self.size * factor)
        elif factor < 1:
            self.size = max(min(self._first, self.limit), self.size * factor)

    def _most(self) -> float:
        """The window that could make a difference: on a short path a small one allows more than anybody can handle,
        and a larger one only fills the socket buffer at the other end."""
        short = self.rtt.srtt < SHORT and self.size > ENOUGH * self.rtt.least
        return min(float(self.limit), max(self.size, self._near)) if short else float(self.limit)

    def _blacked_out(self, round_: Round, now: float) -> bool:
        """Say whether the nameserver fell silent, with more to ask than it was sent: not chance, nor a few names that
        nobody answers."""
        quiet = self.heard is not None and now - self.heard >= self._overdue()
        return quiet and round_.opened - self._pressed < 0.25 and self._blackout.shows(self._loss.usual, now)

    def _begin_blackout(self, round_: Round, lost: int, now: float) -> None:
        self._blackout.begin(round_.opened, now)
        if self._loss.trial is None:
            self._loss.silence(lost, round_, self.rate, self.size)
        self.rate = min(self.rate, 0.85 * self._delivery.ceiling)
        self._loss.restart(now)

    def _end_blackout(self, round_: Round, now: float) -> None:
        self._blackout.since = None
        if self._loss.trial is not None and round_.opened <= self._blackout.round:
            self._undo()  # the replies were late, not lost
        elif self._delivery.ceiling == math.inf:
            self.rate = 0.85 * self._delivery.at_blackout(now)
        self._bucket.drain(now)
        self._loss.restart(now)

    def _silent(self, now: float) -> None:
        if self.heard is None or now - self.heard > self._dead_after:
            if not self.dead:
                self._died = now
                self.size = float(min(self._first, self.limit))
                self.rate = math.inf
            self.dead = True

    def _revive(self, now: float) -> None:
        self.dead = False
        if self.round is not None:
            self._close(self.round, now)  # what is sent from now on is not sent blindly
        self.size = float(min(self._first, self.limit))
        self.rate = math.inf
        self._growth.restart()
        self._delivery.restart(now)
        self._loss.restart(now)

    def _release(self, round_: Round, queries: int) -> None:
        round_.in_flight -= queries
        self.in_flight -= queries
