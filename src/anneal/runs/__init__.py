"""One run: planned, set up, trained, resumed and recorded on disk."""
