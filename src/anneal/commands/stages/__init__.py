"""The stages of dvc.yaml: load, call one function, save."""
