"""The commands of README and docs, run on tiny data."""

import json
import re
import shlex
import shutil
import subprocess
import urllib.request

import pytest
from absl import flags
from helpers import prepared
from helpers.paths import ROOT

from bert_tf import (
    answer,
    create_pretraining_data,
    export_saved_model,
    extend_positions,
    extract_features,
    fill_mask,
    run_classifier,
    run_pretraining,
    run_squad,
    score,
)
from bert_tf.checkpoints import CheckpointReader
from bert_tf.data import records
from bert_tf.modeling import BertConfig
from bert_tf.tasks.pretraining import task

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
}
README = PAGES["README.md"]
PRETRAINING = "docs/pretraining.md"
BUILTIN = ROOT / "checkpoints" / "builtin"
SAMPLES = ROOT / "run_scripts" / "sample_data"
DATA = ROOT / "tests" / "golden"


def command(module, page="README.md", **replaced):
    """The arguments of a page's first command of this module."""
    text = re.search(
        rf"^    python -m {module} (?:.*\\\n)*.*", PAGES[page], re.MULTILINE
    )[0]
    for written, real in replaced.items():
        text = text.replace(written, str(real))
    return shlex.split(text.replace("\\\n", " "))[3:]


def run(script, arguments):
    values = flags.FlagValues()
    script.define_flags(values)
    values([script.__name__, *arguments])
    script.main(values)


def examples(page):
    return re.findall(r"```python\n(.*?)```", PAGES[page], re.S)


