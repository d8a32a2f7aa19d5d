"""gangajal: a filter of words by a Bloom filter and hashes, in Rust."""

from gangajal import validate

TEXT = "hello you damn shit world, this is a fucking test of words " * 20

for mode in (0, 1):
    print(validate(TEXT, mode))
print(validate("nothing here", 0))
