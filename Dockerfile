# nnunetv2_crln with CUDA: docker build -t nnunetv2_crln . ; see docs/platforms.md.
FROM pytorch/pytorch:2.7.1-cuda12.6-cudnn9-runtime

# torch.compile needs a compiler.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/nnunetv2_crln
COPY pyproject.toml README.md LICENSE MANIFEST.in nnunetv2_crln_startup.py ./
COPY startup ./startup
COPY nnunetv2_crln ./nnunetv2_crln
RUN python -m pip install --no-cache-dir .

RUN useradd --create-home --uid 1000 user \
    && mkdir --parents /data/nnUNet_raw /data/nnUNet_preprocessed /data/nnUNet_results \
    && chown --recursive user /data
ENV nnUNet_raw=/data/nnUNet_raw \
    nnUNet_preprocessed=/data/nnUNet_preprocessed \
    nnUNet_results=/data/nnUNet_results
VOLUME /data
USER user
WORKDIR /data
CMD ["nnUNetv2_crln"]
