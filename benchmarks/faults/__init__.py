"""The rows of the trust campaign (benchmarks/trust.py): each is a function that yields attempts."""
