"""Recommended: warmup_stable_decay. warmup_stable_decay (44.17 %) is the best and statistically tied over 3 seeds with linear (41.33 %) and cosine (40.67 %); warmup_stable_decay is the simplest of these within 0.5 points of it.

For caffe_cifar on imagefolder with adamw: 100 updates, tried at 1/2 of them (50).
"""


def warmup_stable_decay_with_anneal(optimizer):
    from anneal import ScheduledLR, warmup_stable_decay

    scheduled = ScheduledLR(
        optimizer,
        warmup_stable_decay(
            max_lr=0.00139,
            final_lr=0.0,
            warmup_steps=10,
            stable_steps=60,
            decay_steps=30,
        ),
    )
    # once after each optimizer.step(): scheduled.step()
    return scheduled


def warmup_stable_decay_with_lightning(optimizer):
    from anneal import ScheduledLR, warmup_stable_decay

    scheduled = ScheduledLR(
        optimizer,
        warmup_stable_decay(
            max_lr=0.00139,
            final_lr=0.0,
            warmup_steps=10,
            stable_steps=60,
            decay_steps=30,
        ),
    )
    configured = {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduled, "interval": "step"},
    }
    # return it from configure_optimizers; Trainer(max_steps=100)
    return configured


def warmup_stable_decay_with_hf_trainer(optimizer):
    from anneal import ScheduledLR, warmup_stable_decay

    scheduled = ScheduledLR(
        optimizer,
        warmup_stable_decay(
            max_lr=0.00139,
            final_lr=0.0,
            warmup_steps=10,
            stable_steps=60,
            decay_steps=30,
        ),
    )
    optimizers = (optimizer, scheduled)
    # Trainer(..., optimizers=optimizers) with TrainingArguments(max_steps=100)
    return optimizers


def warmup_stable_decay_with_timm(optimizer):
    from anneal import ScheduledLR, warmup_stable_decay

    scheduled = ScheduledLR(
        optimizer,
        warmup_stable_decay(
            max_lr=0.00139,
            final_lr=0.0,
            warmup_steps=10,
            stable_steps=60,
            decay_steps=30,
        ),
    )


    class TimmSchedule:
        def step_update(self, num_updates, metric=None):
            scheduled.set_update(num_updates)

        def step(self, epoch, metric=None):
            """Do nothing: the update is the clock."""


    lr_scheduler = TimmSchedule()
    # in train.py: lr_scheduler.step_update(num_updates) after each update, 100 in all
    return lr_scheduler


def warmup_stable_decay_with_torch(optimizer):
    from torch.optim.lr_scheduler import LambdaLR

    for group in optimizer.param_groups:
        group["lr"] = 0.00139  # where the schedule starts
    scheduler = LambdaLR(
        optimizer,
        lr_lambda=lambda update: min(update / 10, 1.0, max(99 - update, 0) / 29),
    )
    # once after each optimizer.step(): scheduler.step()
    return scheduler
