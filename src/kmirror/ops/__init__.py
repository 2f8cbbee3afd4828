"""One use case a module: plain values in, frozen results out. Nothing here prints, asks or exits."""
