"""Weights of timm and torchvision, fetched by these libraries from a server of this process.

The server has the layout of the libraries' own: a path with a checksum in its name for torchvision,
``<repository>/resolve/<revision>/<file>`` with an ``ETag`` and a commit for timm.
"""

import hashlib
import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save
from torch import nn
from torchvision.models import get_model_weights

from anneal.config.compose import compose_run
from anneal.models import build_model
from anneal.models.pretrained import load_weights, read_weights
from anneal.runs.setup import load_setup

TIMM, TORCHVISION = "test_resnet", "squeezenet1_1"
ON_HUB = "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the files of a dict."""

    server: "Server"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        if (body := self._answer()) is not None:
            self.wfile.write(body)

    def _answer(self) -> bytes | None:
        self.server.requests.append(f"{self.command} {self.path}")
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return None
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        return body

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """A server of this process with files by path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Return the server, with the caches of both libraries in a folder of the test."""
    constants = huggingface_hub.constants
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with Server() as running:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + template)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def publish(
    server: Server, monkeypatch: pytest.MonkeyPatch, content: bytes, *, name: str | None = None
) -> None:
    """Let torchvision's weights be this content, under a name with its checksum or another."""
    name = name or f"/net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    server.files[name] = content
    weights = get_model_weights(TORCHVISION).DEFAULT
    monkeypatch.setattr(weights.value, "url", f"{server.url}{name}")


def read(library: str) -> Any:
    architecture = TIMM if library == "timm" else TORCHVISION
    return read_weights(
        "library", library=library, architecture=architecture, image_size=160, arguments={}
    )


def saved(state: dict[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def shaken(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state of a network with tensors that no fresh one has."""
    return {
        name: torch.rand_like(value) + 0.5 if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }


def fine_tuned(library: str, architecture: str) -> nn.Module:
    model = build_model(
        library=library, architecture=architecture, arguments={}, num_classes=7,
        channels=3, image_size=160, small_images=False,
    )  # fmt: skip
    said = load_weights(model, read(library), where="library")
    assert said.endswith("which starts at random: 1000 there, 7 here") or "1000x" in said
    return model


def assert_backbone_is(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    loaded = [n for n, v in model.state_dict().items() if n in state and v.shape == state[n].shape]
    assert len(loaded) >= len(state) - 2
    for name in loaded:
        assert torch.equal(model.state_dict()[name], state[name]), name


def test_timm_downloads_from_hub_once(server: Server) -> None:
    state = shaken(timm.create_model(TIMM))
    server.files[ON_HUB] = save(state)
    assert_backbone_is(fine_tuned("timm", TIMM), state)
    assert f"GET {ON_HUB}" in server.requests
    server.requests.clear()
    assert_backbone_is(fine_tuned("timm", TIMM), state)
    assert f"GET {ON_HUB}" not in server.requests


def test_timm_reads_hub_cache_without_network(server: Server) -> None:
    state = shaken(timm.create_model(TIMM))
    server.files[ON_HUB] = save(state)
    read("timm")
    server.files.clear()
    server.shutdown()
    server.server_close()
    assert_backbone_is(fine_tuned("timm", TIMM), state)


def test_torchvision_downloads_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    state = shaken(torchvision.models.get_model(TORCHVISION))
    publish(server, monkeypatch, saved(state))
    assert_backbone_is(fine_tuned("torchvision", TORCHVISION), state)
    assert len(server.requests) == 1
    assert_backbone_is(fine_tuned("torchvision", TORCHVISION), state)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("library", "architecture"), [("timm", TIMM), ("torchvision", TORCHVISION)]
)
def test_run_starts_from_downloaded_weights(
    library: str,
    architecture: str,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ants", "bees"):
        Path("photos", name).mkdir(parents=True)
        for number in range(5):
            Image.effect_noise((64, 64), 50 + number).convert("RGB").save(
                f"photos/{name}/{number}.png"
            )
    create = timm.create_model if library == "timm" else torchvision.models.get_model
    state = shaken(create(architecture))
    server.files[ON_HUB] = save(state)
    publish(server, monkeypatch, saved(state))
    experiment = compose_run(
        [
            "dataset=imagefolder",
            "dataset.folder=photos",
            f"model={library}",
            f"model.architecture={architecture}",
            "model.small_images=false",
            "optimizer=adamw",
            "scheduler=constant",
            "fine_tuning.weights=library",
            "hardware=cpu",
            "hardware.threads=1",
        ]
    )
    learner = load_setup(experiment).learner(0)
    assert "weights of library: all but the head" in capsys.readouterr().out
    assert_backbone_is(learner.model, state)
    assert torch.isfinite(learner.update(0))


def refused(library: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        read(library)
    words = str(caught.value)
    assert words.startswith(f"fine_tuning.weights: {library}:")
    assert words.endswith("; give a file")
    assert "\n" not in words


def test_wrong_checksum_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    state = torchvision.models.get_model(TORCHVISION).state_dict()
    publish(server, monkeypatch, saved(state), name="/net-0badc0de.pth")
    refused("torchvision", 'invalid hash value .expected "0badc0de"')


def test_missing_file_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(server, monkeypatch, b"", name="/net-0badc0de.pth")
    server.files.clear()
    refused("torchvision", "HTTP Error 404")
    refused("timm", "cannot find the requested files in the local cache")


def test_page_in_place_of_weights_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = b"<html>please log in</html>"
    publish(server, monkeypatch, page)
    server.files[ON_HUB] = page
    refused("torchvision", "read: ")
    refused("timm", "read: ")


def test_truncated_file_in_the_cache_is_refused(server: Server, tmp_path: Path) -> None:
    state = torchvision.models.get_model(TORCHVISION).state_dict()
    url = get_model_weights(TORCHVISION).DEFAULT.url
    place = tmp_path / "torch" / "hub" / "checkpoints" / url.rpartition("/")[2]
    place.parent.mkdir(parents=True)
    place.write_bytes(saved(state)[:10_000])
    refused("torchvision", "read: ")
    assert server.requests == []


def test_code_in_weights_does_not_run(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    publish(server, monkeypatch, saved({"features.0.weight": Runs()}))  # type: ignore[dict-item]
    refused("torchvision", "read: ")
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_network_name_a_tensor(server: Server) -> None:
    server.files[ON_HUB] = save({"stem.weight": torch.zeros(3)})
    refused("timm", r"Missing key.*conv1")