# It needs what the quickstart made.
(PREDICTOR,) = examples("README.md")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param("docs/checkpoints.md", marks=pytest.mark.slow),
        "docs/tokenizer.md",
    ],
)
def test_python_examples_run(page, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (code,) = examples(page)
    exec(compile(code, page, "exec"), {})
    assert capsys.readouterr().out


def anchors(text):
    """The names of a page's headings in addresses, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_the_readme_is_one_screen_and_leads_to_every_page():
    assert README.count("\n") <= 150
    for page in PAGES:
        if page != "README.md":
            assert f"]({page}" in README, page


@pytest.mark.slow
@pytest.mark.usefixtures("steps_without_graphs")
def test_the_mrpc_command_trains_and_evaluates(tmp_path):
    arguments = command(
        "bert_tf.run_classifier",
        **{
            "$GLUE_DIR/MRPC": SAMPLES / "mrpc",
            "$BERT_BASE_DIR": BUILTIN,
            "/tmp/mrpc_output/": tmp_path,
        },
    )

    run(run_classifier, [*arguments, "--num_train_epochs=1"])

    names = {path.name for path in tmp_path.iterdir()}
    assert {"train.tf_record", "eval.tf_record", "checkpoint"} <= names
    results = (tmp_path / "eval_results.txt").read_text().splitlines()
    assert [line.split(" = ")[0] for line in results] == [
        "eval_accuracy",
        "eval_loss",
        "global_step",
        "loss",
        "eval_f1",
        "eval_f1_and_accuracy",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("steps_without_graphs")
def test_the_lora_command_trains_adapters(tmp_path):
    arguments = command(
        "bert_tf.run_classifier",
        "docs/training.md",
        **{"GLUE/MRPC": SAMPLES / "mrpc", "/tmp/mrpc_lora": tmp_path},
    )

    run(run_classifier, [*arguments, "--num_train_epochs=1"])

    names = CheckpointReader(tmp_path).names
    assert "output_weights/adam_m" in names
    query = "bert/encoder/layer_0/attention/self/query"
    assert f"{query}/lora_kernel_a" in names
    assert f"{query}/kernel/adam_m" not in names


@pytest.fixture(scope="module")
def long_bert(tmp_path_factory):
    """What the page's extend_positions makes of a small model."""
    folder = tmp_path_factory.mktemp("readme") / "bert_1024"
    replaced = {
        "$BERT_BASE_DIR": DATA / "checkpoints" / "tiny",
        "/tmp/bert_1024": folder,
    }
    page = "docs/extending.md"
    run(extend_positions, command("bert_tf.extend_positions", page, **replaced))
    return folder


def test_the_positions_command_writes_a_model_of_1024(long_bert):
    config = BertConfig.from_json_file(str(long_bert / "bert_config.json"))
    assert config.max_position_embeddings == 1024
    assert (long_bert / "vocab.txt").exists()


@pytest.mark.slow
def test_the_squad_command_trains_and_predicts_and_then_answers(
    long_bert, tmp_path, monkeypatch, capsys
):
    replaced = {
        "$SQUAD_DIR": DATA / "squad",
        "$BERT_BASE_DIR": long_bert,
        "/tmp/squad_base": tmp_path / "out",
    }
    arguments = command("bert_tf.run_squad", "docs/squad.md", **replaced)

    run(run_squad, [*arguments, "--num_train_epochs=0.2"])

    out = tmp_path / "out"
    files = {"train.tf_record", "eval.tf_record", "nbest_predictions.json"}
    assert files <= {path.name for path in out.iterdir()}
    dev = json.loads((DATA / "squad" / "dev-v1.1.json").read_text())
    asked = {
        question["id"]
        for article in dev["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    assert json.loads((out / "predictions.json").read_text()).keys() == asked
    results = (out / "eval_results.txt").read_text().splitlines()
    assert [line.split(" = ")[0] for line in results] == [
        "exact_match",
        "f1",
        "global_step",
    ]

    text = "The museum was founded by Ann Lee in 1895. It is in New York."
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "museum.txt").write_text(text)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    run(answer, command("bert_tf.answer", "docs/squad.md", **replaced))

    question, found = capsys.readouterr().out.splitlines()
    assert question == "Who founded the museum?"
    said, start, end = re.fullmatch(
        r"  +0\.\d+  (.*)  \[texts/museum.txt, characters (\d+) to (\d+)\]",
        found,
    ).groups()
    assert text[int(start) : int(end)] == said


def test_the_features_command_writes_the_layers_of_each_line(
    tmp_path, monkeypatch
):
    replaced = {"$BERT_BASE_DIR": DATA / "checkpoints" / "tiny"}
    lines = ["who was jim ? ||| a man", "new york", "the old city"]
    (tmp_path / "input.txt").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    arguments = command(
        "bert_tf.extract_features", "docs/vectors.md", **replaced
    )

    # The small model has two layers.
    run(extract_features, [*arguments, "--layers=-1,-2"])

    rows = (tmp_path / "output.jsonl").read_text().splitlines()
    assert len(rows) == len(lines)
    for index, row in enumerate(map(json.loads, rows)):
        assert row["linex_index"] == index
        assert row["features"][0]["token"] == "[CLS]"
        for feature in row["features"]:
            layers = [layer["index"] for layer in feature["layers"]]
            assert layers == [-1, -2]


@pytest.mark.parametrize("script", [fill_mask, score])
def test_the_commands_about_texts_answer(script, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    arguments = command(script.__name__, "docs/pretraining.md")
    run(script, arguments)
    answered = capsys.readouterr().out.splitlines()
    texts = [a.partition("=")[2] for a in arguments if a.startswith("--text=")]
    assert texts and [x for x in answered if not x.startswith(" ")] == texts
    assert len(answered) > len(texts)


def test_the_pretraining_data_command_writes_whole_records(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    target = tmp_path / "tf_examples.tfrecord"
    folder = {"/tmp/tf_examples.tfrecord": target}

    run(
        create_pretraining_data,
        command("bert_tf.create_pretraining_data", PRETRAINING, **folder),
    )

    records.check_records(
        [str(target)], task.pretraining_schema(128, 20), whole=True
    )


@pytest.mark.slow
@pytest.mark.usefixtures("steps_without_graphs")
def test_the_pretraining_command_trains_and_evaluates(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    replaced = {
        "/tmp/tf_examples.tfrecord": tmp_path / "tf_examples.tfrecord",
        "/tmp/pretraining_output": tmp_path / "out",
    }
    data = command("bert_tf.create_pretraining_data", PRETRAINING, **replaced)
    run(create_pretraining_data, data)

    arguments = command("bert_tf.run_pretraining", PRETRAINING, **replaced)
    less = ["--num_train_steps=3", "--num_warmup_steps=1", "--max_eval_steps=2"]
    run(run_pretraining, [*arguments, *less])

    for name in ("vocab.txt", "bert_config.json"):
        made = (tmp_path / "out" / name).read_text()
        assert made == (BUILTIN / name).read_text()
    results = (tmp_path / "out" / "eval_results.txt").read_text().splitlines()
    assert [line.split(" = ")[0] for line in results] == [
        "global_step",
        "loss",
        "masked_lm_accuracy",
        "masked_lm_loss",
        "next_sentence_accuracy",
        "next_sentence_loss",
    ]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """What the quickstart printed, and its output folder."""
    folder = tmp_path_factory.mktemp("quickstart")
    out, venv = folder / "out", folder / "venv"
    prepared.write_python(venv / "bin" / "python")
    shutil.copy(ROOT / "requirements.lock", venv / "installed.lock")
    done = subprocess.run(
        [ROOT / "run_scripts" / "quickstart.sh", out],
        env={**prepared.environment(), "BERT_TF_VENV": str(venv)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, out


@pytest.mark.slow
def test_quickstart_learns_the_sample_reviews(quickstart):
    printed, out = quickstart
    (accuracy,) = re.findall(r" eval_accuracy = (\S+)", printed)
    assert float(accuracy) > 0.9
    results = (out / "pretraining" / "eval_results.txt").read_text()
    assert "masked_lm_accuracy" in results
    reviews = out / "reviews"
    predicted = (reviews / "test_predictions.txt").read_text().split()
    assert len(predicted) == 20
    assert set(predicted) <= {"positive", "negative"}


@pytest.mark.slow
def test_the_classifier_is_exported_asked_and_served(
    quickstart, tmp_path, capsys
):
    _, out = quickstart
    arguments = command(
        "bert_tf.export_saved_model",
        **{
            "outputs/quickstart": out,
            "outputs/reviews": tmp_path / "reviews",
        },
    )
    run(export_saved_model, arguments)

    code = PREDICTOR.replace("outputs/", f"{tmp_path}/")
    exec(compile(code, "README.md", "exec"), {})

    label, dirty, place = capsys.readouterr().out.splitlines()[-3:]
    assert label == "positive"
    assert dirty.startswith("negative 0.")
    assert place.startswith("positive 0.")

    serve = ["-m", "bert_tf.serve", tmp_path / "reviews"]
    curl = re.search(r"^    (curl (?:.*\n)*?.*\}')$", README, re.M)[1]
    with prepared.Popen(
        [*serve, "--port=0"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as server:
        port = re.search(r":(\d+)/v1", server.stdout.readline())[1]
        words = shlex.split(curl.replace("8501", port))
        request = urllib.request.Request(
            f"http://{words[1]}", words[3].encode()
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            (got,) = json.load(response)["predictions"]
        server.terminate()
    assert words[2] == "-d"
    assert got["label"] == "negative"
    assert server.returncode == 0
