"""python -m minicnn.train MODEL: train a network and keep all of it in a run folder."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .cli import (CommandError, Switch, UsageError, add_config_argument, add_machine_arguments, add_option_argument,
                  count, execute, given, positive, use_machine)

if TYPE_CHECKING:
    from .training import Observer, Recipe
    from .training.session import Session

Say = Callable[[str], None]
NEWEST = object()  # --resume without a folder

RECIPE_FLAGS = ("epochs", "batch_size", "lr", "opt", "momentum", "weight_decay", "sched", "warmup_epochs",
                "label_smoothing", "clip_grad", "accum", "init", "augment", "width", "resize", "dtype", "amp", "tf32",
                "seed")
DATA_FLAGS = ("data_dir", "offline", "limit_train", "limit_val")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="name of a network, as `summary` lists them")
    what = parser.add_argument_group("what")
    what.add_argument("--data", metavar="NAME", help="digits (bundled, the default), mnist, "
                      "fashion-mnist, cifar10, cifar100 or folder:DIR, a folder of images for each class; models of "
                      "texts have a task of their own")
    what.add_argument("--data-dir", metavar="DIR", help="folder with the data, searched first and downloaded into")
    what.add_argument("--offline", action=Switch, help="never download")
    what.add_argument("--limit-train", type=positive, metavar="N", help="use the first N training images only")
    what.add_argument("--limit-val", type=positive, metavar="N", help="use the first N validation images only")
    what.add_argument("--augment", action=Switch, help="shift (and mirror colour) images at random")
    what.add_argument("--resize", type=positive, metavar="N", help="bring images to N×N pixels")
    what.add_argument("--width", type=float, metavar="X", help="times as many channels as in the paper")
    what.add_argument("--recipe", metavar="NAME", help="a recipe with a name instead of the model's defaults: paper, "
                      "torchvision, d2l, d2l-pytorch, note002 or note003")
    add_option_argument(what)
    optimise = parser.add_argument_group("optimise (defaults depend on the model and are printed)")
    optimise.add_argument("--epochs", type=positive, metavar="N", help="passes over the training images")
    optimise.add_argument("-b", "--batch-size", type=positive, metavar="N", help="images per step")
    optimise.add_argument("--lr", type=float, metavar="X", help="learning rate, the largest of the schedule")
    optimise.add_argument("--opt", metavar="NAME", help="sgd, momentum, adam or adamw")
    optimise.add_argument("--momentum", type=float, metavar="X", help="of --opt momentum")
    optimise.add_argument("--wd", "--weight-decay", dest="weight_decay", type=float, metavar="X", help="weight decay")
    optimise.add_argument("--sched", metavar="NAME", help="schedule of the rate: none, step, multistep, cosine, "
                          "onecycle")
    optimise.add_argument("--warmup-epochs", type=float, metavar="X", help="epochs in which the learning rate rises")
    optimise.add_argument("--label-smoothing", type=float, metavar="X", help="share of the target given to all classes")
    optimise.add_argument("--clip-grad", type=float, metavar="X", help="largest 2-norm of the gradient")
    optimise.add_argument("--accum", type=positive, metavar="N", help="batches whose gradients make one step")
    optimise.add_argument("--init", metavar="NAME", help="initial weights: default (its own), xavier or kaiming")
    machine = parser.add_argument_group("machine")
    add_machine_arguments(machine)
    machine.add_argument("-j", "--workers", type=int, choices=(0, 1), default=1,
                         help="threads that prepare batches ahead (1); 0 prepares each when it is needed")
    machine.add_argument("--dtype", metavar="NAME", help="float32 or float64")
    machine.add_argument("--amp", metavar="NAME", help="mixed precision: float16, bfloat16 or none; for GPUs")
    machine.add_argument("--tf32", action=Switch, help="let a GPU round the factors of float32 products to TF32")
    machine.add_argument("--capture", action=Switch,
                         help="record a step as a CUDA graph and replay it (the default on a GPU, where it can be)")
    machine.add_argument("--deterministic", action=Switch,
                         help="refuse to run where results may differ in the last bits from run to run: on a GPU")
    machine.add_argument("--seed", type=int, metavar="N", help="of weights, order, dropout and augmentation (0)")
    run_group = parser.add_argument_group("run")
    run_group.add_argument("-o", "--out", default="runs", metavar="DIR", help="where run folders go (runs)")
    run_group.add_argument("--name", type=_folder_name, metavar="NAME",
                           help="name of the run folder; the default is numbered")
    run_group.add_argument("--resume", nargs="?", const=NEWEST, metavar="RUN",
                           help="go on with a run; without RUN with the newest of this model in --out")
    run_group.add_argument("--save-every", type=positive, metavar="N", help="save every N steps too, not only epochs")
    run_group.add_argument("--dry-run", action=Switch, help="two steps, validation, save, reload; keeps nothing")
    run_group.add_argument("-y", "--yes", action=Switch, help="do not ask before a run of hours")
    run_group.add_argument("--log-interval", type=positive, default=0, metavar="N", help="print a line every N steps")
    run_group.add_argument("--plots", action=Switch, help="draw curves.svg (needs matplotlib)")
    run_group.add_argument("--tensorboard", action=Switch, help="write curves for TensorBoard (needs tensorboardX)")
    run_group.add_argument("-q", "--quiet", action=Switch, help="print errors and the result only")
    run_group.add_argument("-v", "--verbose", action=Switch, help="print the layers of the network first")
    add_config_argument(run_group)


def _folder_name(text: str) -> str:
    if text in ("", ".", "..") or not {os.sep, os.altsep, "\0"}.isdisjoint(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be the name of a folder, not a path; --out says where it goes")
    return text


def run(args: argparse.Namespace) -> int:
    """Do what the parsed command line says; returns the exit code."""
    if args.resume is None and args.model is None and args.recipe is None:
        raise UsageError(f"which network? For example: {args.prog} lenet", f"{_other(args, 'summary')} lists all")
    if args.resume is not None:
        for flag in ("name", "recipe", "option", "dry_run"):
            if getattr(args, flag):
                raise UsageError(f"--{flag.replace('_', '-')} is for new runs and cannot go with --resume")
    for flag, package, extra in (("plots", "matplotlib", "plot"), ("tensorboard", "tensorboardX", "tensorboard")):
        if getattr(args, flag) and find_spec(package) is None:
            raise CommandError(f"--{flag} needs {package}, which is not installed",
                               f"in the checkout: pip install '.[{extra}]'")
    if args.data is not None:
        _check_data(args.data)
    say: Say = (lambda line: None) if args.quiet else _say
    from .training.compiling import announce_compiling

    with announce_compiling(say):
        return _run(args, say)


def _run(args: argparse.Namespace, say: Say) -> int:
    from .models.registry import OptionError
    from .training import RecipeError

    try:
        if args.dry_run:
            return _dry_run(args, say)
        session = _start(args, say) if args.resume is None else _resume(args, say)
    except (OptionError, RecipeError) as error:
        raise UsageError(str(error)) from error
    _describe(args, session, say)
    if not _agreed(args, session, say):
        return 1
    return _train(args, session, say)


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("train", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


def _other(args: argparse.Namespace, command: str) -> str:
    """How another command is called."""
    return args.prog.removesuffix("train") + command


def _say(line: str) -> None:
    print(line, flush=True)


# -- putting the run together ---------------------------------------------------------------------------------------


def _recipe(args: argparse.Namespace) -> tuple[str, "Recipe"]:
    """The model and the recipe that the flags ask for."""
    from . import models as registry
    from .training import recipe_for
    from .training.recipes import named_recipes

    model = args.model
    if model is None:
        models_of = list(named_recipes().get(args.recipe, ["lenet"]))
        if len(models_of) > 1:
            raise UsageError(f"--recipe {args.recipe} is for {', '.join(models_of)}; name one of them")
        model = models_of[0]
    try:
        registry.entry(model).check_options(dict(args.option))
    except ValueError as error:
        raise UsageError(str(error), f"{_other(args, 'summary')} lists all networks") from error
    except TypeError as error:
        raise UsageError(str(error)) from error
    return model, recipe_for(model, args.data, args.recipe, **given(args, RECIPE_FLAGS))


def _device(args: argparse.Namespace, say: Say) -> str:
    device, line = use_machine(args.device, args.threads)
    if args.deterministic and device != "cpu":
        raise CommandError(f"--deterministic cannot be promised on {device}",
                           "--device cpu gives the same bits every time; or leave --deterministic out")
    for flag in ("tf32", "capture"):
        if getattr(args, flag) and device == "cpu":
            raise CommandError(f"--{flag} is for GPUs, and this run is on the CPU",
                               f"leave --{flag} out, or use a machine with a GPU and --device cuda")
    say(line)
    if args.amp not in (None, "none") and device == "cpu":
        say(f"amp: {args.amp} on the CPU is for trying it out; steps are slower than in float32, which its kernels "
            "compute in")
    return device


def _start(args: argparse.Namespace, say: Say) -> "Session":
    from .training import session

    model, recipe = _recipe(args)
    device = _device(args, say)
    return session.start(model, recipe, session.Selection(**given(args, DATA_FLAGS)), options=dict(args.option),
                         device=device, out=args.out, name=args.name, save_every=args.save_every or 0,
                         workers=args.workers, capture=args.capture)


def _resume(args: argparse.Namespace, say: Say) -> "Session":
    from .training import RunFolder, session

    if args.resume is NEWEST:
        folder = RunFolder.newest(args.out, args.model, lambda line: print(line, file=sys.stderr))
    else:
        folder = RunFolder.open(args.resume)
    changes = {**given(args, (*RECIPE_FLAGS, *DATA_FLAGS, "data", "save_every")), "device": _device(args, say)}
    return session.resume(folder, args.model, changes, workers=args.workers, capture=args.capture)


def _dry_run(args: argparse.Namespace, say: Say) -> int:
    from .training.session import Selection, dry_run

    model, recipe = _recipe(args)
    device = _device(args, say)
    dry_run(model, recipe, Selection(**given(args, DATA_FLAGS)), options=dict(args.option), device=device,
            workers=args.workers)
    print("dry run: two steps, validation, saving and reloading went well; nothing was kept")
    return 0


def _check_data(name: str) -> None:
    from .data import check_name
    from .data.sequences import TASKS

    if name in TASKS:
        return
    try:
        check_name(name)
    except ValueError as error:
        raise UsageError(f"--data: {error}") from error


# -- running it -----------------------------------------------------------------------------------------------------


def _describe(args: argparse.Namespace, session: "Session", say: Say) -> None:
    from .training.pipeline import left_out

    trainer, train, val = session.trainer, session.train, session.val
    recipe, spec = trainer.recipe, session.settings["model"]
    shape = "×".join(map(str, train.arrays[0].shape[1:])) + " symbols" * (train.kind == "text")
    say(f"data: {recipe.data}, {len(train):,} training and {len(val):,} validation {train.kind}s of {shape} "
        f"({train.source})")
    if recipe.data == "digits":
        say("      for the full MNIST, 60,000 images: --data mnist")
    if line := left_out(trainer.train):
        say(line)
    say(f"model: {spec['name']}, {sum(p.numel() for p in trainer.parameters):,} parameters")
    say(f"recipe: {recipe.summary()}")
    say(f"run: {session.folder}")
    if args.resume is not None:
        step = f", step {trainer.step_in_epoch}" if trainer.progress.batch else ""
        say(f"resumed: {trainer.progress.epoch - 1} of {recipe.epochs} epochs are done{step}")
        for change in session.changes:
            say(f"  {change}")
    if args.verbose:
        from .explain import summary

        x, _ = next(iter(trainer.train.epoch(0)))
        say(str(summary(trainer.model, tuple(x.shape[1:]) if train.kind == "image" else None)))


def _agreed(args: argparse.Namespace, session: "Session", say: Say) -> bool:
    """Say what the run will cost; if that is hours, ask whoever is there. Without a yes a new run leaves nothing."""
    from .training import NonFiniteError
    from .training.forecast import forecast

    if session.trainer.progress.epoch > session.trainer.recipe.epochs:
        return True
    try:
        cost = forecast(session.trainer)
    except NonFiniteError:  # the run itself will meet it, and leave a checkpoint to go on from
        return True
    except Exception:  # such as an image that is damaged
        if args.resume is None:
            session.folder.remove()
        raise
    say(f"forecast: {cost}")
    if not cost.long or args.yes or not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        return True
    if input("train for so long? [y/N] ").strip().lower() in ("y", "yes"):
        return True
    if args.resume is None:
        session.folder.remove()
    print("not trained; fewer --epochs, a smaller --width or --resize, or --limit-train N make it shorter")
    return False


def _train(args: argparse.Namespace, session: "Session", say: Say) -> int:
    from .training import Interrupted, NonFiniteError, SaveError
    from .training.display import conclusion
    from .training.history import figure

    trainer, folder = session.trainer, shlex.quote(str(session.folder))
    again = f"{args.prog} {session.settings['model']['name']} --resume {folder}"
    if trainer.progress.epoch > trainer.recipe.epochs:
        epochs = count(trainer.recipe.epochs, "epoch")
        print(f"nothing to do: {session.folder} has all its {epochs}; more: {again} --epochs N")
        _plot(args, session, say)
        return 0
    trainer.observer = _observer(args, session)
    try:
        history = trainer.run()
    except Interrupted as stop:
        print(f"{stop}; the state is saved, to go on:\n  {again}", flush=True)
        return 128 + stop.number
    except NonFiniteError as error:
        cure = f"a smaller --lr (it was {trainer.recipe.lr:g}) or --clip-grad 1"
        raise CommandError(str(error), f"go on from the last checkpoint with {cure}: {again}") from error
    except SaveError as error:
        raise CommandError(str(error), f"what was saved before is intact; make room, then: {again}") from error
    if history.best is not None:
        print(conclusion(history, history.best))
    print(f"saved in {session.folder}; next: {_other(args, 'eval')} {folder}")
    _plot(args, session, say)
    if history.diverged:
        raise CommandError(f"training diverged: the loss has become {figure(history.rows[-1].loss)}",
                           f"train again with a smaller --lr (it was {trainer.recipe.lr:g}) or --clip-grad 1")
    return 0


def _plot(args: argparse.Namespace, session: "Session", say: Say) -> None:
    """Draw the curves, if they are asked for, or were for an earlier part of the run, and there are any."""
    from .training import plot_history

    path, data = session.folder.path / "curves.svg", session.trainer.recipe.data
    if session.trainer.history.rows and (args.plots or path.is_file() and find_spec("matplotlib")):
        images = os.path.basename(os.path.normpath(data)) if data.startswith("folder:") else data
        plot_history(session.trainer.history, path, f"{session.settings['model']['name']} on {images}")
        say(f"curves: {path}")


def _observer(args: argparse.Namespace, session: "Session") -> "Observer":
    from .training.display import display

    shown = display(bool(args.quiet), args.log_interval)
    if not args.tensorboard:
        return shown
    from .training.tensorboard import TensorBoard

    return TensorBoard(session.folder.path / "tb", shown)


if __name__ == "__main__":
    sys.exit(main())
