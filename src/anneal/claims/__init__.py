"""What the papers claim, and the verdict on each claim."""
