"""Installs bert_tf; requirements.lock pins what the README's commands use."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
README = ROOT / "README.md"
INIT = ROOT / "bert_tf" / "__init__.py"
(VERSION,) = re.findall(r'^__version__ = "(.+)"$', INIT.read_text(), re.M)


class BuildWithCheckpoints(build_py):
    """Copies `checkpoints/` into a wheel, as `bert_tf/_checkpoints`.

    A package mapped to that folder would do the same, but an editable install
    then imports `bert_tf` through a finder, which comes after a folder of that
    name in the working directory, such as the clone itself.
    """

    def _checkpoints(self):
        folder = ROOT / "checkpoints"
        for path in (*folder.glob("*.json"), *folder.glob("builtin/*")):
            target = Path(self.build_lib, "bert_tf", "_checkpoints")
            yield path, target / path.relative_to(folder)

    def run(self):
        super().run()
        if not self.editable_mode:
            for path, target in self._checkpoints():
                self.mkpath(str(target.parent))
                self.copy_file(str(path), str(target))

    def get_outputs(self, include_bytecode=True):
        copies = [] if self.editable_mode else self._checkpoints()
        return [
            *super().get_outputs(include_bytecode),
            *(str(target) for _, target in copies),
        ]

    def get_source_files(self):
        sources = [path for path, _ in self._checkpoints()]
        return [
            *super().get_source_files(),
            *(str(path.relative_to(ROOT)) for path in sources),
        ]


setup(
    name="bert-tf",
    version=VERSION,
    description="BERT on today's TensorFlow: the released checkpoints, the "
    "classic TFRecord pipeline, the original's flags, files and numbers.",
    long_description=README.read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="bert tensorflow keras nlp checkpoints wordpiece",
    project_urls={"The original": "https://github.com/google-research/bert"},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["bert_tf*"]),
    # With this entry an editable install adds the clone to the path instead of
    # an import finder.
    package_dir={"": "."},
    package_data={
        "bert_tf": ["py.typed"],
        "bert_tf.server": ["page/*"],
        "bert_tf.tasks.inspection": ["page/*"],
    },
    # `released_models` looks in `bert_tf/_checkpoints` and in the clone.
    cmdclass={"build_py": BuildWithCheckpoints},
    install_requires=[
        "tensorflow>=2.21,<2.23",
        "keras>=3.12,<4",
        "absl-py>=2.1",
        "numpy>=2.0,<3",
        "rich>=13",
    ],
    # docs/installing.md says what each is for.
    extras_require={
        "beam": ["apache-beam>=2.72,<3"],
        "convert": ["safetensors>=0.4.3"],
        "dev": [
            "mypy>=1.11",
            "onnx>=1.18,<2",
            "onnxruntime>=1.22,<2",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.6",
            "safetensors>=0.4.3",
            # Drives the browser that tests the server's page.
            "selenium>=4.30",
            "setuptools>=77",
            "tensorflow-text>=2.21",
        ],
        # To write models that run without TensorFlow, and to run them.
        "onnx": ["onnx>=1.18,<2", "onnxruntime>=1.22,<2"],
        "openvino": ["onnx>=1.18,<2", "openvino>=2025.1"],
        "serving": [
            "prometheus-client>=0.20,<1",
            "starlette>=1.0,<2",
            "uvicorn>=0.54,<1",
        ],
        # For clients of tensorflow_model_server.
        "client": ["tensorflow-serving-api>=2.21,<2.23"],
        # Draws what trainings write for it; training.svg needs nothing.
        "tensorboard": ["tensorboard>=2.19"],
        "vocab": ["tensorflow-text>=2.21"],
    },
    entry_points={
        "console_scripts": [
            "bert-tf = bert_tf.__main__:cli",
            "bert-tf-answer = bert_tf.answer:cli",
            "bert-tf-attention = bert_tf.attention:cli",
            "bert-tf-classify = bert_tf.classify:cli",
            "bert-tf-tag = bert_tf.tag:cli",
            "bert-tf-glue-submission = bert_tf.glue_submission:cli",
            "bert-tf-run-classifier = bert_tf.run_classifier:cli",
            "bert-tf-create-pretraining-data = "
            "bert_tf.create_pretraining_data:cli",
            "bert-tf-beam-pretraining-data = bert_tf.beam_pretraining_data:cli",
            "bert-tf-convert-checkpoint = bert_tf.convert_checkpoint:cli",
            "bert-tf-export-saved-model = bert_tf.export_saved_model:cli",
            "bert-tf-extend-positions = bert_tf.extend_positions:cli",
            "bert-tf-extend-vocab = bert_tf.extend_vocab:cli",
            "bert-tf-extract-features = bert_tf.extract_features:cli",
            "bert-tf-fill-mask = bert_tf.fill_mask:cli",
            "bert-tf-neighbours = bert_tf.neighbours:cli",
            "bert-tf-learn-vocab = bert_tf.learn_vocab:cli",
            "bert-tf-released-models = bert_tf.released_models:cli",
            "bert-tf-run-multiple-choice = bert_tf.run_multiple_choice:cli",
            "bert-tf-run-pretraining = bert_tf.run_pretraining:cli",
            "bert-tf-run-ner = bert_tf.run_ner:cli",
            "bert-tf-run-sentence-vectors = bert_tf.run_sentence_vectors:cli",
            "bert-tf-run-squad = bert_tf.run_squad:cli",
            "bert-tf-score = bert_tf.score:cli",
            "bert-tf-search = bert_tf.search:cli",
            "bert-tf-serve = bert_tf.serve:cli",
        ]
    },
)
