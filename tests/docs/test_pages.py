"""Every command and every Python block of README and docs, in miniature."""

import json
import re
import shlex

import pytest
from helpers import exported, miniature, page_parts, pages
from helpers.commands import results_of
from helpers.page_parts import ELSEWHERE, NOT_RUN, PARTS
from helpers.paths import ROOT
from helpers.running_server import Running
from helpers.trained_folders import make_mrpc_folder

from bert_tf import glue_submission
from bert_tf.checkpoints import CheckpointReader
from bert_tf.data import records
from bert_tf.modeling import BertConfig
from bert_tf.tasks.classification import datasets
from bert_tf.tasks.pretraining import task

pytestmark = pytest.mark.usefixtures("graphs_as_traced")

OUTPUT = re.compile(r"--(?:output_dir|output_file|output|export_dir)[= ](\S+)")
TRAINING = re.compile(
    r"bert_tf\.run_(?!squad|pretraining)\w+ .*--do_eval", re.S
)


# --------------------------------------------------------------- what is there


def statements_of(page):
    """All that is to be run on a page: heading, first words."""
    for block in pages.blocks(page):
        if block.kind:
            yield block.heading, f"```{block.kind}"
        elif pages.is_shell(block):
            for one in pages.statements(block.text):
                yield block.heading, one


def is_run(page, heading, one):
    """Whether a part, or if it is a fence another test, has a statement."""
    parts = [part for part in PARTS.values() if part.page == page]
    is_other = one.startswith("```") and one != "```python"
    if not is_other and any(
        heading in (part.headings or [heading]) for part in parts
    ):
        return True
    if one == "```python" and (page, "") in ELSEWHERE:
        return True
    return one.startswith("```") and (page, heading) in ELSEWHERE


@pytest.mark.parametrize("page", pages.PAGES)
def test_a_page_has_no_command_or_python_that_is_not_run(page):
    left = [
        (heading, one)
        for heading, one in statements_of(page)
        if not one.startswith(tuple(NOT_RUN)) and not is_run(page, heading, one)
    ]
    assert left == []


def test_what_is_said_of_pages_is_so():
    found = [one for page in pages.PAGES for _, one in statements_of(page)]
    for beginning in NOT_RUN:
        assert any(one.startswith(beginning) for one in found), beginning
    folder = ROOT / "tests" / "docs"
    own = (folder / "test_pages.py").read_text()
    own += (folder / "test_readme.py").read_text()
    for name, part in PARTS.items():
        assert own.count(f'"{name}"'), f"no test runs {name}"
        for heading in part.headings or (None,):
            assert [*pages.blocks(part.page, *filter(None, [heading]))], name
    for (page, heading), file in ELSEWHERE.items():
        assert not heading or [*pages.blocks(page, heading)], (page, heading)
        text = (ROOT / "tests" / file).read_text()
        assert page.rpartition("/")[2] in text, (page, file)


def test_blocks_and_statements_are_found():
    text = "mkdir a\ncat > a/b <<'END'\nx \\\nEND\nls -l \\\n  a # it's\n"
    assert [*pages.statements(text)] == [
        "mkdir a",
        "cat > a/b <<'END'\nx \\\nEND",
        "ls -l \\\n  a # it's",
    ]
    kinds = [block.kind for block in pages.blocks("docs/distributed.md")]
    assert kinds == ["", "yaml", "bash"]


# -------------------------------------------------------------------- run alone


def exhaustive(name):
    return pytest.param(name, marks=pytest.mark.exhaustive)


def slow(name):
    return pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "name",
    [
        slow("fine-tune"),
        exhaustive("own data"),
        exhaustive("compare settings"),
        slow("distillation"),
        slow("swag"),
        exhaustive("performance"),
        slow("train sentences"),
        exhaustive("sentence-transformers"),
        exhaustive("train heads"),
        exhaustive("sweep"),
        exhaustive("checked export"),
        exhaustive("quantized exports"),
    ],
)
def test_commands_write_what_they_say(name, tmp_path):
    if name == "checked export":
        pytest.importorskip("onnxruntime")
    ran = page_parts.run(name, tmp_path / "here")
    assert ran.outputs
    for command in ran.outputs:
        written = [
            ran.folder / ran.here(path) for path in OUTPUT.findall(command)
        ]
        assert all(path.exists() for path in written), command
        if written and TRAINING.search(command):
            assert results_of(written[-1]), command


