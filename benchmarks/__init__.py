"""What `resilient` costs, side by side with its peers. Run with `python -m benchmarks`; see README.md.

Benchmarks never gate a test: they print, mark what misses its bound, and exit 0.
"""
