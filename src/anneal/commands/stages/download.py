"""Stage ``download``: get the images of a data set and record their identity.

``python -m anneal.commands.stages.download <dataset>`` writes ``data/<dataset>.identity.json``.
"""

from anneal.config.compose import compose_dataset
from anneal.config.paths import Paths
from anneal.datasets import identify
from anneal.io.files import write_json
from anneal.io.terminal import command, say
from anneal.runs.layout import identity_file


@command("dataset")
def main(arguments: list[str]) -> None:
    """Get one data set (``conf/dataset/<name>.yaml``) and write its identity."""
    (name,) = arguments
    config = compose_dataset(name)
    identity = identify(config, Paths.from_environment())
    write_json(identity_file(name), identity)
    sets = list(identity.get("subjects", {"": identity}).values())
    counts = (
        f"{sum(part['splits'][which]['num_images'] for part in sets)} {which}"
        for which in ("train", "test")
    )
    what = "images" if config.signal is None else f"trials of {len(sets)} subjects"
    say(f"{name}: {', '.join(counts)} {what}")


if __name__ == "__main__":
    main()