@pytest.mark.slow
def test_classify_prints_the_labels_of_a_pair(tmp_path):
    ran = page_parts.run("classify", tmp_path / "here")
    (printed,) = ran.outputs.values()
    assert len(re.findall(r"^ +[01]\.\d+ +[01]$", printed, re.M)) == 2


def test_the_tokenizer_says_where_pieces_are(tmp_path, capsys):
    page_parts.run("tokenizer", tmp_path / "here")
    assert "##ien 6 9" in capsys.readouterr().out


@pytest.mark.slow
def test_checkpoints_are_loaded_and_converted(tmp_path, capsys):
    ran = page_parts.run("checkpoints", tmp_path / "here")
    assert capsys.readouterr().out
    config = ran.folder / "FOLDER" / "bert_config.json"
    assert BertConfig.from_json_file(config).num_hidden_layers


@pytest.mark.exhaustive
def test_glue_is_learnt_and_its_files_are_packed(tmp_path):
    with page_parts.start("glue", tmp_path / "here") as run:
        part = PARTS["glue"]
        for file, count in glue_submission.wanted_files():
            name = re.sub(r"(-m+)?\.tsv", "", file).lower()
            folder = run.tmp / {"ax": "mnli"}.get(name, name)
            rows = "".join(f"{at}\t0\n" for at in range(count))
            if name != "cola":
                miniature.write(folder / file, f"index\tprediction\n{rows}")
        run.page(part.page, *part.headings)
    assert (run.folder / "submission.zip").stat().st_size > 1000


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("name", "folder", "main"),
    [
        ("numbers", "stars", "eval_spearman"),
        ("several labels", "kinds", "eval_micro_f1"),
    ],
)
def test_numbers_and_several_labels_are_learnt(name, folder, main, tmp_path):
    ran = page_parts.run(name, tmp_path / "here")
    assert results_of(ran.tmp / folder / "out")[main] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["extending"])
def test_words_are_learnt_and_added_and_positions_too(name, tmp_path):
    pytest.importorskip("tensorflow_text")
    ran = page_parts.run(name, tmp_path / "here")
    learnt = (ran.folder / "vocab.txt").read_text().splitlines()
    assert len(learnt) == 150 and learnt[0] == "[PAD]"
    words = (ran.folder / "BERT_with_words" / "vocab.txt").read_text().split()
    assert words[1:3] == ["coronavirus", "remdesivir"]
    longer = ran.tmp / "bert_1024" / "bert_config.json"
    config = BertConfig.from_json_file(str(longer))
    assert config.max_position_embeddings == 1024


@pytest.mark.slow
def test_the_inside_is_shown(tmp_path):
    ran = page_parts.run("inspection", tmp_path / "here")
    assert (ran.folder / "map.html").exists()
    found = [*ran.outputs.values()][-1]
    first, _, last = re.search(
        r"    (bank: 16 occ.*\n)((?:.*\n)*?)    (Without context.*\n)",
        pages.PAGES["docs/inspection.md"],
    ).groups()
    assert first in found and last.partition(",")[0] in found


@pytest.mark.exhaustive
def test_choices_are_learnt_asked_and_served(tmp_path):
    ran = page_parts.run("choices", tmp_path / "here")
    assert results_of(ran.tmp / "park_output")["eval_accuracy"] == 1
    choice = ran.names["predict"](
        "A dog sees a cat.", ["It barks.", "It reads."]
    )
    assert choice.choice == 0
    (found,) = answers(ran)
    assert len(found["predictions"]) == 1


def answers(ran):
    """What curl gave."""
    return [x for one, x in ran.outputs.items() if one.startswith("curl")]


@pytest.mark.exhaustive
def test_names_are_learnt_and_found(tmp_path):
    with page_parts.start("ner", tmp_path / "here") as run:
        sentence = "Michael B-PER\nSchumacher I-PER\nwon O\nin O\n"
        text = (sentence + "Monaco B-LOC\non O\nSunday O\n\n") * 8
        for part in ("train", "dev"):
            path = run.folder / "CONLL" / f"{part}.txt"
            path.write_text(("-DOCSTART- O\n\n" + text) * 8)
        run.page("docs/ner.md")
    assert results_of(run.tmp / "ner")["eval_f1"] == 1
    assert any("PER  Michael Schumacher" in x for x in run.outputs.values())
    expected = ["B-PER", "I-PER", "O", "O", "B-LOC", "O", "O"]
    assert run.names["result"].labels == expected
    assert run.names["last"].text == "Monaco"
    assert run.names["last"].start == 26


