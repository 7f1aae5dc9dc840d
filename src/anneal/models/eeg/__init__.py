"""Networks that decode recordings of brain activity: signals (N, sensors, samples).

Each gives an output for every window that its receptive field fits into: logits (N, classes,
outputs). ``dense`` makes neighbouring windows one sample apart, by dilation in place of strides and
with the same weights.
"""
