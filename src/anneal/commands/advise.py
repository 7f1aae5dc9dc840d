"""Recommend bounds and a schedule for your own data and network.

``anneal advise dataset=imagefolder dataset.folder=photos model=timm optimizer=sgd
training.length="20 epochs" budget_fraction=0.1``; options and values are those of ``anneal run``
(``anneal run --help`` lists them), the schedule apart, which is what is advised:

1. A range test on held-out training images, with several seeds, suggests bounds. Where it gives
   none it says why and what to do next, and nothing else is run.
2. Each candidate (``advise.candidates``) is trained between these bounds with the same seeds
   (``advise.seeds``) for the same number of updates, ``training.length`` times
   ``budget_fraction``, and measured on the held-out images. No test image is looked at.
3. The best is recommended, or the simplest of those that the seeds cannot tell from it and whose
   mean lies within half a point of its own, with the lines to paste.

All of it lies in ``advice/<advise.name>/`` then: advice.md, advice.json, snippet.py and two
pictures. What is finished is not run again when the same is asked once more.
"""

from anneal.advise.page import terminal_lines
from anneal.advise.question import ask, refuse_another
from anneal.advise.recommend import PAGE, recommend
from anneal.config.folders import own_folder_first
from anneal.io.terminal import command, say
from anneal.runs.layout import ADVICE


@command(free=True)
def main(arguments: list[str]) -> None:
    """Advise on bounds and a schedule: anneal advise dataset=digits optimizer=sgd."""
    with own_folder_first(arguments) as left:
        question = ask(left)
    folder = ADVICE / question.advice.name
    refuse_another(folder, question.digest)
    advice = recommend(question, command=arguments, folder=folder)
    for line in terminal_lines(advice, page=folder / PAGE):
        say(line)
