"""python -m minicnn.train MODEL: train a network and keep all of it in a run folder."""

import argparse
import difflib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from .cli import (CommandError, UsageError, add_machine_arguments, add_option_argument, execute, given, positive,
                  use_machine)

if TYPE_CHECKING:
    from .training import Recipe
    from .training.session import Session

Say = Callable[[str], None]
NEWEST = object()  # --resume without a folder

RECIPE_FLAGS = ("epochs", "batch_size", "lr", "opt", "momentum", "weight_decay", "sched", "warmup_epochs",
                "label_smoothing", "clip_grad", "accum", "augment", "dtype", "seed")
DATA_FLAGS = ("data_dir", "offline", "limit_train", "limit_val")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Enter the flags of the command."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="name of a network, as `summary` lists them")
    what = parser.add_argument_group("what")
    what.add_argument("--data", metavar="NAME", help="digits (bundled, the default), mnist or fashion-mnist")
    what.add_argument("--data-dir", metavar="DIR", help="folder with the data, searched first and downloaded into")
    what.add_argument("--offline", action="store_true", default=None, help="never download")
    what.add_argument("--limit-train", type=positive, metavar="N", help="use the first N training images only")
    what.add_argument("--limit-val", type=positive, metavar="N", help="use the first N validation images only")
    what.add_argument("--augment", action="store_true", default=None, help="shift (and mirror colour) images at random")
    what.add_argument("--recipe", metavar="NAME", help="a recipe with a name instead of the model's defaults: note003")
    add_option_argument(what)
    optimise = parser.add_argument_group("optimise (defaults depend on the model and are printed)")
    optimise.add_argument("--epochs", type=positive, metavar="N", help="passes over the training images")
    optimise.add_argument("-b", "--batch-size", type=positive, metavar="N", help="images per step")
    optimise.add_argument("--lr", type=float, metavar="X", help="learning rate, the largest of the schedule")
    optimise.add_argument("--opt", metavar="NAME", help="sgd, momentum, adam or adamw")
    optimise.add_argument("--momentum", type=float, metavar="X", help="of --opt momentum")
    optimise.add_argument("--wd", "--weight-decay", dest="weight_decay", type=float, metavar="X", help="weight decay")
    optimise.add_argument("--sched", metavar="NAME", help="schedule of the rate: none, step, cosine or onecycle")
    optimise.add_argument("--warmup-epochs", type=float, metavar="X", help="epochs in which the learning rate rises")
    optimise.add_argument("--label-smoothing", type=float, metavar="X", help="share of the target given to all classes")
    optimise.add_argument("--clip-grad", type=float, metavar="X", help="largest 2-norm of the gradient")
    optimise.add_argument("--accum", type=positive, metavar="N", help="batches whose gradients make one step")
    machine = parser.add_argument_group("machine")
    add_machine_arguments(machine)
    machine.add_argument("--dtype", metavar="NAME", help="float32 or float64")
    machine.add_argument("--seed", type=int, metavar="N", help="of weights, order, dropout and augmentation (0)")
    run_group = parser.add_argument_group("run")
    run_group.add_argument("-o", "--out", default="runs", metavar="DIR", help="where run folders go (runs)")
    run_group.add_argument("--name", metavar="NAME", help="name of the run folder; the default is numbered")
    run_group.add_argument("--resume", nargs="?", const=NEWEST, metavar="RUN",
                           help="go on with a run; without RUN with the newest of this model in --out")
    run_group.add_argument("--save-every", type=positive, metavar="N", help="save every N steps too, not only epochs")
    run_group.add_argument("--dry-run", action="store_true", help="two steps, validation, save, reload; keeps nothing")
    run_group.add_argument("--log-interval", type=positive, default=0, metavar="N", help="print a line every N steps")
    run_group.add_argument("--plots", action="store_true", help="draw curves.png (needs matplotlib)")
    run_group.add_argument("-q", "--quiet", action="store_true", help="print errors and the result only")
    run_group.add_argument("-v", "--verbose", action="store_true", help="print the layers of the network first")


def run(args: argparse.Namespace) -> int:
    """Do what the parsed command line says; returns the exit code."""
    if args.resume is None and args.model is None and args.recipe is None:
        raise UsageError("which network? For example: " + f"{args.prog} lenet", "`python -m minicnn.summary` lists all")
    if args.resume is not None:
        for flag in ("name", "recipe", "option", "dry_run"):
            if getattr(args, flag):
                raise UsageError(f"--{flag.replace('_', '-')} is for new runs and cannot go with --resume")
    if args.plots:
        _need_matplotlib()
    if args.data is not None:
        _check_data(args.data)
    say = (lambda line: None) if args.quiet else print
    if args.resume is not None:
        session = _resume(args, say)
    elif args.dry_run:
        return _dry_run(args, say)
    else:
        session = _start(args, say)
    _describe(args, session, say)
    return _train(args, session, say)


