# FitPrune Studio on a server of your own: `docker build -t fitprune-studio .`, then
# `docker run -p 7860:7860 fitprune-studio`. For a GPU, build with --build-arg TORCH_INDEX=https://pypi.org/simple and
# run with --gpus all.
FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN useradd --create-home studio
WORKDIR /srv/studio
COPY requirements.txt .
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -r requirements.txt
COPY --chown=studio app.py README.md LICENSE ./
COPY --chown=studio app app
COPY --chown=studio assets assets
COPY --chown=studio fitprune_core fitprune_core
COPY --chown=studio recipes recipes
USER studio
ENV FITPRUNE_HOST=0.0.0.0 FITPRUNE_PORT=7860
EXPOSE 7860
# The app answers this without a run, with and without a login.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD python -c "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"FITPRUNE_PORT\"]}/gradio_api/app_id')"
CMD ["python", "app.py"]
