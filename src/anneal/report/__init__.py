"""The report: what it says (`content`), from which files (`sources`), how it looks (`markdown`)."""
