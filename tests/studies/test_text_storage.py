"""Texts in a bucket, on a real S3-compatible server: each machine keeps a sound copy of its own."""

from __future__ import annotations

import re
import shutil
import sys

import pytest
from commands import ROOT, Storage
from pyarrow import fs
from servers import Server, needs_object_store

from rnn_study import storage, texts
from rnn_study.tasks import grammar
from rnn_study.tasks.corpus import Corpus, tokenise

pytestmark = needs_object_store
CORPUS = tokenise(grammar.texts())
TABLES = ("perplexity.csv", "texts.csv", "repetition.csv", "seed_sensitivity.csv")


@pytest.fixture
def corpora(bucket, monkeypatch, tmp_path):
    """An empty place in the bucket, from a machine that has no copies."""
    monkeypatch.setenv("HOME", str(tmp_path / "one"))
    return f"{bucket}/corpora"


def test_another_machine_reads_the_same_text_and_a_damaged_copy_is_mended(
    corpora, monkeypatch, tmp_path
):
    texts.save(CORPUS, corpora)
    monkeypatch.setenv("HOME", str(tmp_path / "two"))
    folder = texts.fetch(corpora, CORPUS.id)
    assert folder.is_relative_to(tmp_path / "two")
    tokens = folder / CORPUS.id / "train.npy"
    tokens.write_bytes(tokens.read_bytes()[:-1])
    copy = Corpus.open(texts.fetch(corpora, CORPUS.id), CORPUS.id)
    assert copy.words == CORPUS.words
    for split, there in CORPUS.tokens.items():
        assert copy.tokens[split].tobytes() == there.tobytes()
    assert [path.name for path in folder.iterdir()] == [CORPUS.id]


def test_a_text_that_is_damaged_in_the_bucket_is_refused_and_mended_by_the_study(
    corpora, monkeypatch, tmp_path
):
    texts.save(CORPUS, corpora)
    place = storage.files(f"{corpora}/{CORPUS.id}")
    place.write("valid.npy", place.read("valid.npy")[:-1])
    monkeypatch.setenv("HOME", str(tmp_path / "two"))
    damaged = pytest.raises(FileNotFoundError, match=f"{place} is missing or damaged")
    with damaged:
        texts.fetch(corpora, CORPUS.id)
    assert not storage.local(corpora).exists()
    monkeypatch.setenv("HOME", str(tmp_path / "one"))
    texts.save(CORPUS, corpora)
    monkeypatch.setenv("HOME", str(tmp_path / "two"))
    Corpus.open(texts.fetch(corpora, CORPUS.id), CORPUS.id)


def test_a_folder_is_read_where_it_is(tmp_path):
    texts.save(CORPUS, str(tmp_path))
    assert texts.fetch(str(tmp_path), CORPUS.id) == tmp_path


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_language_study_in_a_bucket_has_the_tables_of_one_on_a_disk(object_store, tmp_path):
    """And none of its files is needed of this machine: a text goes on from another one."""
    name, script = "language-model-smoke", ROOT / "studies" / "language_model.py"
    flags = ("--cells", "lstm", "--pack-size", "1")
    on_disk = Storage(tmp_path / "disk", name, script)
    done = on_disk.run(*flags)
    assert done.returncode == 0, done.stdout + done.stderr
    mlflow = Server(tmp_path)
    mlflow.start()
    mlflow.wait()
    address = "s3://studies/language"
    environment = object_store.environment | {"MLFLOW_TRACKING_URI": mlflow.uri}
    in_bucket = Storage(tmp_path / "unused", name, script)
    flags = (*flags, "--storage", address)
    done = in_bucket.run(*flags, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    everything = fs.FileSelector("studies/language", recursive=True)
    there = [i.path for i in object_store.client().get_file_info(everything)]
    for table in TABLES:
        path = f"studies/language/studies/{name}/{table}"
        with object_store.client().open_input_stream(path) as file:
            assert file.readall() == (on_disk.results / table).read_bytes(), table
    for kind, count in ((r"epoch-00000004\.safetensors", 2), (r"portraits/.+", 4)):
        found = [path for path in there if re.search(rf"/checkpoints/\w+/{kind}$", path)]
        assert len(found) == count, there
    assert not in_bucket.folder.exists()
    shutil.rmtree(in_bucket.home)
    in_bucket.home.mkdir()
    line = [sys.executable, "-m", "rnn_study.sample", "--study", name, "--storage", address]
    wrote = in_bucket.call([*line, "--prompt", "Valkyria is", "--count", "9"], **environment)
    assert wrote.returncode == 0 and wrote.stdout.startswith("Valkyria is "), wrote.stderr
    third = in_bucket.run(*flags, **environment)
    assert third.returncode == 0 and "every trial had finished earlier" in third.stdout
    mlflow.kill()
