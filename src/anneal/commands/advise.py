"""Recommend bounds and a schedule for your own data and network.

``anneal advise dataset=imagefolder dataset.folder=photos model=timm optimizer=sgd
training.length="20 epochs" budget_fraction=0.1``. Options and values are those of ``anneal run``
(``anneal run --help`` lists them) without the schedule, which is recommended:

1. A range test on held-out training images, with several seeds, suggests bounds. If it gives none,
   the command ends with the reason and the setting to change. One candidate is also trained at
   three times the bounds: if that is better, they are raised (``advise.raises`` times at most).
2. Each candidate (``advise.candidates``) is trained between these bounds with the same seeds
   (``advise.seeds``) for the same number of updates, ``training.length`` times
   ``budget_fraction``, and evaluated on the held-out images. No test image is used.
3. The best candidate is recommended, or the simplest one that is statistically tied with it and
   whose mean is within half a point of it, with a snippet to paste.

With ``advise.minutes=10`` the command measures a few updates and chooses lengths, seeds and
candidates that fit into ten minutes, at most those configured; it says which.

The results are in ``advice/<advise.name>/``: advice.md, advice.json, snippet.py and two figures.
The same command again does not repeat finished sweeps and trials.
"""

from anneal.advise.budget import fit_minutes
from anneal.advise.page import terminal_lines
from anneal.advise.question import ask, refuse_other_question
from anneal.advise.recommend import PAGE, recommend
from anneal.config.folders import own_folder_first
from anneal.io.terminal import command, say
from anneal.runs.layout import ADVICE
from anneal.runs.memory import memory_explained


@command(free=True)
def main(arguments: list[str]) -> None:
    """Recommend bounds and a schedule: anneal advise dataset=digits optimizer=sgd."""
    with own_folder_first(arguments) as left:
        question = ask(left)
    folder = ADVICE / question.advice.name
    with memory_explained(question.experiment):
        if question.advice.minutes is not None:
            question = fit_minutes(question, folder=folder)
        refuse_other_question(folder, question.digest)
        advice = recommend(question, command=arguments, folder=folder)
    for line in terminal_lines(advice, page=folder / PAGE):
        say(line)
