"""Data only: topologies, and device cards in ``devices``; `splitter.topology_file` reads them."""
