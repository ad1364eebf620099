"""The command ``python -m sklearn_turn audit``: which labels of images look wrong.

Results go to stdout, all else to stderr. It exits with 0, with 1 when it fails, with 2
when its arguments are wrong, and with 130 when it is interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# torch takes seconds to import: nothing here does until there is work for it.
from . import __version__
from .exceptions import WeightsNotFoundError

_FAILED, _WRONG_USAGE, _INTERRUPTED = 1, 2, 130
# Names of files that are printed at most.
_LISTED = 10
# What bad files, weights, devices and too little memory raise. Anything else is a
# defect, and its traceback is wanted.
_FAILURES = (OSError, ValueError, ImportError, RuntimeError, MemoryError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    int
        Exit code.
    """
    parser = _parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as done:  # --help, --version and wrong arguments
        return int(done.code or 0)
    try:
        with _warnings_in_one_line():
            _audit(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _complain("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:  # of a reader such as head, which has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except argparse.ArgumentError as error:
        _complain(f"error: {error}")
        return _WRONG_USAGE
    except _FAILURES as error:
        hint = " Here, pretrained=... is --weights FILE."
        missing = isinstance(error, WeightsNotFoundError)
        _complain(f"error: {str(error) or type(error).__name__}{hint * missing}")
        return _FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sklearn_turn", description="Find wrong labels of images."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    audit = commands.add_parser(
        "audit",
        help="write a report of the labels that look wrong",
        description="Write a page on which to review the labels that look wrong. "
        "Images pass through a frozen backbone; probes on its features, each trained "
        "without a fifth of the samples, tell which labels look wrong.",
        epilog="Marks made on the page are saved as a CSV file, which "
        "sklearn_turn.inspection.apply_corrections reads. The exit code is 0, 1 after "
        "a failure, 2 for wrong arguments, and 130 when interrupted.",
    )
    audit.add_argument(
        "source",
        metavar="FOLDER",
        type=Path,
        help="folder with a subfolder of images for each class; or a CSV file with the "
        "columns path and label, the paths relative to its own folder",
    )
    audit.add_argument(
        "--out",
        metavar="HTML",
        type=Path,
        default=Path("report.html"),
        help="page to write (default: %(default)s)",
    )
    audit.add_argument(
        "--csv",
        metavar="CSV",
        type=Path,
        help="also write a table of all samples, the labels that look most wrong first "
        "and images that cannot be read last",
    )
    audit.add_argument(
        "--backbone",
        metavar="NAME",
        default="vit_b16",
        help="alias or timm name; 'letters' comes with the package (default: "
        "%(default)s, which is downloaded)",
    )
    audit.add_argument(
        "--weights",
        metavar="FILE",
        type=Path,
        help="checkpoint of the backbone, in place of the published weights",
    )
    audit.add_argument(
        "--fine-tune",
        action="store_true",
        help="the whole method: fine-tune the backbone on clean labels. Finds more, "
        "and takes many times as long",
    )
    audit.add_argument(
        "--no-augment",
        action="store_true",
        help="with --fine-tune: do not mirror or crop images at random",
    )
    audit.add_argument(
        "--no-neighbors",
        action="store_true",
        help="look for no near-duplicates and outliers, which takes time that grows "
        "with the square of the number of images",
    )
    audit.add_argument(
        "--memory",
        metavar="FOLDER",
        type=Path,
        help="where features are kept for later runs",
    )
    audit.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1 or mps (default: the best)"
    )
    audit.add_argument(
        "--batch-size",
        metavar="N",
        type=_positive,
        default=64,
        help="images at a time; fewer need less memory (default: %(default)s)",
    )
    audit.add_argument(
        "--random-state",
        metavar="N",
        type=_natural,
        default=0,
        help="seed of the probes and of fine-tuning (default: %(default)s)",
    )
    return parser


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _positive(text: str) -> int:
    value = _natural(text)
    if not value:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _audit(args: argparse.Namespace) -> None:
    _check_outputs(args)
    paths, labels = _read(args.source)

    from . import TURNClassifier
    from .inspection import export_report, label_issues, noise_summary
    from .inspection._tables import import_pandas

    import_pandas()  # tells how to get it before any work
    with contextlib.ExitStack() as stack:
        # What the library prints while it works is no result.
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        memory = args.memory
        if memory is None:  # the features are needed twice
            memory = stack.enter_context(tempfile.TemporaryDirectory())
        model = TURNClassifier(
            args.backbone,
            pretrained=True if args.weights is None else args.weights,
            on_bad_image="skip",
            memory=memory,
            device=args.device,
            batch_size=args.batch_size,
            random_state=args.random_state,
            verbose=int(sys.stderr.isatty()),
        )
        if not args.fine_tune:
            model.set_params(fft_epochs=0)
        if args.no_augment:
            model.set_params(augment=None)
        model.fit(paths, labels)
        features = None if args.no_neighbors else "extract"
        issues = label_issues(model, paths, features=features)
        export_report(model, paths, labels, args.out)
    if args.csv:
        _write_table(issues, args.csv)
    print(noise_summary(model))
    if not args.no_neighbors:
        print(
            f"near-duplicates: {issues['is_near_duplicate'].sum()}, with contradicting "
            f"labels: {issues['contradicting'].sum()}"
        )
        listed = "" if args.csv else " (--csv FILE lists both)"
        print(f"outliers: {issues['is_outlier'].sum()}{listed}")
    if len(model.skipped_):
        print(f"cannot be read, left out: {len(model.skipped_)}")
        for path in issues["path"].iloc[model.skipped_[:_LISTED]]:
            print(f"  {path}")
        if len(model.skipped_) > _LISTED:
            print("  ... (at the end of the table that --csv FILE writes)")
    for written in filter(None, (args.out, args.csv)):
        print(f"written: {written}")


