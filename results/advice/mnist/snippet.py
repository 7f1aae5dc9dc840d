"""Recommended: warmup_stable_decay. warmup_stable_decay (95.06 %) is the best and statistically tied over 3 seeds with step_decay_max (93.86 %), linear (94.42 %), cosine (94.19 %) and warmup_cosine (94.17 %); warmup_stable_decay is the simplest of these within 0.5 points of it.

For caffe_lenet on mnist with adamw: 188 updates, tried at 1/2 of them (94).
"""


def warmup_stable_decay_with_anneal(optimizer):
    from anneal import ScheduledLR, warmup_stable_decay

    scheduled = ScheduledLR(
        optimizer,
        warmup_stable_decay(
            max_lr=0.00184,
            final_lr=0.0,
            warmup_steps=18,
            stable_steps=112,
            decay_steps=56,
        ),
    )
    # once after each optimizer.step(): scheduled.step()
    return scheduled


def warmup_stable_decay_with_lightning(optimizer):
    from anneal import ScheduledLR, warmup_stable_decay

    scheduled = ScheduledLR(
        optimizer,
        warmup_stable_decay(
            max_lr=0.00184,
            final_lr=0.0,
            warmup_steps=18,
            stable_steps=112,
            decay_steps=56,
        ),
    )
    configured = {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduled, "interval": "step"},
    }
    # return it from configure_optimizers; Trainer(max_steps=188)
    return configured


def warmup_stable_decay_with_hf_trainer(optimizer):
    from anneal import ScheduledLR, warmup_stable_decay

    scheduled = ScheduledLR(
        optimizer,
        warmup_stable_decay(
            max_lr=0.00184,
            final_lr=0.0,
            warmup_steps=18,
            stable_steps=112,
            decay_steps=56,
        ),
    )
    optimizers = (optimizer, scheduled)
    # Trainer(..., optimizers=optimizers) with TrainingArguments(max_steps=188)
    return optimizers


def warmup_stable_decay_with_timm(optimizer):
    from anneal import ScheduledLR, warmup_stable_decay

    scheduled = ScheduledLR(
        optimizer,
        warmup_stable_decay(
            max_lr=0.00184,
            final_lr=0.0,
            warmup_steps=18,
            stable_steps=112,
            decay_steps=56,
        ),
    )


    class TimmSchedule:
        def step_update(self, num_updates, metric=None):
            scheduled.set_update(num_updates)

        def step(self, epoch, metric=None):
            """Do nothing: the update is the clock."""


    lr_scheduler = TimmSchedule()
    # in train.py: lr_scheduler.step_update(num_updates) after each update, 188 in all
    return lr_scheduler


def warmup_stable_decay_with_torch(optimizer):
    from torch.optim.lr_scheduler import LambdaLR

    for group in optimizer.param_groups:
        group["lr"] = 0.00184  # where the schedule starts
    scheduler = LambdaLR(
        optimizer,
        lr_lambda=lambda update: min(update / 18, 1.0, max(185 - update, 0) / 55),
    )
    # once after each optimizer.step(): scheduler.step()
    return scheduler
