"""The operators that the benchmark knows how to measure. Used by `bench.__main__`."""
