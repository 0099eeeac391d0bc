"""Limits of what one nameserver may be sent. No I/O and no DNS: queries are numbers, and time comes from outside."""

from resolver.congestion.loss import Round
from resolver.congestion.token_bucket import TokenBucket
from resolver.congestion.window import Window

__all__ = ["Round", "TokenBucket", "Window"]
