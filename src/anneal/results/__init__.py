"""What runs measured, and the statistics over their seeds."""
