"""The copy machine of one link: fetches from the source, appends at the destination, one event loop, bounded memory."""
