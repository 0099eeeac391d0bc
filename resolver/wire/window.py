"""How much one nameserver may be sent at once: the congestion window and the pace of one nameserver.

Theory of operation. Queries are sent in *rounds* of a few hundredths of a second. A round is judged when all its
replies are in, or when they are overdue (a multiple of the usual round trip, as in RFC 6298), which is long before a
try's own timeout: what is overdue is presumed lost and no longer fills the window. A round's loss then decides:

* no loss: the window grows while we wait for replies and growing brings more of them, and stands where it does not;
* loss: the sending is cut to a little under what gets through, and a *rate* holds it there, since on a short path no
  window is small enough to express two thousand queries a second. What gets through is counted from one loss to the
  next, when whatever bucket the path has was empty both times; a burst says nothing. The rate then probes upwards:
  quickly while it is below that, gently close to it, quickly again beyond;
* loss that two cuts in a row do not cure is the path's own (or that of names whose nameservers are down): they are
  taken back, and that much loss is accepted from now on;
* a cut for replies that were late, not lost, is taken back when they come;
* sudden silence, with plenty to ask: the nameserver is *dark*, as one is that answers so many queries by the second
  and then none until the next. One query at times looks whether it is over, for everything else would be lost.

A nameserver that has never answered, or not for a long time, is dead and not congested: nothing holds it back, so that
its lookups run out together instead of in single file.

No clock and no I/O here: `now` is seconds on any monotonic clock.
"""

from __future__ import annotations

import math
from collections import deque

from resolver.wire.rounds import Cut, Round, Trip

# What all parties of a run may have in flight together, for the socket buffer at the other end is one:
FIRST = 128  # queries: the window at first, well under what a buffer of Linux' default size holds (about 270)
NEAR = 192  # queries: the largest window on a short path; a smaller part of a buffer that many share
SHORT = 0.01  # seconds of round trip: a short path
ENOUGH = 200_000  # queries a second: more than one interpreter can handle
LEAST_ROUND = 0.02  # seconds
LEAST = 4.0  # queries: the smallest window
FLOOR = 20.0  # queries a second: the slowest that congestion alone makes us
IDLE = 0.25  # of a round's time spent waiting for sockets: below it, the window is not what holds us back
TOLERATED = 0.01  # of the queries: a loss that is no reason to slow down
VAIN = 2  # cuts in a row that cure nothing: then the loss is not ours
TELLING = 64  # queries that show whether a cut cured anything
SILENT = 40  # queries in a row without an answer: a sudden silence
PROBE = 0.1  # seconds between the queries that look whether it is over
DARK = 1.2  # seconds that it may last: a little over the second by which many a limit counts

INSTANT = 1e-5  # seconds: no wait is shorter, or a clock might stand still
_ULPS = 1e-9


