"""Recommended: cosine. cosine (41.97 %) is the best and statistically tied over 3 seeds with step_decay_max (36.73 %), linear (39.33 %), warmup_stable_decay (41.23 %) and one_cycle (41.37 %); cosine is the simplest of these within 0.5 points of it.

For cifar_resnet20 on imagefolder with sgd: 300 updates, tried at 1/4 of them (75).
"""


def cosine_with_anneal(optimizer):
    from anneal import ScheduledLR, cosine

    scheduled = ScheduledLR(optimizer, cosine(min_lr=0.0, max_lr=0.0636, total_steps=300))
    # once after each optimizer.step(): scheduled.step()
    return scheduled


def cosine_with_lightning(optimizer):
    from anneal import ScheduledLR, cosine

    scheduled = ScheduledLR(optimizer, cosine(min_lr=0.0, max_lr=0.0636, total_steps=300))
    configured = {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduled, "interval": "step"},
    }
    # return it from configure_optimizers; Trainer(max_steps=300)
    return configured


def cosine_with_hf_trainer(optimizer):
    from anneal import ScheduledLR, cosine

    scheduled = ScheduledLR(optimizer, cosine(min_lr=0.0, max_lr=0.0636, total_steps=300))
    optimizers = (optimizer, scheduled)
    # Trainer(..., optimizers=optimizers) with TrainingArguments(max_steps=300)
    return optimizers


def cosine_with_timm(optimizer):
    from anneal import ScheduledLR, cosine

    scheduled = ScheduledLR(optimizer, cosine(min_lr=0.0, max_lr=0.0636, total_steps=300))


    class TimmSchedule:
        def step_update(self, num_updates, metric=None):
            scheduled.set_update(num_updates)

        def step(self, epoch, metric=None):
            """Do nothing: the update is the clock."""


    lr_scheduler = TimmSchedule()
    # in train.py: lr_scheduler.step_update(num_updates) after each update, 300 in all
    return lr_scheduler


def cosine_with_torch(optimizer):
    from torch.optim.lr_scheduler import CosineAnnealingLR

    for group in optimizer.param_groups:
        group["lr"] = 0.0636  # where the schedule starts
    scheduler = CosineAnnealingLR(optimizer, T_max=300, eta_min=0.0)
    # once after each optimizer.step(): scheduler.step()
    return scheduler
