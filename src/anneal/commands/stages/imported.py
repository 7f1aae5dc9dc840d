"""What training and evaluation import: the one process that runs are forked from imports this.

It takes the digest of the sources along with them, so that a fork records those it has.
"""

import torch._dynamo  # noqa: F401 - of every optimizer

import anneal.commands.stages.evaluate
import anneal.commands.stages.train  # noqa: F401
from anneal.runs.code_digest import code_digest

code_digest()
