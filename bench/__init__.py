"""The benchmark: kmirror, MirrorMaker 2 and a record loop copy the same data between the same real clusters."""