@pytest.mark.exhaustive
def test_a_table_of_the_paper_is_made(tmp_path):
    ran = page_parts.run("table 1", tmp_path / "here")
    table = (ran.tmp / "table1" / "table.md").read_text()
    assert re.search(r"\| MRPC \| F1 \| \d", table)


@pytest.mark.slow
def test_pretraining_is_run_and_its_model_asked(tmp_path):
    ran = page_parts.run("pretraining", tmp_path / "here")
    made = str(ran.tmp / "tf_examples.tfrecord")
    records.check_records([made], task.pretraining_schema(128, 20), whole=True)
    out = ran.tmp / "pretraining_output"
    builtin = ROOT / "checkpoints" / "builtin"
    for name in ("vocab.txt", "bert_config.json"):
        assert (out / name).read_text() == (builtin / name).read_text()
    assert [*results_of(out)] == [
        "global_step",
        "loss",
        "masked_lm_accuracy",
        "masked_lm_loss",
        "next_sentence_accuracy",
        "next_sentence_loss",
    ]
    for command, printed in [*ran.outputs.items()][-2:]:
        words = shlex.split(command.replace("\\\n", " "))
        texts = [w[len("--text=") :] for w in words if w.startswith("--text=")]
        lines = printed.splitlines()
        assert [x for x in lines if not x.startswith(" ")] == texts
        assert len(lines) > len(texts)
    assert ran.names["model"].tokenizer.vocab["[MASK]"] == 20


@pytest.mark.exhaustive
def test_pairs_are_made_and_judged(tmp_path):
    with page_parts.start("worth", tmp_path / "here") as run:
        glue = run.folder / "GLUE"
        for name, count in (("train", 2000), ("dev", 300)):
            rows = [f"{n % 2}\t1\t2\tA b {n}.\tA c {n}." for n in range(count)]
            text = "\n".join(["Quality\tID\tID\tString\tString", *rows, ""])
            (glue / "MRPC" / f"{name}.tsv").write_text(text)
        labels = ("entailment", "not_entailment")
        rows = [f"{n}\tWho {n}?\tHe.\t{labels[n % 2]}" for n in range(4600)]
        text = "\n".join(["index\tquestion\tsentence\tlabel", *rows, ""])
        miniature.write(glue / "QNLI" / "dev.tsv", text)
        part = PARTS["worth"]
        run.page(part.page, *part.headings)
    for name in ("worth_cls", "cosine_1"):
        assert "eval_spearman" in results_of(run.tmp / name)


@pytest.mark.exhaustive
def test_sentences_are_learnt_and_served(tmp_path):
    ran = page_parts.run("ask sentences", tmp_path / "here")
    vectors, ranked = answers(ran)
    assert len(vectors["data"]) == 2
    (best,) = ranked["results"]
    assert best["index"] == 0


# ----------------------------------------------------------------------- served


@pytest.fixture
def serving():
    """A function that serves an export of all tests by a name."""
    running = []

    def serve(export, name):
        server = Running(exported.folder(export), name)
        running.append(server)

        def ask(method, path, body):
            status, _, found = server.ask(method, path, body)
            assert status == 200, found
            return found

        return ask

    yield serve
    for server in running:
        server.stop()


@pytest.mark.exhaustive
def test_the_server_is_asked(tmp_path, serving):
    served = {"sentences": serving("features", "sentences")}
    with page_parts.start("server", tmp_path / "here", served=served) as run:
        make_mrpc_folder(run.tmp / "reviews")
        run.statement("python -m bert_tf.serve /tmp/reviews")
        model = exported.folder("classifier")
        (run.folder / "MODEL_FOLDER").symlink_to(model)
        found = answers(run.page("docs/server.md"))
    assert len(found) == 13
    assert len(found[0]["predictions"]) == 2
    assert found[-1]["word"] == "bank"


