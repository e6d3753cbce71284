"""A structure-aware fuzzer of all that strangers can send or leave lying about: `python -m tests.fuzz --help`.

Each case is a JSON value, made from a seed: it says how an input differs from a sound one. Targets run it in a child
process that stays alive over many cases; the parent watches its time and memory.
"""
