"""Where weights come from: the Hugging Face hub, into its own cache, or the package itself."""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from internimage.errors import DownloadError


@dataclass(frozen=True)
class HubFile:
    """A file of a Hugging Face repository."""

    repository: str
    file: str

    @property
    def url(self) -> str:
        return f"https://huggingface.co/{self.repository}/resolve/main/{self.file}"


@dataclass(frozen=True)
class PackagedModel:
    """A model folder that is part of this package."""

    name: str

    @property
    def path(self) -> Path:
        return Path(str(files("internimage").joinpath("weights", self.name)))


def locate(weights: HubFile | PackagedModel) -> Path:
    """Path of the weights, downloaded if need be."""
    return weights.path if isinstance(weights, PackagedModel) else download(weights)


def download(weights: HubFile) -> Path:
    """Path of the file in the hub's cache, fetched if it is not there; interrupted downloads resume.

    ``HF_HUB_OFFLINE``, ``HF_HOME`` and ``HF_ENDPOINT`` act as they do everywhere.

    Raises:
        DownloadError: the file is neither cached nor reachable; the message says what to fetch and how to use it.
    """
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(weights.repository, weights.file)
    if isinstance(cached, str):
        return Path(cached)
    way = "pass the file as checkpoint= (--checkpoint, in training --init)"
    advice = f"fetch {weights.url} where there is a network and {way}"
    if not hub_answers(timeout=10):  # the hub's client would retry for half a minute
        raise DownloadError(f"{weights.file} is not in the cache and there is no network; {advice}")
    try:
        path = Path(huggingface_hub.hf_hub_download(weights.repository, weights.file))
    except Exception as error:  # besides its own, the client lets through errors of whichever HTTP library it uses
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise DownloadError(f"{weights.file} could not be downloaded ({reason}); {advice}") from error
    expected = cached_sha256(path)
    if expected is not None and _sha256(path) != expected:  # the client compares sizes only
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise DownloadError(f"{weights.file} arrived damaged (its sha256 is not {expected}) and was removed; try again")
    return path


def hub_resolves() -> bool:
    """Whether the hub's name can be resolved, or a proxy is to do it; False in the hub's offline mode."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if urllib.request.getproxies():
        return True
    address = urllib.parse.urlsplit(constants.ENDPOINT)
    try:
        socket.getaddrinfo(address.hostname, address.port or address.scheme)
    except OSError:
        return False
    return True


def hub_answers(timeout: float = 3.0) -> bool:
    """Whether the hub answers a request within ``timeout`` seconds."""
    from huggingface_hub import constants

    if not hub_resolves():
        return False
    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=timeout).close()
    except urllib.error.HTTPError:
        return True  # an answer, if not a friendly one
    except (OSError, http.client.HTTPException):
        return False
    return True


def cached_sha256(path: Path) -> str | None:
    """sha256 of a downloaded file: the hub's cache names large files by it.  None for other files."""
    name = path.resolve().name
    return name if re.fullmatch(r"[0-9a-f]{64}", name) else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
