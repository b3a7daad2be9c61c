"""Train LeNet as a Keras notebook of 2020 did, and lay the curves beside the ones it printed.

    python examples/note003_lenet.py --data-dir ../shared/data      30 epochs from three seeds, some minutes

tanh and max pooling, raw pixels 0 … 255, Glorot-uniform weights, plain SGD with rate 0.01, batches of 128. The
notebook plots training accuracy and loss, averaged over each epoch while the weights move; so do we. It never looked
at test data.
"""

import argparse
import csv
import subprocess
import sys
from pathlib import Path

# what the notebook printed: loss and accuracy of each epoch
LOSS = [.8247, .2817, .2023, .1659, .1425, .1275, .1180, .1077, .1022, .0965, .0913, .0869, .0823, .0792, .0760, .0727,
        .0706, .0683, .0658, .0651, .0624, .0605, .0591, .0570, .0563, .0542, .0529, .0523, .0516, .0502]
ACCURACY = [.8025, .9295, .9462, .9548, .9599, .9644, .9669, .9698, .9717, .9728, .9738, .9751, .9762, .9769, .9782,
            .9789, .9793, .9804, .9807, .9813, .9822, .9830, .9831, .9838, .9837, .9844, .9847, .9848, .9854, .9856]


def train(seed: int, out: Path, options: list[str]) -> list[dict[str, str]]:
    """The epochs of one run, from its metrics.csv."""
    command = [sys.executable, "-m", "minicnn.train", "lenet_tanh", "--recipe", "note003", "--seed", str(seed),
               "--out", str(out), "--name", f"note003-seed{seed}", *options]
    subprocess.run(command, check=True)
    with open(out / f"note003-seed{seed}" / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def plot(runs: list[list[dict[str, str]]], path: Path) -> None:
    """Both curves of the notebook, and ours behind them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, column, theirs, title in ((axes[0], "loss", LOSS, "training loss"),
                                        (axes[1], "acc", ACCURACY, "training accuracy")):
        for i, run in enumerate(runs):
            axis.plot(range(1, len(run) + 1), [float(row[column]) for row in run], color="tab:blue", alpha=0.6,
                      label=f"minicnn, {len(runs)} seeds" if i == 0 else None)
        axis.plot(range(1, len(theirs) + 1), theirs, color="tab:orange", linestyle="--", label="the notebook (Keras)")
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    axes[0].set_yscale("log")
    axes[1].set_ylim(0.76, 1.0)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="where MNIST lies")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--picture", type=Path, default=Path("note003.png"))
    parser.add_argument("--smoke", action="store_true", help="a moment of it, on the bundled digits")
    args = parser.parse_args()
    if args.smoke:
        options = ["--data", "digits", "--epochs", "2", "--limit-train", "256", "-q"]
    else:
        options = ["--data", "mnist"] + (["--data-dir", args.data_dir] if args.data_dir else [])
    runs = [train(seed, args.out, options) for seed in range(1 if args.smoke else args.seeds)]
    for seed, run in enumerate(runs):
        print(f"seed {seed}: epoch 1 accuracy {float(run[0]['acc']):.4f}, "
              f"epoch {len(run)} accuracy {float(run[-1]['acc']):.4f}")
    plot(runs, args.picture)
    print(f"the notebook: epoch 1 accuracy {ACCURACY[0]}, epoch 30 accuracy {ACCURACY[-1]}; curves in {args.picture}")


if __name__ == "__main__":
    main()
