"""The nouns of kmirror: links, mirrors, their states and what is seen of them. Standard library alone, no I/O."""
