# bert_tf.serve in a container, for models in the folder /model:
#
#   docker build --target without-tensorflow --tag bert-tf-serve .
#   docker run --publish 127.0.0.1:8501:8501 --volume /tmp/reviews:/model:ro \
#     bert-tf-serve --model_name=reviews
#
# `without-tensorflow` serves --format=onnx, and `with-tensorflow` SavedModels too.

FROM python:3.12-slim AS base
RUN useradd --create-home --uid 1000 bert
WORKDIR /source
ENV PYTHONUNBUFFERED=1
EXPOSE 8501
# A model is loaded anew at once when its folder gets a higher version.
HEALTHCHECK --start-period=60s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8501/readyz')"]

FROM base AS with-tensorflow
# The versions of requirements.lock, without what only tests need.
COPY requirements.lock ./
RUN sed -E '/^ /d; s/ \\$//' requirements.lock > /constraints.txt
COPY setup.py README.md LICENSE pyproject.toml ./
COPY checkpoints ./checkpoints
COPY bert_tf ./bert_tf
RUN pip install --no-cache-dir --constraint /constraints.txt '.[serving]'
USER 1000
WORKDIR /home/bert
ENTRYPOINT ["python", "-m", "bert_tf.serve", "/model", "--host=0.0.0.0"]

FROM base AS without-tensorflow
COPY requirements-onnx.lock ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements-onnx.lock
COPY setup.py README.md LICENSE pyproject.toml ./
COPY checkpoints ./checkpoints
COPY bert_tf ./bert_tf
# setup.py asks for TensorFlow, which is not needed here.
RUN pip install --no-cache-dir --no-deps .
USER 1000
WORKDIR /home/bert
ENTRYPOINT ["python", "-m", "bert_tf.serve", "/model", "--host=0.0.0.0"]
