# The node as an image: receiver, worker, web, or all of them (`serve`, the default).
#
#   docker build -t dicom-node .                              for the CPU
#   docker build -t dicom-node:cuda --build-arg TORCH=cuda .  for NVIDIA GPUs (needs the NVIDIA container toolkit)
#
# It runs as user 10001 and with a read-only root file system; what it keeps lies in /data. Another set of models is
# mounted over /models.

ARG PYTHON=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON} AS build
# cpu or cuda. PyPI's build of PyTorch, which requirements.lock names, is the one for CUDA, with NVIDIA's libraries.
ARG TORCH=cpu
# Where PyTorch keeps its build for the CPU, the one thing that is installed by its version alone and not by its hash.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/dicom-node
ENV PATH=/opt/dicom-node/bin:${PATH}
WORKDIR /source
COPY pyproject.toml requirements.lock README.md LICENSE ./
# Dependencies change more seldom than the code, and so are a layer of their own.
RUN set -e; cp requirements.lock installed; case "${TORCH}" in \
      cuda) ;; \
      cpu) pip install --no-deps --index-url "${TORCH_INDEX}" "$(sed -n 's/^\(torch==[0-9.]*\).*/\1+cpu/p' requirements.lock)"; \
           awk '/^[^ #]/ {kept = !/^(torch|triton|nvidia-[a-z0-9-]*|cuda-[a-z-]*)==/} kept' requirements.lock > installed ;; \
      *) echo "TORCH is cpu or cuda, not '${TORCH}'" >&2; exit 1 ;; \
    esac; \
    pip install --no-deps --require-hashes --requirement installed; pip check
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
