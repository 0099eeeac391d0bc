"""Vetting nameservers: which of a list can be trusted with a run, and how much each can take (`resolve nameservers`).

Each is asked a few questions of which it is known how a good one answers (survey.py), and what came back makes its
verdict (verdict.py). The questions go through the same engine as any run.
"""
