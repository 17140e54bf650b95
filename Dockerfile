# The node as an image: receiver, worker, web, or all of them (`serve`, the default).
#
#   docker build -t dicom-node .                              for the CPU
#   docker build -t dicom-node:cuda --build-arg TORCH=cuda .  for NVIDIA GPUs (needs the NVIDIA container toolkit)
#
# It runs as user 10001 and with a read-only root file system; what it keeps lies in /data. Another set of models is
# mounted over /models.

ARG PYTHON=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ARG TORCH=cpu
# Another index than PyTorch's own for its build for the CPU.
ARG TORCH_INDEX=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/dicom-node
ENV PATH=/opt/dicom-node/bin:${PATH}
WORKDIR /source
# Dependencies change more seldom than the code, and so are a layer of their own.
COPY config/install-dependencies config/install-dependencies
COPY requirements.lock ./
RUN TORCH_INDEX=${TORCH_INDEX} config/install-dependencies "${TORCH}"
COPY pyproject.toml README.md LICENSE ./
COPY dicom_node dicom_node
RUN rm -rf build *.egg-info && pip install --no-deps . \
 && find /opt/dicom-node -type d \( -name tests -o -name test \) -path '*/site-packages/*' -prune -exec rm -rf {} + \
 && rm -rf /opt/dicom-node/lib/python*/site-packages/torch/include

FROM ${PYTHON}
# OpenMP's threads come from here; everything else is in the wheels.
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends ca-certificates libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o 10001 -g 10001 /data /secrets
COPY --from=build /opt/dicom-node /opt/dicom-node
COPY models /models
ENV PATH=/opt/dicom-node/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    DICOM_NODE_NODE__DATA_FOLDER=/data \
    DICOM_NODE_NODE__MODELS_FOLDER=/models \
    DICOM_NODE_WEB__HOST=0.0.0.0
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 11112 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/readyz', timeout=8)"]
ENTRYPOINT ["dicom-node"]
CMD ["serve"]
