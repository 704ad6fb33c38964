"""Upload this checkout to a Hugging Face Space: `make space SPACE=owner/name [DRY_RUN=1]`.

What a Space needs is uploaded, and nothing else: no tests, and no file that git does not know.
The Hub's client does the work, and with it large files go where they belong, which `git push` to a Space would refuse.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import filter_repo_objects, validate_repo_id

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ["app.py", "requirements.txt", "README.md", "LICENSE", "app/*", "assets/*", "fitprune_core/*", "recipes/*"]
LEFT_OUT = ["app/space.py", "app/evidence/*", "assets/draw_*.py", "assets/evidence/*"]
# Beyond this, `git push` to a Space wants git-lfs or git-xet.
LARGEST_BY_GIT = 10 * 2**20


def files_of(root: Path = ROOT) -> list[Path]:
    """The files that a Space gets, relative to `root`: those of `NEEDED` that git knows, as they are now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout.decode()
    known = [name for name in listed.split("\0") if name and (root / name).is_file()]
    return [Path(name) for name in filter_repo_objects(known, allow_patterns=NEEDED, ignore_patterns=LEFT_OUT)]


def upload(space: str, files: list[Path], root: Path = ROOT, api: HfApi | None = None) -> str:
    """Make the Space where it is not there yet, and upload the files in one commit; what it had besides them goes.

    Returns its address. Raises ValueError, one sentence, for a name that cannot be, or where the Hub says no.
    """
    api = api or HfApi()
    try:
        validate_repo_id(space)
        if "/" not in space:
            raise ValueError(f"SPACE is {space!r}; it is owner/name")
        address = api.create_repo(space, repo_type="space", space_sdk="gradio", exist_ok=True)
        api.upload_folder(
            repo_id=space,
            repo_type="space",
            folder_path=root,
            allow_patterns=[str(path) for path in files],
            delete_patterns="*",
            commit_message="Update FitPrune Studio",
        )
    except HFValidationError as error:
        raise ValueError(f"SPACE is {space!r}; it is owner/name") from error
    except (HfHubHTTPError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(
            f"the Hub said no ({first}); `hf auth login` stores a token that may write to {space}"
        ) from error
    return str(address)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 after one line on standard error."""
    parser = argparse.ArgumentParser(prog="app.space", description=__doc__)
    parser.add_argument("--space", required=True, metavar="OWNER/NAME")
    parser.add_argument("--dry-run", action="store_true", help="list what would be uploaded, and ask the Hub nothing")
    options = parser.parse_args(argv)
    files = files_of()
    for path in files:
        size = (ROOT / path).stat().st_size
        note = "  (more than git push takes; the upload stores it apart)" if size > LARGEST_BY_GIT else ""
        print(f"{size:>12,}  {path}{note}")
    print(f"{sum((ROOT / path).stat().st_size for path in files):>12,}  bytes in {len(files)} files")
    if options.dry_run:
        return 0
    try:
        print(upload(options.space, files))
    except ValueError as error:
        print(f"app.space: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
