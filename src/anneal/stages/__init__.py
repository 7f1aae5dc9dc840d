"""The stages of dvc.yaml: load, call one function, save (edge)."""

from anneal.threads import let_idle_threads_sleep

let_idle_threads_sleep()  # before a stage imports torch