def _check_outputs(args: argparse.Namespace) -> None:
    """Raise for what could not be written after all the work."""
    outputs = [path for path in (args.out, args.csv) if path is not None]
    for path in outputs:
        if path.is_dir():
            raise IsADirectoryError(f"{str(path)!r} is a folder, not a file to write.")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"There is no folder {str(path.parent)!r}.")
        needed = {path if path.exists() else path.parent}
        if path == args.out:  # written beside the one that it replaces
            needed.add(path.parent)
        if not all(os.access(place, os.W_OK) for place in needed):
            raise PermissionError(f"{str(path)!r} cannot be written.")
    if args.memory is not None and args.memory.is_file():
        raise NotADirectoryError(f"{str(args.memory)!r} is a file, not a folder.")
    if args.csv is not None and args.csv.exists():
        _check_holds_no_review(args.csv)
    distinct = {path.resolve() for path in (args.source, *outputs)}
    if len(distinct) <= len(outputs):
        raise argparse.ArgumentError(
            None, "FOLDER, --out and --csv must be different files"
        )


def _check_holds_no_review(path: Path) -> None:
    """Raise if somebody has filled in a table of this command, or may have."""
    from .inspection._csv import MissingColumnsError, read_columns

    remedy = "Move it away, or name another file as --csv."
    try:
        rows = list(read_columns(path, ("mark", "corrected_label")))
    except MissingColumnsError:  # of something else
        return
    except ValueError as error:
        raise FileExistsError(
            f"{str(path)!r} is there and may hold a review: {error} {remedy}"
        ) from error
    reviewed = [where for where, cells in rows if any(cells)]
    if reviewed:
        raise FileExistsError(
            f"{str(path)!r} holds a review, the first mark in {reviewed[0]}. {remedy}"
        )


def _read(source: Path) -> tuple[Any, Any]:
    """Paths and labels of a folder or a CSV file."""
    if source.is_file():
        paths, labels = _read_table(source)
    elif source.is_dir():
        from .datasets import load_image_folder

        found = load_image_folder(source)
        paths, labels = found.data, found.target_names[found.target]
    else:
        raise FileNotFoundError(
            f"{str(source)!r} is not a folder or a CSV file (looked in "
            f"{os.getcwd()!r})."
        )
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise ValueError(
            f"{str(source)!r} needs images of two classes or more; it has "
            f"{', '.join(repr(str(name)) for name in classes) or 'no image'}."
        )
    return paths, labels


def _read_table(source: Path) -> tuple[list[str], list[str]]:
    from .inspection._csv import read_columns

    paths, labels = [], []
    for where, row in read_columns(source, ("path", "label")):
        path, label = map(str.strip, row)  # "a.jpg, cat"
        if not path or not label:
            raise ValueError(
                f"{where.capitalize()} of {str(source)!r} lacks a path or a label."
            )
        paths.append(str(source.parent / path))
        labels.append(label)
    return paths, labels


def _write_table(issues: Any, path: Path) -> None:
    """Write all samples, those to look at first on top, with room for a review."""
    from .inspection._csv import with_guard

    table = issues.sort_values("rank").assign(mark="", corrected_label="")
    texts = ["path", "given_label", "suggested_label"]
    table[texts] = table[texts].map(with_guard)
    table.to_csv(path, encoding="utf-8-sig")  # by which spreadsheets know it


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    def show(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        _complain(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield


def _complain(text: str) -> None:
    """Say something on stderr, in one line."""
    listed = re.sub(r"^(\s+\S.*)$", r"\1;", text, flags=re.MULTILINE)
    print(" ".join(listed.split()).removesuffix(";"), file=sys.stderr)
