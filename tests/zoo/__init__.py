"""Tiny GGUFs that the tests write for themselves: random seeded weights, real file format."""
