"""The commands: one module for each verb; `stages` holds what dvc.yaml runs."""
