"""What docs/nnunet_features.md says of -pretrained_weights, with nnU-Net's own loader."""

import json
from pathlib import Path

import pytest
import torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

from nnunetv2_crln.layout import FACTS_FILE
from nnunetv2_crln.utilities.wrapped_network import unwrap


@pytest.fixture
def encoder(trainer_of):
    """A pre-trained encoder of the right shape, every number 0.25."""
    trainer = trainer_of(results="other")
    trainer.initialize()
    weights = unwrap(trainer.network).state_dict()
    return {name: torch.full_like(value, 0.25) for name, value in weights.items() if name.startswith("encoder.")}


def test_an_encoder_alone_is_refused_and_one_with_a_fresh_decoder_reaches_the_teacher(trainer_of, encoder, tmp_path):
    trainer = trainer_of()
    trainer.initialize()
    file = tmp_path / "start.pth"
    torch.save({"network_weights": encoder}, file)
    with pytest.raises(AssertionError, match=r"Key decoder\S+ is missing"):
        load_pretrained_weights(trainer.network, str(file))

    fresh = trainer_of(results="fresh")
    fresh.initialize()
    network = unwrap(fresh.network)
    weights = network.state_dict()
    fitting = {name: value for name, value in encoder.items() if value.shape == weights[name].shape}
    network.load_state_dict(fitting, strict=False)
    torch.save({"network_weights": network.state_dict()}, file)
    load_pretrained_weights(trainer.network, str(file))
    trainer.on_train_start()
    for network in (unwrap(trainer.network), trainer.method.teacher.module):
        assert all((value == 0.25).all() for name, value in network.state_dict().items() if name.startswith("encoder."))
    trainer.train_step(next(trainer.dataloader_train))
    # The plans say when the unsupervised terms begin, and the comparison must know of the start all the same.
    facts = json.loads((Path(trainer.output_folder) / FACTS_FILE).read_text())
    assert trainer.settings.unsupervised_start == 0 and facts["pretrained"] is True
    assert (facts["labelled_patches"], facts["unlabelled_patches"]) == (2, 2)


@pytest.mark.parametrize("seed", [None, 5])
def test_all_trainers_of_the_short_schedule_start_from_the_same_weights(trainer_of, seed):
    """Unless their seeds are given, each training has another one; that of the weights is the schedule's."""

    def seeds(plans, configuration):
        configuration["short_schedule"].pop("seed")
        configuration["short_schedule"] |= {} if seed is None else {"seed": seed}
        del configuration["crln"]["seed"]

    trainers = [
        trainer_of(f"nnUNetTrainer{method}_short", results=f"{method}{seed}", change=seeds)
        for method in ("", "_MeanTeacher", "_CRLN")
    ]
    for trainer in trainers:
        trainer.initialize()
    first, *others = [unwrap(trainer.network).state_dict() for trainer in trainers]
    assert trainers[1].seed != trainers[2].seed
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in first)
