"""How much one nameserver may be sent. No I/O and no DNS here: queries are numbers, and time is told from outside."""

from resolver.congestion.loss import Round
from resolver.congestion.token_bucket import TokenBucket
from resolver.congestion.window import Window

__all__ = ["Round", "TokenBucket", "Window"]
