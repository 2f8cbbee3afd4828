"""One link's process: in the foreground or detached, its signals, its control socket."""
