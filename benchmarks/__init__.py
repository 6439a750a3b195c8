"""Measured speed: every file runs as `python -m benchmarks.NAME [--quick] [--json FILE]`."""
