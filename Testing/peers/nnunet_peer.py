"""Runs in nnU-Net's own Python: plans, preprocesses and trains shortly on a raw dataset, and predicts with the result.

    python nnunet_peer.py train WORK 901 --planner ExperimentPlanner --configurations 2d 3d_fullres --steps 60
    python nnunet_peer.py predict RESULTS_FOLDER IMAGES OUT [--mirror]

WORK holds `raw/DatasetXXX_NAME`; `preprocessed` and `results` are made beside it. The planned networks get fewer
channels, so that two cores train them in minutes; everything else is as planned.
"""

import argparse
import os
import sys
from pathlib import Path

FEATURES = (8, 16, 32, 32, 32, 32, 32, 32)
# Adam's usual rate for networks as small as these.
RATE = 5e-3


def main() -> None:
    parser = argparse.ArgumentParser()
    actions = parser.add_subparsers(dest="action", required=True)
    train = actions.add_parser("train")
    train.add_argument("work", type=Path)
    train.add_argument("dataset", type=int)
    train.add_argument("--planner", default="ExperimentPlanner")
    train.add_argument("--configurations", nargs="+", default=["3d_fullres"])
    train.add_argument("--steps", type=int, default=60)
    predict = actions.add_parser("predict")
    predict.add_argument("model", type=Path)
    predict.add_argument("images", type=Path)
    predict.add_argument("out", type=Path)
    predict.add_argument("--mirror", action="store_true")
    arguments = parser.parse_args()
    work = arguments.work if arguments.action == "train" else arguments.out
    os.environ |= {"nnUNet_raw": str(work / "raw"), "nnUNet_preprocessed": str(work / "preprocessed"),
                   "nnUNet_results": str(work / "results"), "nnUNet_n_proc_DA": "1"}
    {"train": _train, "predict": _predict}[arguments.action](arguments)


def _train(arguments: argparse.Namespace) -> None:
    import torch
    from batchgenerators.utilities.file_and_folder_operations import load_json, save_json
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )
    from nnunetv2.run.run_training import get_trainer_from_args
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

    number = [arguments.dataset]
    extract_fingerprints(number, num_processes=1, verbose=False, show_progress_bar=False)
    identifier = plan_experiments(number, arguments.planner)
    plans_file = next((arguments.work / "preprocessed").glob(f"Dataset{arguments.dataset:03d}_*/{identifier}.json"))
    plans = load_json(str(plans_file))
    for name in arguments.configurations:
        settings = plans["configurations"][name]
        architecture = settings["architecture"]["arch_kwargs"]
        architecture["features_per_stage"] = list(FEATURES[:architecture["n_stages"]])
        settings["batch_size"] = 2 if len(settings["patch_size"]) == 3 else 6
    save_json(plans, str(plans_file), sort_keys=False)
    preprocess(number, identifier, arguments.configurations, num_processes=[1], show_progress_bar=False)
    for name in arguments.configurations:
        trainer = get_trainer_from_args(str(arguments.dataset), name, "all", plans_identifier=identifier,
                                        device=torch.device("cpu"))
        # One short epoch: what matters is that both sides use the same weights, not how good they are.
        trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = \
            1, arguments.steps, 1

        def adam(trainer: object = trainer) -> tuple:  # learns within a few steps, which its own SGD does not
            optimiser = torch.optim.AdamW(trainer.network.parameters(), RATE)
            return optimiser, PolyLRScheduler(optimiser, RATE, 1)

        trainer.configure_optimizers = adam
        trainer.run_training()


def _predict(arguments: argparse.Namespace) -> None:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=arguments.mirror, perform_everything_on_device=False,
                                device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(arguments.model), ("all",))
    arguments.out.mkdir(parents=True, exist_ok=True)
    predictor.predict_from_files_sequential(str(arguments.images), str(arguments.out))


if __name__ == "__main__":
    sys.exit(main())