def main(argv: list[str] | None = None, prog: str | None = None) -> int:
    """The command; returns its exit code."""
    return execute("train", __doc__.partition(": ")[2], add_arguments, run, argv, prog)


# -- putting the run together ---------------------------------------------------------------------------------------


def _recipe(args: argparse.Namespace) -> tuple[str, "Recipe"]:
    """The model and the recipe that the flags ask for."""
    from . import models
    from .training import recipe_for
    from .training.recipes import NAMED

    model = args.model or (NAMED[args.recipe][0] if args.recipe in NAMED else "lenet")
    try:
        models.entry(model).check_options(dict(args.option))
        return model, recipe_for(model, args.data, args.recipe, **given(args, RECIPE_FLAGS))
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error


def _device(args: argparse.Namespace, say: Say) -> str:
    device, line = use_machine(args.device, args.threads)
    say(line)
    return device


def _start(args: argparse.Namespace, say: Say) -> "Session":
    from .training import session

    model, recipe = _recipe(args)
    device = _device(args, say)
    return session.start(model, recipe, session.Selection(**given(args, DATA_FLAGS)), options=dict(args.option),
                         device=device, out=args.out, name=args.name, save_every=args.save_every or 0)


def _resume(args: argparse.Namespace, say: Say) -> "Session":
    from .training import RecipeError, RunFolder, session

    folder = RunFolder.newest(args.out, args.model) if args.resume is NEWEST else RunFolder.open(args.resume)
    changes = given(args, (*RECIPE_FLAGS, *DATA_FLAGS, "data", "save_every"))
    try:
        return session.resume(folder, args.model, {**changes, "device": _device(args, say)})
    except RecipeError as error:
        raise UsageError(str(error)) from error


def _dry_run(args: argparse.Namespace, say: Say) -> int:
    from .training.compiling import announce_compiling
    from .training.session import Selection, dry_run

    model, recipe = _recipe(args)
    device = _device(args, say)
    with announce_compiling(say):
        dry_run(model, recipe, Selection(**given(args, DATA_FLAGS)), options=dict(args.option), device=device)
    print("dry run: two steps, validation, saving and reloading went well; nothing was kept")
    return 0


def _check_data(name: str) -> None:
    from .data import names

    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
        guess = f"; did you mean {near[0]}?" if near else ";"
        raise UsageError(f"--data {name} is unknown{guess} data: {', '.join(names())}")


def _need_matplotlib() -> None:
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise CommandError("--plots needs matplotlib, which is not installed", "in the checkout: pip install '.[plot]'")


# -- running it -----------------------------------------------------------------------------------------------------


def _describe(args: argparse.Namespace, session: "Session", say: Say) -> None:
    trainer, train, val = session.trainer, session.train, session.val
    recipe, spec = trainer.recipe, session.settings["model"]
    shape = "×".join(map(str, train.images.shape[1:]))
    say(f"data: {recipe.data}, {len(train):,} training and {len(val):,} validation images of {shape} ({train.source})")
    if recipe.data == "digits":
        say("      for the full MNIST, 60,000 images: --data mnist")
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
        say(str(summary(trainer.model, (x.shape[1], x.shape[2], x.shape[3]))))


def _train(args: argparse.Namespace, session: "Session", say: Say) -> int:
    from .training import Interrupted, NonFiniteError, SaveError, plot_history
    from .training.compiling import announce_compiling
    from .training.display import conclusion, display

    trainer = session.trainer
    again = f"{args.prog} {session.settings['model']['name']} --resume {session.folder}"
    if trainer.progress.epoch > trainer.recipe.epochs:
        print(f"nothing to do: {session.folder} has all its {trainer.recipe.epochs} epochs; more: {again} --epochs N")
        return 0
    trainer.observer = display(args.quiet, args.log_interval)
    try:
        with announce_compiling(say):
            history = trainer.run()
    except Interrupted as stop:
        print(f"{stop}; the state is saved, to go on:\n  {again}", flush=True)
        return 128 + stop.number
    except NonFiniteError as error:
        raise CommandError(str(error), f"try a smaller --lr (it was {trainer.recipe.lr:g}) or --clip-grad 1") from error
    except SaveError as error:
        raise CommandError(str(error), f"what was saved before is intact; make room, then: {again}") from error
    if history.best is not None:
        print(conclusion(history, history.best))
    print(f"saved in {session.folder}; next: {args.prog.replace('train', 'eval')} {session.folder}")
    if args.plots:
        path = session.folder.path / "curves.png"
        plot_history(history, path, f"{session.settings['model']['name']} on {trainer.recipe.data}")
        say(f"curves: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
