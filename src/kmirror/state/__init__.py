"""What is remembered on this machine: links.toml, and the runtime files of each link.

Nothing here is a position: that is the destination's log end.
"""
