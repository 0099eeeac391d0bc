"""Benchmarks: the tool side by side with its peers, on a real nameserver on loopback. README.md says how."""
