"""Configuration: YAML and Hydra on one side, frozen dataclasses on the other."""
