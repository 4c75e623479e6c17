from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from zoo.broken import BrokenKind, write_broken
from zoo.llama import write_llama
from zoo.template import CHATML

from llmd.errors import InvalidModelFile, ModelFileNotFound
from llmd.llama.model import LlamaModel

pytestmark = pytest.mark.gguf


@pytest.fixture(scope="module")
def model(llama_path: Path) -> Iterator[LlamaModel]:
    model = LlamaModel(llama_path)
    yield model
    model.free()


def test_a_model_tells_what_its_file_says(model: LlamaModel, llama_path: Path) -> None:
    assert model.path == llama_path
    assert model.architecture == "llama"
    assert model.metadata["general.name"] == "tiny llama"
    assert (model.train_context_length, model.num_layers, model.embedding_length) == (2048, 2, 64)
    assert model.chat_template == CHATML
    assert model.num_bytes == model.num_parameters * 4  # f32
    assert "llama" in model.description
    assert not model.has_recurrent_state


def test_a_long_value_of_the_metadata_is_read_whole(tmp_path: Path) -> None:
    template = "{# " + "long " * 2000 + "#}" + CHATML
    model = LlamaModel(write_llama(tmp_path / "model.gguf", chat_template=template))
    assert model.metadata["tokenizer.chat_template"] == model.chat_template == template
    model.free()


def test_a_model_without_a_template_has_none(tmp_path: Path) -> None:
    model = LlamaModel(write_llama(tmp_path / "model.gguf", chat_template=None))
    assert model.chat_template is None
    model.free()


def test_progress_grows_to_the_whole(llama_path: Path) -> None:
    shares: list[float] = []

    def note(share: float) -> bool:
        shares.append(share)
        return True

    LlamaModel(llama_path, on_progress=note).free()
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_a_load_stops_when_its_progress_callback_says_so(llama_path: Path) -> None:
    calls: list[float] = []

    def refuse(share: float) -> bool:
        calls.append(share)
        return False

    with pytest.raises(InvalidModelFile):
        LlamaModel(llama_path, on_progress=refuse)
    assert len(calls) == 1


def test_freeing_twice_is_harmless(llama_path: Path) -> None:
    model = LlamaModel(llama_path)
    model.free()
    model.free()


@pytest.mark.parametrize("kind", [kind for kind in BrokenKind if kind != BrokenKind.BAD_TEMPLATE])
def test_a_broken_file_is_refused_with_a_cure(kind: BrokenKind, tmp_path: Path) -> None:
    path = write_broken(kind, tmp_path / "broken.gguf")
    with pytest.raises(InvalidModelFile) as raised:
        LlamaModel(path)
    message = raised.value.message
    assert str(path) in message and "no reason" not in message
    cures = ("Give the path of a .gguf file.", "or upgrade llama-cpp-python if the model is newer"
             " than it.")  # fmt: skip
    assert message.endswith(cures)


def test_the_reason_is_llama_cpps_own(tmp_path: Path) -> None:
    path = write_broken(BrokenKind.UNKNOWN_ARCHITECTURE, tmp_path / "broken.gguf")
    with pytest.raises(InvalidModelFile, match="lambs"):
        LlamaModel(path)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelFileNotFound, match=r"Check the path\.$"):
        LlamaModel(tmp_path / "missing.gguf")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileNotFound, match=r"\.$"):
        LlamaModel(tmp_path)


def test_loading_is_quiet(
    llama_path: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    broken = write_broken(BrokenKind.TRUNCATED, tmp_path / "broken.gguf")
    with caplog.at_level(logging.INFO):
        LlamaModel(llama_path).free()
        with pytest.raises(InvalidModelFile):
            LlamaModel(broken)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_llama_cpps_words_can_be_had_at_debug(
    llama_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "llmd.llama"):
        LlamaModel(llama_path).free()
    assert any("tiny llama" in record.getMessage() for record in caplog.records)