class Window:
    """The window of one nameserver. `limit`: the most queries in flight; `patience`: seconds of silence until dead.

    `parties`: windows of this run at this nameserver, in as many processes, none of which sees the others.
    """

    def __init__(self, limit: int, patience: float, parties: int = 1) -> None:
        self.limit = limit
        self._first = max(LEAST, FIRST / parties)
        self._near = max(LEAST, NEAR / parties)
        self.size = float(min(self._first, limit))
        self.rate = math.inf  # queries a second
        self.dead = False
        self.dark: float | None = None  # since when nothing at all comes back
        self.probed = -math.inf  # when a dead or dark one was last looked after
        self.outstanding = 0  # sent, not answered, not yet presumed lost
        self.round: Round | None = None  # the one that is being sent
        self._patience = patience
        self._rounds: deque[Round] = deque()  # closed, not yet judged
        self._heard: float | None = None
        self._trip = Trip()
        self._credit = 1.0  # queries that the rate allows at once
        self._credited = 0.0
        self._room = 0  # the last allowance, and whether the rate set it
        self._paced = False
        self._pressed = -math.inf  # when more would have been sent than was allowed
        self._full = self._held = False  # since the last judgement: did the window, or the rate, hold something back?
        self._seen = self._gone = 0.0  # sent and lost since the last change, older ones fading
        self._accepted = 0.0  # the share of loss that slowing down does not cure
        self._cut: Cut | None = None
        self._ceiling = math.inf  # replies a second that got through when there was loss
        self._confirmed = 0  # how often that was seen
        self._vain = 0  # cuts in a row that cured nothing,
        self._before: tuple[float, float] | None = None  # the rate and the window before them,
        self._worst = 0.0  # and the loss that they met
        self._mute = 0  # queries lost since a round had an answer
        self._trusted, self._trust = -math.inf, 4.0  # until when silence is not taken for darkness, and seconds
        self._dimmed = 0.0  # when the round began that showed that it is dark
        self._passed = 0  # queries of judged rounds that were answered,
        self._struck, self._struck_at = -math.inf, 0  # and as of the loss before: its time, and their number
        self._began = 0.0
        self._reacted = -math.inf
        self._best = 0.0  # replies a second at the window below this one
        self._settled = -math.inf  # since when the window stands because growing brought nothing,
        self._hold = 1.0  # and how many seconds it stands then
        self._idle = 0.0  # seconds that the run has spent waiting for sockets
        self._widened = -math.inf  # when it last changed

    def allowance(self, now: float) -> int:
        """How many queries may go out now."""
        if self.dead:
            return self.limit
        if self.dark is not None:
            self._room = self.limit + 1
            return int(now >= self.probed + PROBE)
        room = int(self.size) - self.outstanding
        self._paced = False
        if self.rate < math.inf:
            depth = max(1.0, self.rate * LEAST_ROUND)
            self._credit = min(depth, self._credit + (now - self._credited) * self.rate)
            self._credited = now
            if self._credit < room:
                # Summed floats fall short of a whole query by a few ulps.
                room, self._paced = int(self._credit + _ULPS), True
        self._room = room
        return max(0, room)

    def sent(self, queries: int, now: float) -> Round:
        """So many went out; returns the round that they belong to, which goes with them."""
        current = self.round
        if current is None:
            current = self.round = Round(now, self._idle)
            self._began = self._began or now
        current.sent += queries
        self.outstanding += queries
        if self.dark is not None:
            self.probed = now
        if queries >= self._room:
            self._pressed = now
            self._held |= self._paced
            self._full |= not self._paced
        if self.rate < math.inf:
            self._credit -= queries
        return current

    def unsent(self, queries: int) -> None:
        """So many of those just sent did not go out after all."""
        if self.round is not None:
            self.round.sent -= queries
        self.outstanding -= queries
        if self.rate < math.inf:
            self._credit += queries

    def failed(self, round_: Round, now: float) -> None:
        """One of a round's queries met a closed port or a broken connection: it is under way no more, and says nothing
        of how much can be sent."""
        if not round_.judged:
            round_.sent -= 1
            self.outstanding -= 1
        self.silent(now)

    def answered(self, round_: Round, queries: int, now: float) -> None:
        """So many of a round's queries were answered."""
        if not queries:
            return
        round_.answered += queries
        self._heard = now
        if self.dead:
            self._revive(now)
        if not round_.judged:
            self.outstanding -= queries
        elif self._cut is not None and self._cut.round is round_:
            self._cut.lost -= queries
            if self._cut.lost <= self._cut.loss * round_.sent / 4:
                self._take_back()
        if self.dark is not None:
            self._lighten(round_, now)

    def trip(self, seconds: float) -> None:
        """A round trip was measured (never one of a query that was sent twice: Karn's algorithm)."""
        self._trip.took(seconds)

    def silent(self, now: float) -> None:
        """A try ran out without a reply."""
        if self._heard is None or now - self._heard > self._patience:
            if not self.dead:
                self.probed = now
            self.dead = True

    def probe(self, now: float) -> bool:
        """Is it time to see whether this dead nameserver is back, with one query? Says yes once in a while."""
        if now - self.probed < self._patience:
            return False
        self.probed = now
        return True

    def tick(self, now: float, idle: float) -> None:
        """Close the round that is being sent if it lasted long enough, and judge those whose time is up.

        `idle`: seconds that the run has spent waiting for sockets so far.
        """
        self._idle = idle
        current = self.round
        if current is not None and now - current.opened >= self._span():
            # All of it was sent by then: any later tick would have closed it before more was sent.
            current.closed = current.opened + self._span()
            current.idle = idle - current.idle
            self._rounds.append(current)
            self.round = None
        rounds = self._rounds
        while rounds and (rounds[0].answered >= rounds[0].sent or now >= rounds[0].closed + self._overdue()):
            self._judge(rounds.popleft(), now)

    def wait(self, now: float) -> float:
        """Seconds until `allowance` may have grown by itself; infinite when only a reply can make it grow."""
        seconds = math.inf
        if self._rounds:
            seconds = max(0.0, self._rounds[0].closed + self._overdue() - now)
        elif self.round is not None and self.outstanding:
            seconds = max(0.0, self.round.opened + self._span() + self._overdue() - now)
        if self.dark is not None:
            if self.probed + PROBE > now:
                seconds = min(seconds, self.probed + PROBE - now)
        elif self.rate < math.inf and self.size > self.outstanding:
            # With credit left something else holds the queries back.
            missing = 1.0 - self._credit - (now - self._credited) * self.rate
            if missing > _ULPS:
                seconds = min(seconds, max(missing / self.rate, INSTANT))
        return seconds

    @property
    def idle(self) -> bool:
        """Nothing is under way, and nothing is left to judge."""
        return not (self.outstanding or self._rounds or self.round or self.dark)

    def _span(self) -> float:
        return max(LEAST_ROUND, min(self._trip.usual, 0.5))

    def _overdue(self) -> float:
        if self._heard is None:
            return self._patience
        return self._trip.overdue

    def _judge(self, round_: Round, now: float) -> None:
        round_.judged = True
        lost = round_.sent - round_.answered
        self.outstanding -= lost
        self._passed += round_.answered
        self._mute = 0 if round_.answered else self._mute + lost
        full, held, self._full, self._held = self._full, self._held, False, False
        if self.dark is not None and now - self.dark > DARK:
            # No limit that counts by the second, then: what is asked now is answered by nobody, at any speed.
            self.dark = None
            self._accepted = 1.0
            self._trusted, self._trust = now + self._trust, min(64.0, 2 * self._trust)
            self._take_back()
            self._forget(now)
        if self.dead or self._heard is None or self.dark is not None or not round_.sent:
            return
        if self._hushed(round_, now):
            self._darken(round_, lost, now)
        if round_.opened < self._reacted:
            return
        if self._seen > 500:
            self._seen, self._gone = self._seen / 2, self._gone / 2
        self._seen += round_.sent
        self._gone += lost
        if self._cut is not None and (self._seen >= TELLING or now - self._reacted > 0.5):
            self._review(now)
        excess = self._gone - self._accepted * self._seen
        if excess > 2 + TOLERATED * self._seen + 3 * math.sqrt(self._accepted * self._seen):
            if self._cut is None:
                self._slow_down(round_, lost, now)
        else:
            self._accepted += 0.02 * (lost / round_.sent - self._accepted) if self._accepted else 0.0
            span = max(round_.closed - round_.opened, LEAST_ROUND / 4)
            if held:
                self._speed_up(span)
            # Who was busy all the time would not be served by more replies at once.
            if full and round_.opened >= self._widened and round_.idle > IDLE * span:
                self._widen(round_.answered / span, now)

    def _slow_down(self, round_: Round, lost: int, now: float) -> None:
        span = max(round_.closed - round_.opened, LEAST_ROUND / 4)
        through = self._through(round_, now)
        self._worst = 0.8 * self._gone / self._seen if self._vain else 0.0
        self._cut = Cut(self._gone / self._seen, lost, round_, self.rate, self.size)
        self.rate = max(FLOOR, 0.85 * through, 0.2 * min(self.rate, round_.sent / span))
        self.size = max(LEAST, min(self.size, self.size / 2 + self._first / 4))
        self._credit, self._credited = 0.0, now
        self._forget(now)

    def _hushed(self, round_: Round, now: float) -> bool:
        """Is it the nameserver that fell silent, while there was more to ask than it was sent? Not chance, then, nor a
        few names that nobody answers."""
        usual = max(self._accepted, self._worst, 0.5)
        quiet = self._heard is not None and now - self._heard >= self._overdue()
        pressed = round_.opened - self._pressed < 0.25 and now > self._trusted
        return quiet and pressed and self._mute >= SILENT and usual**self._mute < 1e-3

    def _darken(self, round_: Round, lost: int, now: float) -> None:
        self.dark = self.probed = now
        self._dimmed = round_.opened
        if self._cut is None:
            self._cut = Cut(1.0, lost, round_, self.rate, self.size)
        if self._ceiling < math.inf:
            self.rate = min(self.rate, 0.85 * self._ceiling)
        self._forget(now)

    def _through(self, round_: Round, now: float) -> float:
        """Replies a second that get through, as it looks when a round has suffered a loss.

        From one loss to the next: whatever bucket the path has was empty at both ends, so that what came between is
        what runs through. At the first loss: what came after it; better too little than too much.
        """
        struck, passed = self._struck, self._struck_at
        if round_.closed - struck < 0.1:
            return min(self.rate, round_.answered / LEAST_ROUND)
        self._struck, self._struck_at = round_.closed, self._passed
        if struck > -math.inf:
            through = (self._passed - passed) / (round_.closed - struck)
            self._confirmed = self._confirmed + 1 if 0.7 < through / self._ceiling < 1.4 else 0
            self._ceiling = max(FLOOR, through)
            return through
        later = sum(each.answered for each in self._rounds) + (self.round.answered if self.round else 0)
        return later / max(now - round_.closed, LEAST_ROUND)

    def _lighten(self, round_: Round, now: float) -> None:
        """Something was answered after a sudden silence."""
        self.dark = None
        cut = self._cut
        if cut is not None and round_.opened <= self._dimmed:
            self._take_back()  # it was late, not lost
        elif self._ceiling == math.inf:
            # The first silence: what came before it was the share of the time up to here.
            self._ceiling = max(FLOOR, self._passed / (now - self._began))
            self.rate = 0.85 * self._ceiling
        self._credit, self._credited = 0.0, now
        self._forget(now)

    def _review(self, now: float) -> None:
        cut, loss = self._cut, self._gone / self._seen
        if cut is None or loss <= 0.5 * cut.loss:
            self._vain, self._before = 0, None
        else:
            self._vain += 1
            self._before = self._before or (cut.rate, cut.window)
            if self._vain >= VAIN or self._accepted:
                self._accepted = loss
                self.rate, self.size = max(self.rate, self._before[0]), max(self.size, self._before[1])
                self._vain, self._before = 0, None
                self._forget(now)
        self._cut = None

    def _take_back(self) -> None:
        cut, self._cut = self._cut, None
        if cut is not None:
            self.rate, self.size = max(self.rate, cut.rate), max(self.size, cut.window)

    def _speed_up(self, span: float) -> None:
        place = self.rate / self._ceiling
        if place < 0.95:
            # No more than by half until the first of it is judged.
            growth = 0.5 / (span + self._overdue())
        elif place < 1.1:
            growth = 0.05 if self._confirmed else 0.5
        else:
            growth = 2.0
        self.rate *= 1 + growth * min(span, 0.25)

    def _widen(self, through: float, now: float) -> None:
        if now - self._settled < self._hold or self.size >= self._most():
            return
        if through > 1.15 * self._best:
            self._best, self._hold = through, 1.0
            self.size = min(self._most(), self.size * 2)
        else:
            # The larger window brought nothing: the one before serves as well, and loses less when the path narrows.
            self.size = max(min(self._first, self.limit), self.size / 2)
            self._best = through / 1.15
            self._settled, self._hold = now, min(16.0, 2 * self._hold)
        self._widened = now

    def _most(self) -> float:
        """The window that could make a difference: on a short path a small one allows more than anybody can handle,
        and a larger one only fills the socket buffer at the other end."""
        short = self._trip.usual < SHORT and self.size > ENOUGH * self._trip.shortest
        return min(float(self.limit), max(self.size, self._near)) if short else float(self.limit)

    def _forget(self, now: float) -> None:
        self._seen = self._gone = 0.0
        self._reacted = now

    def _revive(self, now: float) -> None:
        self.dead = False
        self.size = float(min(self._first, self.limit))
        self.rate = math.inf
        self._best = 0.0
        self._settled = -math.inf
        self._forget(now)
