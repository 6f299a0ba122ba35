"""Let the device itself skip the optimiser step when a gradient overflowed."""

import torch


def skip_overflows_on_the_device(optimizer: torch.optim.Optimizer) -> None:
    """Let plain stochastic gradient descent (SGD) use torch's fused implementation on CUDA; change nothing otherwise.

    With it ``GradScaler.step`` passes its verdict on the gradients to the kernel as a tensor. Otherwise it reads the
    verdict on the host, which waits for all work on the device in every step. Call this again after
    ``load_state_dict``, which restores the implementation used where the checkpoint was written.

    Args:
        optimizer: Optimiser, changed in place; values and checkpoints stay interchangeable.
    """
    if type(optimizer) is not torch.optim.SGD or "fused" not in optimizer.defaults:
        return
    if any(group["differentiable"] for group in optimizer.param_groups):  # which the fused implementation is not
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    fused = bool(parameters) and all(p.device.type == "cuda" and p.is_floating_point() for p in parameters)
    _use_fused(optimizer, fused)


def _use_fused(optimizer: torch.optim.SGD, fused: bool) -> None:
    for group in optimizer.param_groups:
        # None: torch chooses.
        group["fused"] = True if fused else None
        if fused and group["foreach"]:
            group["foreach"] = False  # torch would prefer it, and it cannot take the verdict of GradScaler
        if not fused or not group["momentum"]:
            continue
        for parameter in group["params"]:
            # The kernel of the first step fills buffers that were only allocated; if it skips, they stay undefined.
            # Starting from zero gives the same step. It also refuses buffers in another memory format than the
            # parameter, such as those of a training that was begun on a CPU.
            zeros, known = torch.zeros_like(parameter), optimizer.state[parameter].get("momentum_buffer")
            optimizer.state[parameter]["momentum_buffer"] = zeros if known is None else zeros.copy_(known)
    # SGD(fused=True) sets these; GradScaler reads the first.
    optimizer._step_supports_amp_scaling = fused
    optimizer._need_device_dtype_check_for_fused = fused
