from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from zoo.bert import write_bert
from zoo.llama import write_llama
from zoo.template import CHATML

from llmd.core.embedding import POOLING_BY_NUMBER, Pooling
from llmd.errors import InvalidModelFile, ModelFileNotFound
from llmd.llama.model import LlamaModel
from llmd.store.model_file import read_model_file


@pytest.mark.gguf
@pytest.mark.parametrize("name", ["llama", "gemma3", "mamba", "lfm2"])
def test_it_says_what_the_loaded_model_says(name: str, zoo: dict[str, Path]) -> None:
    model, file = LlamaModel(zoo[name]), read_model_file(zoo[name])
    loaded = (
        model.architecture,
        model.num_parameters,
        model.train_context_length,
        model.num_layers,
        model.embedding_length,
        model.chat_template,
        model.tokenizer.num_tokens,
    )
    model.free()
    assert loaded == (
        file.architecture,
        file.num_parameters,
        file.context_length,
        file.num_layers,
        file.embedding_length,
        file.chat_template,
        file.num_tokens,
    )


def test_it_knows_what_the_file_recommends(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "m.gguf", sampling={"temp": 0.2, "top_k": 20}, name="A name")
    file = read_model_file(path)
    assert (file.name, file.sampling) == ("A name", {"temp": 0.2, "top_k": 20})
    assert (file.path, file.num_parts, file.num_bytes) == (path, 1, path.stat().st_size)
    assert file.chat_template == CHATML


def write_keys(path: Path, **keys: str | int) -> Path:
    writer = GGUFWriter(path, "llama")
    for key, value in keys.items():
        name = key.replace("__", ".")
        if isinstance(value, str):
            writer.add_string(name, value)
        else:
            writer.add_uint32(name, value)
    writer.add_tensor("a", np.zeros((2, 32), np.float16))
    writer.add_tensor("b", np.zeros(3, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_file_is_quantized_as_it_says_itself(tmp_path: Path) -> None:
    file = read_model_file(write_keys(tmp_path / "m.gguf", general__file_type=15))
    assert file.quantization == "Q4_K_M"


def test_a_file_that_does_not_say_is_quantized_as_most_of_it(tmp_path: Path) -> None:
    file = read_model_file(write_keys(tmp_path / "m.gguf"))
    assert file.quantization == "F16"
    assert file.tensor_types == {"F16": 64, "F32": 3}


def test_further_templates_have_names(tmp_path: Path) -> None:
    file = read_model_file(
        write_keys(
            tmp_path / "m.gguf",
            tokenizer__chat_template="a",
            tokenizer__chat_template__tool_use="b",
        )
    )
    assert (file.chat_template, file.named_templates) == ("a", {"tool_use": "b"})


def test_a_licence_is_known_by_its_name(tmp_path: Path) -> None:
    path = write_keys(
        tmp_path / "m.gguf", general__license="other", general__license__name="Own licence"
    )
    assert read_model_file(path).license == "Own licence"


def test_a_split_model_is_all_of_its_parts(tmp_path: Path) -> None:
    first = write_keys(tmp_path / "m-00001-of-00002.gguf", llama__context_length=64)
    second = write_keys(tmp_path / "m-00002-of-00002.gguf")
    file = read_model_file(first)
    assert (file.num_parts, file.num_parameters, file.context_length) == (2, 2 * 67, 64)
    assert file.num_bytes == first.stat().st_size + second.stat().st_size


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    first = write_keys(tmp_path / "m-00001-of-00002.gguf")
    with pytest.raises(ModelFileNotFound, match="m-00002-of-00002"):
        read_model_file(first)


def test_a_file_without_an_architecture_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + bytes(16))
    with pytest.raises(InvalidModelFile, match="names no architecture"):
        read_model_file(path)


@pytest.mark.gguf
def test_it_knows_which_models_embed(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    for number, pooling in (*POOLING_BY_NUMBER.items(), (None, Pooling.MEAN), (0, Pooling.MEAN)):
        assert read_model_file(write_bert(path, pooling=number)).pooling is pooling
    assert read_model_file(write_llama(path)).pooling is None
