# The server, on CPU. Not built where it was written (there was no Docker): tell us what is wrong.
#
#   docker build -t realtime-ser .
#   docker run -p 8765:8765 -e REALTIME_SER_TOKEN=$(openssl rand -hex 16) realtime-ser
FROM python:3.12-slim AS build
WORKDIR /source
RUN python -m venv /opt/realtime-ser
ENV PATH=/opt/realtime-ser/bin:$PATH
COPY pyproject.toml README.md LICENSE ./
COPY realtime_ser realtime_ser
COPY export export
COPY clients/python clients/python
RUN pip install --no-cache-dir .

FROM python:3.12-slim
# the cache of Whisper models must exist and be the user's, or a volume in its place is root's
RUN useradd --uid 10001 --create-home listener \
    && install -d -o listener -g listener /home/listener/.cache/huggingface
COPY --from=build /opt/realtime-ser /opt/realtime-ser
ENV PATH=/opt/realtime-ser/bin:$PATH PYTHONUNBUFFERED=1
USER listener
WORKDIR /home/listener
EXPOSE 8765
# Ready once the models are warm; with --certfile, ask https instead.
HEALTHCHECK --interval=15s --timeout=3s --start-period=2m --retries=3 CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8765/ready', timeout=2)"]
ENTRYPOINT ["realtime-ser"]
# Reachable from outside of the container, so it wants REALTIME_SER_TOKEN, or --certfile.
CMD ["serve", "--host", "0.0.0.0"]
