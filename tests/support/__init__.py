"""What the tests share: an independent oracle, traffic, waiting, the command line and process book-keeping.

Nothing in here imports kmirror: a tool that judges the product may not be built from it.
"""
