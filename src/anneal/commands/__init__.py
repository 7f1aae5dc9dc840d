"""Command line: one module for each verb; `stages` has the stages of dvc.yaml."""