@pytest.mark.exhaustive
def test_exports_are_asked_as_tensorflow_serving_is(tmp_path, serving):
    served = {
        "mrpc": serving("classifier", "mrpc"),
        "squad": serving("span", "squad"),
    }
    options = {"served": served}
    with page_parts.start("ask exports", tmp_path / "here", **options) as run:
        part = PARTS["ask exports"]
        run.page(part.page, *part.headings, python=False)
        one, two, answer = answers(run)
    assert len(one["predictions"]) == 2 and len(two["predictions"]) == 1
    assert len(answer["outputs"]["answer"]) == 1


@pytest.mark.exhaustive
def test_a_training_is_exported_and_served_without_tensorflow(tmp_path):
    pytest.importorskip("onnxruntime")
    ran = page_parts.run("exports", tmp_path / "here")
    assert (ran.tmp / "mrpc_model" / "1" / "saved_model.pb").exists()
    assert (ran.tmp / "mrpc_onnx" / "1" / "model.onnx").exists()


@pytest.mark.exhaustive
def test_several_heads_answer_at_once(tmp_path, capsys):
    with page_parts.start("several heads", tmp_path / "here") as run:
        heads = {
            "mood": ("classifier", "class", ("bad", "good")),
            "topic": ("classifier", "class", ("food", "film")),
            "names": ("tokens", None, exported.TOKEN_LABELS),
        }
        for seed, (name, head) in enumerate(heads.items()):
            exported.write_head(run.tmp / name, *head, seed)
        for name in ("one", "eight"):
            (run.tmp / name).symlink_to(exported.folder("classifier"))
        run.page("docs/several_heads.md", "Export", "Ask", "What it costs")
    assert {*run.names["answers"]} == {*heads}
    (found,) = answers(run)
    (told,) = found["predictions"]
    assert told["mood/label"] in ("bad", "good")
    assert capsys.readouterr().out.endswith("times the time\n")


# --------------------------------------------------------------- other models


@pytest.mark.slow
def test_squad_is_learnt_and_asked(tmp_path, capsys):
    ran = page_parts.run("squad", tmp_path / "here")
    out = ran.tmp / "squad_base"
    files = {"train.tf_record", "eval.tf_record", "nbest_predictions.json"}
    assert files <= {path.name for path in out.iterdir()}
    dev = json.loads((ran.folder / "SQUAD" / "dev-v1.1.json").read_text())
    asked = {
        question["id"]
        for article in dev["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    assert json.loads((out / "predictions.json").read_text()).keys() == asked
    assert [*results_of(out)] == ["exact_match", "f1", "global_step"]
    question, found = [*ran.outputs.values()][-1].splitlines()
    assert question == "Who founded the museum?"
    said, start, end = re.fullmatch(
        r"  +0\.\d+  (.*)  \[texts/museum.txt, characters (\d+) to (\d+)\]",
        found,
    ).groups()
    text = (ran.folder / "texts" / "museum.txt").read_text()
    assert text[int(start) : int(end)] == said
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.slow
def test_lora_trains_adapters(tmp_path):
    ran = page_parts.run("lora", tmp_path / "here")
    names = CheckpointReader(ran.tmp / "mrpc_lora").names
    assert "output_weights/adam_m" in names
    query = "bert/encoder/layer_0/attention/self/query"
    assert f"{query}/lora_kernel_a" in names
    assert f"{query}/kernel/adam_m" not in names


@pytest.mark.slow
def test_features_are_written_in_layers_of_each_line(tmp_path):
    with page_parts.start("vectors", tmp_path / "here") as ran:
        # The last four layers are wanted, and the small model has three.
        (ran.folder / "BERT").unlink()
        miniature.write_deeper(ran.folder / "BERT")
        ran.page("docs/vectors.md")
    rows = (ran.folder / "output.jsonl").read_text().splitlines()
    assert len(rows) == 3
    for index, row in enumerate(map(json.loads, rows)):
        assert row["linex_index"] == index
        assert row["features"][0]["token"] == "[CLS]"
        for feature in row["features"]:
            layers = [layer["index"] for layer in feature["layers"]]
            assert layers == [-1, -2, -3, -4]
    assert ran.names["arrays"]["values"].shape[1:] == (1, 4 * 64)


def test_a_data_set_is_added():
    (code,) = [
        block.text
        for block in pages.blocks("docs/developing.md")
        if block.kind == "python"
    ]
    names = dict(vars(datasets))
    exec(compile(code, "developing.md", "exec"), names)
    assert names["RTE"] == datasets.RTE
